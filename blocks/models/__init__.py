"""Facts, frozen, without I/O; one noun per file."""
