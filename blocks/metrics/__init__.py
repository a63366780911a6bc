"""Metrics: what workers count and time, and the endpoint where Prometheus reads it."""
