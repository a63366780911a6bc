"""The agent of one mongod in a replica set."""
