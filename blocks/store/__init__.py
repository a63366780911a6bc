"""The truth: clusters, nodes, actions, work and events, in MongoDB."""
