"""Secrets: where they are kept, and how a `Sensitive` text is resolved."""
