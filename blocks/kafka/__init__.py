"""Kafka: settings, and bridges from asyncio to the threads of `confluent_kafka`, which nobody else imports."""
