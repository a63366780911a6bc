"""What can go wrong while measuring."""


class BenchError(Exception):
    """Something was not as it must be for a measurement to mean anything; the sentence says what."""
