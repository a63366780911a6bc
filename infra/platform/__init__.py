"""A small real platform: the Platform API (discover, provision, deprovision) for machines on this host.

A *machine* is a node of a cluster: one mongod that has the name of a replica set and is not a member yet, and its agent.
``python -m infra.platform`` serves the API on loopback. What it was told is in one file, written before anything is done:
a platform that was killed comes back with the same machines, and goes on with what it had begun.
"""
