"""The Prefect server: its slow start is the critical path of the whole stack."""

import sys

from infra.stack.context import Context
from infra.stack.service import Probe, Service

NAME = "prefect"

_SERVER = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # one row at a time costs 22 ms of server CPU per task run, and loses records when killed
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    # without it runs, logs and events pile up for ever
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "604800",
}


def service(context: Context) -> Service:
    """Describe the server."""
    settings, data = context.settings, context.layout.data(NAME)
    host, port = settings.host, settings.prefect_port
    url = f"http://{host}:{port}"
    return Service(
        name=NAME,
        command=(sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)),
        probe=Probe("http", host, port, expect="/api/health"),
        ports=(port,),
        env={**_SERVER, "PREFECT_HOME": str(data), "PREFECT_SERVER_UI_API_URL": f"{url}/api"},
        cwd=str(data),
        ready_within=120,
    )
