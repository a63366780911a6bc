"""The agent of one Kafka broker (KRaft)."""
