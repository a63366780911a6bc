"""Kafka: one node that is broker and controller (KRaft), formatted on its first start."""

import base64
import subprocess
import uuid
from pathlib import Path

from infra.stack import artifacts
from infra.stack.context import JVM_FLAGS, Context, Login, Security
from infra.stack.errors import ServiceFailedError
from infra.stack.service import Probe, Service

NAME = "kafka"
_FORMAT_WITHIN_S = 60
_MECHANISM = "SCRAM-SHA-512"
SERVER = "server"
"""The name in the certificate of a secure stack's servers."""

_ONE_NODE = """
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
"""
"""The last line: the default takes 128 MB of the heap."""

_QUICK_RECOVERY = """
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=10000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000
"""
"""A broker started again after kill -9 waits until its former self's session has ended: by default
9 seconds. The lowered minimums let the product set shorter timeouts for its own groups."""

LOG4J = """
status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def service(context: Context) -> Service:
    """Write the configuration, format the data folder if it is new, and describe the broker."""
    settings, data = context.settings, context.layout.data(NAME)
    properties = data / "server.properties"
    properties.touch(mode=0o600)
    properties.write_text(_properties(context, data / "data"), encoding="utf-8")
    (data / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
    java = (
        *(context.java, "-Xms64m", "-Xmx384m", *JVM_FLAGS),
        f"-Djava.io.tmpdir={context.layout.scratch(NAME)}",
        f"-Dkafka.logs.dir={data}",
        f"-Dlog4j2.configurationFile={data / 'log4j2.properties'}",
        *("-cp", context.class_path(NAME)),
    )
    cluster = format_storage(java, properties, data, *_users(context.security))
    return Service(
        name=NAME,
        command=(*java, "kafka.Kafka", str(properties)),
        probe=Probe("kafka", settings.host, settings.kafka_port, expect=cluster, tls=context.tls),
        ports=(settings.kafka_port, settings.kafka_controller_port),
        cwd=str(data),
    )


def version() -> str:
    """The broker's version: that of its jar."""
    return next(jar.version for jar in artifacts.select("kafka") if jar.artifact == "kafka_2.13")


def _properties(context: Context, logs: Path) -> str:
    settings = context.settings
    host, protocol = settings.host, "SASL_SSL" if context.security else "PLAINTEXT"
    listeners = f"{protocol}://{host}:{settings.kafka_port},CONTROLLER://{host}:{settings.kafka_controller_port}"
    lines = [
        f"log.dirs={logs}",
        f"listeners={listeners}",
        f"advertised.listeners={listeners}",
        f"listener.security.protocol.map=CONTROLLER:{'SSL' if context.security else protocol},{protocol}:{protocol}",
        f"inter.broker.listener.name={protocol}",
        f"controller.quorum.voters=1@{host}:{settings.kafka_controller_port}",
    ]
    lines += _secure(context.security) if context.security else []
    return _ONE_NODE + _QUICK_RECOVERY + "\n".join(lines) + "\n"


def _secure(security: Security) -> list[str]:
    """TLS and SCRAM on the one listener for clients; the broker itself is a client of it, too.

    The controller's door wants the certificate of a server. Whoever is not an administrator may do what ACLs allow.
    """
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    user = f'username="{security.user}" password="{security.password}"'
    return [
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={security.server_certificate}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={security.tls.ca}",
        "ssl.client.auth=requested",
        f"sasl.enabled.mechanisms={_MECHANISM}",
        f"sasl.mechanism.inter.broker.protocol={_MECHANISM}",
        f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login} {user};",
        "listener.name.controller.ssl.client.auth=required",
        "ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        f"super.users=User:{security.user};User:{SERVER}",
    ]


def _users(security: Security | None) -> tuple[str, ...]:
    if security is None:
        return ()
    logins = (Login(security.user, security.password), security.product)
    added = (("--add-scram", f"{_MECHANISM}=[name={login.user},password={login.password}]") for login in logins)
    return tuple(word for option in added for word in option)


def format_storage(java: tuple[str, ...], properties: Path, data: Path, *options: str) -> str:
    """Return the cluster id, after formatting the data folder if that was not done yet."""
    known = _cluster_id(data)
    if known:
        return known
    tool = (*java, "kafka.tools.StorageTool", "format", "--ignore-formatted")
    cluster = new_id()
    done = subprocess.run(
        (*tool, "-t", cluster, "-c", str(properties), *options),
        capture_output=True,
        text=True,
        timeout=_FORMAT_WITHIN_S,
        check=False,
    )
    if done.returncode != 0 or not _cluster_id(data):
        said = (done.stderr or done.stdout).strip().splitlines()
        message = f"Kafka could not format {data / 'data'}: {said[-1] if said else 'it says nothing'}"
        raise ServiceFailedError(message)
    return cluster


def _cluster_id(data: Path) -> str:
    try:
        text = (data / "data" / "meta.properties").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line[11:] for line in text.splitlines() if line.startswith("cluster.id=")), "")


def new_id() -> str:
    """Return a new id of a cluster or a folder, in Kafka's form."""
    while True:  # an id that begins with a dash would be taken for an option
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made
