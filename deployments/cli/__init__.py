"""`replictl`: the fleet on a command line."""
