"""Ringtime in both forms, and goscheduler, which takes the same creates.

A job is a schedule with an HTTP callback.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
from tests.harness.client import LoadClient
from tests.harness.server import ServerProcess

from benchmarks.peers.servers import Missing
from benchmarks.peers.systems import Load
from ringtime_local.cluster import Cluster

_APP = "peers"
_PARTITIONS = 20
_CONNECTIONS = 64
_BATCH, _BATCHES_AT_ONCE = 500, 4
_PAYLOAD = "x" * 150


class _Api:
    """What is done over HTTP, for all three."""

    share = 1.0
    batch = _BATCH  #: schedules in one request

    def __init__(self, name: str, version: str) -> None:
        self.name, self.version = name, version
        self.base = ""
        self._receiver = ""
        self._ids: list[str] = []

    def register(self, receiver: str) -> None:
        self._receiver = receiver
        asyncio.run(self._register())

    async def _register(self) -> None:
        async with LoadClient(self.base, 1) as client:
            body = {"appId": _APP, "partitions": _PARTITIONS, "active": True}
            answer = await client.request("POST", "/apps", body)
            if answer.status != 200:
                raise RuntimeError(f"no app: {answer}")

    def load(self, load: Load) -> int:
        return asyncio.run(self._paced(load) if load.per_s else self._load(load))

    async def _load(self, load: Load) -> int:
        made, next_at = 0, 0
        until_s = time.monotonic() + load.limit_s
        at_once = _CONNECTIONS if self.batch == 1 else _BATCHES_AT_ONCE
        async with LoadClient(self.base, at_once) as client:

            async def in_turn() -> None:
                nonlocal made, next_at
                while next_at < load.count and time.monotonic() < until_s:
                    begin, next_at = next_at, min(next_at + self.batch, load.count)
                    dues = [load.due_ms + n * load.spread_ms // load.count for n in range(begin, next_at)]
                    ids = await self._create(client, load.first + begin, dues)
                    made += len(dues)
                    if not load.is_far:
                        self._ids += ids

            await asyncio.gather(*(in_turn() for _ in range(at_once)))
        return made

    async def _paced(self, load: Load) -> int:
        async with LoadClient(self.base, _CONNECTIONS) as client:
            began_s = time.monotonic()
            tasks = []
            for number in range(load.count):
                await asyncio.sleep(max(began_s + number / load.per_s - time.monotonic(), 0))
                due_ms = int(time.time() * 1000) + load.lead_ms + number * 7919 % load.lead_spread_ms
                tasks.append(asyncio.create_task(self._create(client, load.first + number, [due_ms])))
            for ids in await asyncio.gather(*tasks):
                self._ids += ids
        return load.count

    async def _create(self, client: LoadClient, first: int, dues: list[int]) -> list[str]:
        """Create one alone, several as a batch; return their ids."""
        items = [self._describe(first + n, due_ms) for n, due_ms in enumerate(dues)]
        if len(items) == 1:
            answer = await client.request("POST", "/schedules", orjson.dumps(items[0]))
            if answer.status != 200:
                raise RuntimeError(f"refused: {answer}")
            return [answer.data["schedule"]["scheduleId"]]
        answer = await client.request("POST", "/schedules/batch", orjson.dumps({"schedules": items}))
        if answer.status != 200:
            raise RuntimeError(f"refused: {answer.status} {answer.body[:500]!r}")
        return [each["schedule"]["scheduleId"] for each in orjson.loads(answer.body)["data"]["results"]]

    def _describe(self, number: int, due_ms: int) -> dict[str, object]:
        details = {"url": f"{self._receiver}/{number}/{due_ms}", "method": "POST", "headers": {}}
        return {
            "appId": _APP,
            "payload": _PAYLOAD,
            "scheduleTime": due_ms / 1000,
            "callback": {"type": "http", "details": details},
        }

    def unfinished(self) -> int:
        return asyncio.run(self._unfinished())

    async def _unfinished(self) -> int:
        """Ask for each schedule by its id: exact, and only done when some are missing."""
        async with LoadClient(self.base, _CONNECTIONS) as client:
            held = 0
            for begin in range(0, len(self._ids), 1_000):
                ids = self._ids[begin : begin + 1_000]
                asked = (client.request("GET", f"/schedules/{each}") for each in ids)
                for answer in await asyncio.gather(*asked):
                    held += answer.status == 200 and answer.data["schedule"]["status"] == "SCHEDULED"
        return held


class OneProcess(_Api):
    """`ringtime serve` with default settings: all of it in one process, SQLite synced at each commit."""

    def __init__(self) -> None:
        super().__init__("Ringtime, one process", "this checkout")
        self._server: ServerProcess | None = None

    def start(self, folder: Path, receiver: str) -> None:
        self._server = ServerProcess(folder / "data")
        self.restart()
        self.base = self._server.base
        self.register(receiver)

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()

    def restart(self) -> None:
        if self._server is not None:
            self._server.start()

    def pids(self) -> dict[str, int]:
        assert self._server is not None
        return {"server with SQLite": self._server.pid}

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()


class Split(_Api):
    """One ingest pod and one dispatcher on Cassandra and etcd by our launcher; the dispatcher is killed."""

    def __init__(self) -> None:
        super().__init__("Ringtime, split", "this checkout")
        self._cluster: Cluster | None = None

    def start(self, folder: Path, receiver: str) -> None:
        self._cluster = Cluster(folder / "cluster", ingest=1, dispatchers=1, settings={})
        self._cluster.start()
        self.base = self._cluster.base
        self.register(receiver)
        time.sleep(4)  # its partitions are taken over

    def kill(self) -> None:
        assert self._cluster is not None
        self._cluster.pods["dispatcher-1"].process.kill()

    def restart(self) -> None:
        assert self._cluster is not None
        self._cluster.start_pod("dispatcher-1")

    def pids(self) -> dict[str, int]:
        assert self._cluster is not None
        servers = self._cluster.servers
        return {
            "dispatcher": self._cluster.pods["dispatcher-1"].process.pid,
            "ingest": self._cluster.pods["ingest-1"].process.pid,
            "Cassandra": servers.cassandra.nodes[0].pid,
            "etcd": servers.etcd.pid,
        }

    def stop(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()


class Address(_Api):
    """A goscheduler that somebody runs; its processes, to measure, by name."""

    batch = 1

    def __init__(self, base: str, pids: Mapping[str, int]) -> None:
        super().__init__("goscheduler", "as given")
        self.base = base
        self._pids = dict(pids)

    def start(self, folder: Path, receiver: str) -> None:
        self.register(receiver)
        time.sleep(10)  # an app is usable some seconds after its registration

    def kill(self) -> None:
        raise Missing("goscheduler is given by address: none of its processes is ours to kill")

    def restart(self) -> None:
        raise Missing("goscheduler is given by address")

    def pids(self) -> dict[str, int]:
        return self._pids

    def stop(self) -> None:
        """Leave it as it is."""
