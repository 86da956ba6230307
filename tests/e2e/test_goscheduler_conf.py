"""goscheduler's shipped configuration and its command line start a service that works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails
from ringtime_local import CassandraServer, EtcdServer
from ringtime_local.ports import take_ports
from tests.harness.goscheduler_conf import shipped_conf
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BIN = Path(sys.executable).parent


def _write(folder: Path, hosts: str) -> None:
    (folder / "conf.json").write_text(json.dumps(shipped_conf(hosts=hosts)))


@asynccontextmanager
async def _running(
    words: tuple[str, ...], folder: Path, environ: Mapping[str, str]
) -> AsyncIterator[tuple[str, Path]]:
    """Run a command until it is left; yield what it listens at and where its log is."""
    log = folder / f"{words[0]}.err"
    with log.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            BIN / words[0],
            *words[1:],
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
        )
    try:
        yield await _address(process, log), log
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _address(process: Process, log: Path) -> str:
    """Return what a process says that it listens at."""
    assert process.stdout is not None
    async for line in process.stdout:
        if found := re.search(rb"listens on (http://\S+)", line):
            return found[1].decode()
    raise AssertionError(f"it did not start; see {log}")


async def _deliver(base: str, receiver: Receiver) -> None:
    """Create a schedule in an app with goscheduler's defaults, and return when it was called back."""
    async with AsyncRingtimeClient(base) as client:
        app = await client.register_app("shop")
        assert app.partitions == 5
        made = await client.create_schedule(
            "shop",
            payload="{}",
            delay=timedelta(seconds=1),
            callback=HttpCallbackDetails(url=receiver.url, method="POST"),
        )
        await wait_until(lambda: bool(receiver.arrivals()), timeout_s=60)
        assert list(receiver.arrivals()) == [str(made.schedule_id)]


@pytest.mark.service
async def test_the_pods(
    tmp_path: Path, receiver: Receiver, cassandra_server: CassandraServer, etcd_server: EtcdServer
) -> None:
    """Only hosts are other ones, and what goscheduler has no word for: etcd, and that no key is asked for."""
    _write(tmp_path, ",".join(f"{each}:{cassandra_server.port}" for each in cassandra_server.contact_points))
    name = f"conf_{uuid4().hex[:8]}"
    environ = {
        "RINGTIME_CASSANDRA_KEYSPACE": name,
        "RINGTIME_COORDINATION_PREFIX": f"/{name}",
        "RINGTIME_COORDINATION_ENDPOINTS": etcd_server.endpoint,
        "RINGTIME_ACCESS_KEYS": "off",
        "RINGTIME_EGRESS_ALLOW": "127.0.0.0/8",
        "RINGTIME_EGRESS_PORTS": "1-65535",
    }
    migrated = await asyncio.create_subprocess_exec(
        BIN / "ringtime", "migrate", "--conf", "conf.json", cwd=tmp_path, env={**os.environ, **environ}
    )
    assert await asyncio.wait_for(migrated.wait(), 120) == 0
    http, ring = take_ports(2)
    flags = ("-h", "127.0.0.1", "-p", str(ring), "-conf=./conf.json")
    api = {**environ, "PORT": str(http)}
    async with (
        _running(("ringtime-dispatcher", *flags), tmp_path, environ) as (node, _),
        _running(("ringtime-ingest", *flags), tmp_path, api) as (base, log),
    ):
        assert node == f"http://127.0.0.1:{ring}/health/ready"
        assert base == f"http://127.0.0.1:{http}/goscheduler"
        await _deliver(base, receiver)
        assert "-p is without effect here" in log.read_text()
        assert (
            "Cluster.BootStrapServers, Cluster.JoinSize, Cluster.ReplicaPoints: nodes find" in log.read_text()
        )


async def test_one_process(tmp_path: Path, receiver: Receiver) -> None:
    """The file is taken as it stands: Cassandra, which nobody runs there, is not asked."""
    _write(tmp_path, "127.0.0.1")
    words = ("ringtime", "serve", "-h=127.0.0.1", "-p", "9091", "-conf", "conf.json", "--data", "data")
    async with _running(words, tmp_path, {"PORT": "0"}) as (base, log):
        await _deliver(base, receiver)
        assert "ScheduleDB.DBConfig.Hosts, " in log.read_text()
        assert (tmp_path / "data").is_dir()
