"""Discovery sources: who says which clusters exist."""
