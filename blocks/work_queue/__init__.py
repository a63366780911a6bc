"""The work queue: pointers to work, from whoever asks for it to whoever does it."""
