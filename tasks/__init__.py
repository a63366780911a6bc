"""Verbs: pure decisions in `decide`, and one retryable step in the world per module."""
