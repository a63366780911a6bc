"""The MongoDB adapter (agent-protocol.md 4): a member of a replica set, or a mongod that waits to become one.

A mongod that is not initialised answers everything: NOT_IN_CLUSTER, the configured cluster id, no shards. Once it is a
member, the cluster id is the set's own name, so that an agent pointed at the wrong mongod is found out.
"""

from dataclasses import replace

from infra.agents.kit.handlers import Handlers
from infra.agents.kit.models import NodeReport, Shard, StoreReport, Version
from infra.agents.kit.options import Options
from infra.agents.mongodb.actions import ClusterAdd, ClusterInit, StepDown
from infra.agents.mongodb.client import Commands, Document, MongoCommandError, Mongod
from infra.agents.mongodb.restart import Restart
from infra.agents.mongodb.status import (
    INVALID_CONFIG,
    NOT_YET_INITIALIZED,
    SECONDARY,
    refused_status,
    report_of,
    shard_of,
)


class MongoStore:
    """One mongod as its agent sees it."""

    store_id = "mongo.replica"

    def __init__(self, mongod: Commands, cluster_id: str, member: str) -> None:
        """Speak for the mongod that its peers know as `member`."""
        self._mongod = mongod
        self._cluster_id = cluster_id
        self._member = member
        self.address = mongod.address

    async def node(self) -> NodeReport:
        """Return status and version."""
        build = await self._mongod.command("buildInfo")
        version = Version(str(build["version"]), checkout=build.get("gitVersion"))
        try:
            status = await self._mongod.command("replSetGetStatus")
            report = report_of(status, await self._hello(status))
        except MongoCommandError as error:
            report = NodeReport(refused_status(error.code, str(error)), attributes={"mongodb.com/mode": "replica-set"})
        return replace(report, version=version)

    async def store(self) -> StoreReport:
        """Return the set's name, the oplog's size in bytes and the feature compatibility version."""
        status = await self._member_status()
        if status is None:
            return StoreReport(self._cluster_id)
        parameter = await self._mongod.command("getParameter", featureCompatibilityVersion=1)
        oplog = await self._mongod.command("collStats", "oplog.rs", database="local")
        attributes = {
            "mongodb.com/feature-compatibility": str(parameter["featureCompatibilityVersion"]["version"]),
            "mongodb.com/oplog.size": int(oplog["maxSize"]) if "maxSize" in oplog else None,
        }
        return StoreReport(str(status["set"]), attributes)

    async def shards(self) -> list[Shard]:
        """Return the set as one shard; none before the mongod is a member."""
        status = await self._member_status()
        return [] if status is None else [shard_of(status, await self._hello(status))]

    def actions(self) -> Handlers:
        """Return what this agent can do to its mongod."""
        return {
            "agent.replicante.io/cluster.init": ClusterInit(self._mongod, self._cluster_id, self._member),
            "agent.replicante.io/cluster.add": ClusterAdd(self._mongod),
            "agent.replicante.io/node.restart": Restart(self._mongod),
            "agent.replicante.io/node.stepdown": StepDown(self._mongod),
        }

    async def close(self) -> None:
        """Drop the connections."""
        await self._mongod.close()

    async def _hello(self, status: Document) -> Document:
        """Return what a secondary says of itself to clients; the status does not tell of hidden and delayed members."""
        return await self._mongod.command("hello") if status["myState"] == SECONDARY else {}

    async def _member_status(self) -> Document | None:
        """Return the set's status, or None for a mongod that is in no set (yet, or any more)."""
        try:
            return await self._mongod.command("replSetGetStatus")
        except MongoCommandError as error:
            if error.code in {NOT_YET_INITIALIZED, INVALID_CONFIG}:
                return None
            raise


def build(options: Options) -> MongoStore:
    """Return the adapter."""
    mongod = Mongod(options.store)
    return MongoStore(mongod, options.cluster_id, options.member or mongod.address)
