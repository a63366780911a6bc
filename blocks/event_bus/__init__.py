"""The event bus: what changed, for anyone to follow."""
