"""What every agent shares: the HTTP API of protocol B, actions that survive restarts, the fence, one process."""
