"""What the product costs and how far it gets, measured side by side with the limit of this machine (docs/performance.md).

Real ZooKeeper, Kafka, MongoDB and Prefect in a folder and on ports of their own; agents from the simulator, a process of its
own; workers as real processes, started as `deployments.serve` starts them. Nothing of the product is changed or replaced.
"""
