"""Sentences: verbs in order, under a lock, and what a failure means."""
