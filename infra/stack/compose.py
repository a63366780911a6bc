"""From names to services: the list of everything that a stack can run."""

from collections.abc import Callable, Iterable, Iterator

from infra.stack import fleet, kafka, mongod, prefect_server, zookeeper
from infra.stack.context import Context
from infra.stack.errors import StackError
from infra.stack.service import Service

SERVERS = (prefect_server.NAME, mongod.NAME, zookeeper.NAME, kafka.NAME)
"""In start order: the slowest to start first, the ones that may need a download last."""
FLEET = fleet.NAMES
PRODUCT = (fleet.SERVE,)
GROUPS = {"servers": SERVERS, "fleet": FLEET, "product": PRODUCT}

_BUILDERS: dict[str, Callable[[Context], Service]] = {
    prefect_server.NAME: prefect_server.service,
    mongod.NAME: mongod.service,
    zookeeper.NAME: zookeeper.service,
    kafka.NAME: kafka.service,
    **fleet.BUILDERS,
}


def expand(only: Iterable[str]) -> tuple[str, ...]:
    """Return the names of services, in start order, that names of services and groups stand for.

    Raises:
        StackError: a name is neither a service nor a group.
    """
    wanted: set[str] = set()
    for name in only:
        if name not in GROUPS and name not in _BUILDERS:
            message = f"no service or group {name!r}: there are {', '.join([*GROUPS, *_BUILDERS])}"
            raise StackError(message)
        wanted |= set(GROUPS.get(name, (name,)))
    if wanted & set(PRODUCT):
        wanted |= set(SERVERS)  # it is nothing without them
    return tuple(name for name in _BUILDERS if name in wanted)


def services(context: Context, names: Iterable[str]) -> Iterator[Service]:
    """Yield the services, each as soon as its files are ready."""
    for name in names:
        yield _BUILDERS[name](context)
