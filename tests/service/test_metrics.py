"""A real pod of two workers and a real dispatcher export every instrument, and count what went through."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.harness.load import wait_until
from tests.harness.receiver import running_receiver

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails
from ringtime_local import CassandraServer, EtcdServer
from ringtime_local.ports import is_free, take_ports
from ringtime_shared.metrics import names
from ringtime_shared.metrics.names import Instrument, Role
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra.migrate import migrate

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

TOKEN = "what-prometheus-sends"
Sums = Mapping[str, float]  #: by the name of a sample, over all its labels


@asynccontextmanager
async def pod(role: str, environ: Mapping[str, str], says: int = 1) -> AsyncIterator[str]:
    """Run one until the block ends; yield its address, once it has said so this often."""
    argv = (Path(sys.executable).parent / f"ringtime-{role}", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        address = ""
        while says:
            line = (await process.stdout.readline()).decode()
            assert line, f"the {role} has ended"
            if "listens on " in line:
                says, address = says - 1, line.split("listens on ")[1].strip()
        yield address
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def read(port: int) -> tuple[set[str], Sums]:
    """Return the families at a port, and the sums of their samples."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    sums = defaultdict[str, float](float)
    for family in families:
        for sample in family.samples:
            sums[sample.name] += sample.value
    return {family.name for family in families}, sums


def missing(families: set[str], role: Role) -> set[str]:
    """Return what a service of this role should export and does not."""
    return {_family(each) for each in names.ALL if role in each.roles} - families


def _family(instrument: Instrument) -> str:
    return instrument.name.removesuffix("_total")


def two_ports() -> int:
    """Return a free port that has a free one behind it."""
    while True:
        (port,) = take_ports(1)
        if is_free("127.0.0.1", port + 1):
            return port


async def test_real_pods_export_every_instrument(
    cassandra_server: CassandraServer, etcd_server: EtcdServer, tmp_path: Path
) -> None:
    keyspace = f"metrics_{uuid4().hex[:8]}"
    points = tuple(cassandra_server.contact_points)
    await migrate(CassandraSettings(contact_points=points, port=cassandra_server.port, keyspace=keyspace))
    at_ingest, at_dispatcher = two_ports(), take_ports(1)[0]
    environ = {
        "RINGTIME_CASSANDRA_CONTACT_POINTS": ",".join(points),
        "RINGTIME_CASSANDRA_PORT": str(cassandra_server.port),
        "RINGTIME_CASSANDRA_KEYSPACE": keyspace,
        "RINGTIME_COORDINATION_ENDPOINTS": etcd_server.endpoint,
        "RINGTIME_COORDINATION_PREFIX": f"/{keyspace}",
        "RINGTIME_ACCESS_KEYS": "off",
        "RINGTIME_EGRESS_ALLOW": "127.0.0.0/8",
        "RINGTIME_EGRESS_PORTS": "1-65535",
        "RINGTIME_METRICS_TOKEN": TOKEN,
    }
    fired = names.FIRES.name
    async with AsyncExitStack() as stack:
        receiver = stack.enter_context(running_receiver(tmp_path))
        ingest = {"RINGTIME_METRICS_PORT": str(at_ingest), "RINGTIME_INGEST_WORKERS": "2"}
        base = await stack.enter_async_context(pod("ingest", environ | ingest, says=2))
        dispatcher = {
            "RINGTIME_METRICS_PORT": str(at_dispatcher),
            "RINGTIME_METRICS_GOSCHEDULER": "true",
            "RINGTIME_DISPATCH_AHEAD_S": "1",
        }
        await stack.enter_async_context(pod("dispatcher", environ | dispatcher))
        client = await stack.enter_async_context(AsyncRingtimeClient(base))
        app = await client.register_app("shop", partitions=2, active=True)
        for delay_s in (1, 1, 1, 1, 180):
            await client.create_schedule(
                "shop",
                payload="x",
                callback=HttpCallbackDetails(url=receiver.url, method="POST"),
                delay=timedelta(seconds=delay_s),
            )

        def all_fired_but_one() -> bool:
            sums = read(at_dispatcher)[1]
            return sums[fired] >= 4 and sums[names.FORECAST_DUE.name] == 3  # that one, of three horizons

        await wait_until(all_fired_but_one, timeout_s=120)
        pages = [await asyncio.to_thread(read, port) for port in (at_ingest, at_ingest + 1)]
        assert [missing(families, Role.INGEST) for families, _ in pages] == [set(), set()]
        for name in ("ringtime_create_seconds_count", "ringtime_app_creates_total"):
            assert sum(sums[name] for _, sums in pages) == 5, name
        families, sums = await asyncio.to_thread(read, at_dispatcher)
        assert missing(families, Role.DISPATCHER) == set()
        assert (sums["ringtime_fire_lag_seconds_count"], sums["ringtime_app_fires_total"]) == (4, 4)
        assert (sums["ringtime_owned_instances"], sums["ringtime_ready"]) == (2, 1)
        assert sums["ringtime_store_seconds_count"] > 5
        assert {"callback_status_count", "callback_duration", "poller_life_cycle"} <= families
        with pytest.raises(urllib.error.HTTPError, match="401"):
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{at_dispatcher}/metrics")
        await client.deactivate_app(app.app_id)
