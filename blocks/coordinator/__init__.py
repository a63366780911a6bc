"""Claims across processes and machines: who may work on what, on ZooKeeper."""
