"""The product's user gets the rights that `infra/security` says, from an administrator who does what the vendors' tools would."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it lists no `__all__`
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kazoo.client import KazooClient
from kazoo.security import ACL, make_acl
from pymongo import MongoClient

from infra.stack.context import Login, Security
from infra.stack.layout import PROJECT
from infra.stack.testing import TestStack

EXAMPLES = PROJECT / "infra" / "security"
WITHIN_S = 20.0
_PERMISSIONS = {"c": "create", "d": "delete", "r": "read", "w": "write", "a": "admin"}


def grant(stack: TestStack) -> None:
    """Give the product's user what the examples say, on ZooKeeper, Kafka and MongoDB."""
    _zookeeper(stack)
    _kafka(stack)
    _mongodb(stack, secured(stack).product)


def secured(stack: TestStack) -> Security:
    """The security of a stack that is known to have it."""
    assert stack.security is not None
    return stack.security


def zookeeper(stack: TestStack, login: Login | None) -> KazooClient:
    """A client of ZooKeeper that is not started yet; it shows a certificate in any case."""
    tls = secured(stack).tls
    files: dict[str, Any] = {"ca": tls.ca, "certfile": tls.certificate, "keyfile": tls.key}
    known = login and {"mechanism": "DIGEST-MD5", "username": login.user, "password": login.password}
    return KazooClient(hosts=stack.zookeeper_hosts, use_ssl=True, verify_certs=True, sasl_options=known, **files)


def kafka(stack: TestStack, login: Login) -> dict[str, str | int | float | bool]:
    """What every client of Kafka needs."""
    return {
        "bootstrap.servers": stack.kafka_bootstrap,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": login.user,
        "sasl.password": login.password,
        "ssl.ca.location": secured(stack).tls.ca,
    }


def mongodb(stack: TestStack, login: Login | None) -> MongoClient[dict[str, Any]]:
    """A client of MongoDB."""
    tls: dict[str, Any] = {"tls": True, "tlsCAFile": secured(stack).tls.ca, "timeoutMS": round(WITHIN_S * 1_000)}
    known = {"username": login.user, "password": login.password} if login else {}
    return MongoClient(stack.mongodb_uri, **tls, **known)


def administrator(stack: TestStack) -> Login:
    """Who may do everything."""
    security = secured(stack)
    return Login(security.user, security.password)


def _lines(name: str) -> Iterator[str]:
    for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def _zookeeper(stack: TestStack) -> None:
    client = zookeeper(stack, administrator(stack))
    client.start(WITHIN_S)
    try:
        for line in _lines("zookeeper-acls.txt"):
            match line.split():
                case ["create", path, data, acls]:
                    client.create(path, data.encode(), acl=[*_acls(acls)])
                case ["setAcl", path, acls]:
                    client.set_acls(path, [*_acls(acls)])
                case _:
                    raise AssertionError(line)
    finally:
        client.stop()
        client.close()


def _acls(text: str) -> Iterator[ACL]:
    for part in text.split(","):
        scheme, name, letters = part.split(":")
        yield make_acl(scheme, name, **{_PERMISSIONS[letter]: True for letter in letters})


def _kafka(stack: TestStack) -> None:
    admin = AdminClient(kafka(stack, administrator(stack)))
    wanted = [binding for line in _lines("kafka-acls.txt") for binding in _bindings(line)]
    for future in admin.create_acls(wanted, request_timeout=WITHIN_S).values():
        future.result(WITHIN_S)


def _bindings(line: str) -> Iterator[AclBinding]:
    """What a line of options for kafka-acls.sh means: as little as is said, from every host, on one resource of that name."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    resource = parser.add_mutually_exclusive_group(required=True)
    resource.add_argument("--topic")
    resource.add_argument("--group")
    said = parser.parse_args(line.split())
    kind, name = (ResourceType.TOPIC, said.topic) if said.topic else (ResourceType.GROUP, said.group)
    for operation in said.operation:
        does = AclOperation[{"AlterConfigs": "ALTER_CONFIGS"}.get(operation, operation.upper())]
        who = (said.allow_principal, "*")
        yield AclBinding(kind, name, ResourcePatternType.LITERAL, *who, does, AclPermissionType.ALLOW)


def _mongodb(stack: TestStack, product: Login) -> None:
    role = json.loads((EXAMPLES / "mongodb-role.json").read_text(encoding="utf-8"))
    with mongodb(stack, administrator(stack)) as client:
        client.admin.command(role)
        client.admin.command("createUser", product.user, pwd=product.password, roles=[role["createRole"]])
