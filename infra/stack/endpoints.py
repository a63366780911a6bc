"""The addresses of a stack, as environment variables: the one place that names them."""

from infra.stack import mongod
from infra.stack.context import Security
from infra.stack.layout import write_atomic
from infra.stack.settings import StackSettings


def environment(settings: StackSettings, security: Security | None = None) -> dict[str, str]:
    """Return what the product must know to use this stack; of a secure one that is secret."""
    host = settings.host
    return {
        "PREFECT_API_URL": f"{'https' if security else 'http'}://{host}:{settings.prefect_port}/api",
        "PREFECT_HOME": str(settings.layout.root / "prefect-client"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "REPLICORE_ZOOKEEPER_HOSTS": f"{host}:{settings.zookeeper_port}",
        "REPLICORE_KAFKA_BOOTSTRAP": f"{host}:{settings.kafka_port}",
        "REPLICORE_MONGODB_URI": f"mongodb://{host}:{settings.mongodb_port}/?replicaSet={mongod.REPLICA_SET}",
        "REPLICORE_WORKERS_SEATS": "1",
        "REPLICORE_STACK_DISCOVERY": f"http://{host}:{settings.discovery_port}/discover",
        "REPLICORE_STACK_PLATFORM": f"http://{settings.loopback}:{settings.platform_port}",
        "REPLICORE_STACK_METRICS": f"http://{settings.loopback}:{settings.serve_metrics_port}/metrics",
        "REPLICORE_STACK_STATUS": str(settings.layout.status),
        **(_secure(security) if security else {}),
    }


def _secure(security: Security) -> dict[str, str]:
    """Return with what the product's own user speaks to each server."""
    login, api, tls = security.product, security.prefect, security.tls
    return {
        "PREFECT_API_SSL_CERT_FILE": tls.ca,
        "PREFECT_API_AUTH_STRING": f"{api.user}:{api.password}",
        **{f"REPLICORE_{part}_TLS": "true" for part in ("ZOOKEEPER", "KAFKA", "MONGODB")},
        **{f"REPLICORE_{part}_CA_FILE": tls.ca for part in ("ZOOKEEPER", "KAFKA", "MONGODB")},
        "REPLICORE_ZOOKEEPER_CERT_FILE": tls.certificate,
        "REPLICORE_ZOOKEEPER_KEY_FILE": tls.key,
        "REPLICORE_ZOOKEEPER_SASL_USER": login.user,
        "REPLICORE_ZOOKEEPER_SASL_PASSWORD": login.password,
        "REPLICORE_KAFKA_SASL_USER": login.user,
        "REPLICORE_KAFKA_SASL_PASSWORD": login.password,
        "REPLICORE_MONGODB_USER": login.user,
        "REPLICORE_MONGODB_PASSWORD": login.password,
    }


def write(settings: StackSettings) -> None:
    """Write ``.stack/env``: KEY=VALUE lines, for a shell or for ``replictl``."""
    lines = [f"{key}={value}\n" for key, value in environment(settings).items()]
    write_atomic(settings.layout.env, "".join(lines))
