"""Sentences: verbs in order, under a lock, and what a failure means."""

import os

# Without PREFECT_API_URL Prefect would start a server of its own, and a flow would run beside the fleet it is meant for.
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
