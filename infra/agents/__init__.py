"""Small real agents (protocol B) for MongoDB, ZooKeeper and Kafka, on one shared kit.

``python -m infra.agents KIND`` runs one of them. A new kind of agent is one module with a ``build`` function and one
line in ``infra.agents.app.AGENTS``; a new action is one class and one line in the agent's table of actions.
"""
