"""Nouns: facts, and one adapter per outside system."""
