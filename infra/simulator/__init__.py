"""A simulated fleet: one process that answers as any number of agents, with faults, for tests and measurements.

Nothing of a data store is behind it. What is real: HTTP on distinct loopback addresses, the shapes and status codes of
both agent protocols, and the way agents keep actions (once per id, one at a time, oldest first, fenced, kept across
restarts). See ``docs/simulator.md``.
"""
