"""ZooKeeper: one server, sessions of 1 to 10 seconds."""

from pathlib import Path

from infra.stack.context import JVM_FLAGS, Context, Login
from infra.stack.service import Probe, Service
from infra.stack.settings import StackSettings

NAME = "zookeeper"
_TICK_MS = 500
_COMMANDS = "srvr,conf,mntr,ruok,isro"


def service(context: Context) -> Service:
    """Write the configuration and describe the server."""
    settings = context.settings
    data = context.layout.data(NAME)
    lines = [
        f"tickTime={_TICK_MS}",
        f"dataDir={data / 'data'}",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "autopurge.purgeInterval=1",
        f"4lw.commands.whitelist={_COMMANDS}",
        *(_secure(context) if context.security else _open(settings)),
    ]
    (data / "zoo.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = (
        *(context.java, "-Xms32m", "-Xmx128m", *JVM_FLAGS),
        f"-Djava.io.tmpdir={context.layout.scratch(NAME)}",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        *_login(context, data),
        *("-cp", context.class_path(NAME)),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        str(data / "zoo.cfg"),
    )
    return Service(
        name=NAME,
        command=command,
        probe=Probe("zookeeper", settings.host, settings.zookeeper_port, tls=context.tls),
        ports=(settings.zookeeper_port,),
        cwd=str(data),
    )


def _open(settings: StackSettings) -> list[str]:
    return [f"clientPortAddress={settings.host}", f"clientPort={settings.zookeeper_port}"]


def _secure(context: Context) -> list[str]:
    """TLS with client certificates is the only door, and behind it a session needs a user."""
    security, settings = context.required_security, context.settings
    return [
        f"secureClientPortAddress={settings.host}",
        f"secureClientPort={settings.zookeeper_port}",
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        f"ssl.keyStore.location={security.server_certificate}",
        f"ssl.trustStore.location={security.tls.ca}",
        "ssl.clientAuth=need",
        "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "sessionRequireClientSASLAuth=true",
    ]


def _login(context: Context, data: Path) -> tuple[str, ...]:
    """Write the users of DIGEST-MD5 for the Java login configuration."""
    if context.security is None:
        return ()
    path = data / "jaas.conf"
    path.touch(mode=0o600)
    users = (Login(context.security.user, context.security.password), context.security.product)
    known = "\n".join(f'  user_{login.user}="{login.password}"' for login in users)
    path.write_text(
        f"Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n{known};\n}};\n", encoding="utf-8"
    )
    return (f"-Djava.security.auth.login.config={path}",)
