"""The Prefect server: its slow start is the critical path of the whole stack."""

import base64
import hashlib
import sys

from infra.stack.context import Context, Security
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
    host, port, security = settings.host, settings.prefect_port, context.security
    address = ("--host", host, "--port", str(port))
    url = f"{'https' if security else 'http'}://{host}:{port}"
    return Service(
        name=NAME,
        command=(sys.executable, "-m", *(_secure(security) if security else ("prefect", "server", "start")), *address),
        probe=Probe("http", host, port, expect="/api/health", tls=context.tls),
        ports=(port,),
        env={**_SERVER, "PREFECT_HOME": str(data), "PREFECT_SERVER_UI_API_URL": f"{url}/api", **_login(security)},
        cwd=str(data),
        ready_within=120,
    )


def _secure(security: Security) -> tuple[str, ...]:
    """Return what `prefect server start` runs, with TLS, of which it has none."""
    application = ("uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "warning")
    return (*application, "--ssl-certfile", security.server_certificate, "--timeout-keep-alive", "5")


def _login(security: Security | None) -> dict[str, str]:
    if security is None:
        return {}
    login = f"{security.prefect.user}:{security.prefect.password}"
    key = base64.urlsafe_b64encode(
        hashlib.sha256(login.encode()).digest()
    ).decode()  # of blocks; by default in the database
    return {
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_SERVER_ENCRYPTION_KEY": key,
        "PREFECT__SERVER_FINAL": "1",
    }
