"""Everything encrypted, on real servers that want a client's certificate; and what a start without a good one
says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.harness.tls_server import tls_server
from tests.service.kafka_rig import callback_for, delivery, new_topic, read_all

from ringtime_client import AppConfiguration, AsyncRingtimeClient, HttpCallbackDetails, Status
from ringtime_local import Authority, TlsFiles
from ringtime_local.cluster import Cluster
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession, fetch_identity
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import StartupError, StoreUnavailable
from ringtime_shared.settings import CassandraSettings, CoordinationSettings, load_settings
from ringtime_shared.stores.cassandra import CassandraStore

pytestmark = pytest.mark.service

REFUSED = "our certificate was refused: the other side "
Fault = tuple[dict[str, str], str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("tls")
    profile = folder / "profile"
    settings: dict[str, object] = {
        "callbacks": {"tls_profiles": [f"shop={profile}"]},
        "ingest": {"workers": 2},
    }
    cluster = Cluster(folder / "cluster", ingest=1, dispatchers=1, settings=settings, tls=True)
    files = tls_of(cluster)
    profile.mkdir()
    for source, name in ((files.ca, "ca.crt"), (files.cert, "tls.crt"), (files.key, "tls.key")):
        (profile / name).write_bytes(source.read_bytes())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def tls_of(cluster: Cluster) -> TlsFiles:
    assert cluster.tls is not None
    return cluster.tls


@pytest.fixture(scope="module")
def faults(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[Fault]:
    """What is changed of good settings; the host to ask; and what is then said."""
    folder = tmp_path_factory.mktemp("others")
    stranger = Authority(folder / "stranger", "stranger")
    foreign = stranger.issue("client")
    expired = Authority(cluster.folder / "certificates").issue("expired", days=-1)

    def client(files: TlsFiles) -> dict[str, str]:
        return {"cert_file": str(files.cert), "key_file": str(files.key)}

    return [
        ({"ca_file": str(stranger.ca)}, "127.0.0.1", "the certificate is signed by"),
        ({}, "localhost", "the certificate is for another host"),
        ({"cert_file": "", "key_file": ""}, "127.0.0.1", REFUSED),
        (client(foreign), "127.0.0.1", REFUSED),
        (client(expired), "127.0.0.1", REFUSED),
    ]


async def test_a_schedule_from_the_client_to_receivers_over_tls_alone(cluster: Cluster) -> None:
    files, topic = tls_of(cluster), await new_topic(cluster.servers.kafka)
    with tls_server(files, wants_client=True) as site:
        async with AsyncRingtimeClient(cluster.base, ca_file=files.ca) as client:
            app_id = topic.partition(".")[0]
            await client.register_app(
                "shop", partitions=2, configuration=AppConfiguration(tls_profile="shop")
            )
            await client.register_app(app_id, partitions=1)
            url = f"https://127.0.0.1:{site.port}/hook"
            made = [
                await client.create_schedule(
                    "shop", payload="{}", delay=timedelta(0), callback=HttpCallbackDetails(url=url)
                ),
                await client.create_schedule(
                    app_id,
                    payload="{}",
                    delay=timedelta(0),
                    callback={"type": "kafka", "details": {"topic": topic}},
                ),
            ]
            async with asyncio.timeout(60):
                for each in made:
                    while (  # noqa: ASYNC110 - in the cluster
                        await client.get_schedule(each.schedule_id)
                    ).status is Status.SCHEDULED:
                        await asyncio.sleep(0.05)
            for each in made:
                shown = await client.get_schedule(each.schedule_id)
                assert shown.status is Status.SUCCESS, shown
        assert [b"POST /hook" in head for head in site.requests] == [True]
    assert len(await read_all(cluster.servers.kafka, topic)) == 1
    async with AsyncRingtimeClient(cluster.base) as stranger:
        with pytest.raises(StoreUnavailable, match="certificate"):
            await stranger.list_apps()


async def test_ringctl_asks_nodes_over_tls(cluster: Cluster) -> None:
    config = cluster.folder / "ringtime.json"
    argv = [sys.executable, "-m", "ringtime_ringctl.main", "--json", "--config", str(config)]

    def health(*options: str) -> list[dict[str, str]]:
        done = subprocess.run([*argv, *options, "doctor"], capture_output=True, text=True, timeout=180)
        found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
        return found

    trusting = await asyncio.to_thread(health, "--ca-file", str(tls_of(cluster).ca))
    without = await asyncio.to_thread(health)
    nodes = [each for each in trusting if each["check"] == "nodes"]
    assert [each["state"] for each in nodes] == ["ok"], nodes
    assert "certificate" in str([each for each in without if each["state"] != "ok"]), without


async def test_cassandra_says_which_certificate_it_was(cluster: Cluster, faults: list[Fault]) -> None:
    good = load_settings(cluster.folder / "ringtime.json", {}).cassandra
    for changes, host, fault in faults:
        if host == "localhost":  # the driver asks for the address, which the certificate is for
            continue
        bad: CassandraSettings = replace(good, contact_points=(host,), **changes)  # type: ignore[arg-type]
        with pytest.raises(StartupError, match=f"TLS to {host}:{good.port}: {fault}"):
            await CassandraStore.connect(bad)


async def test_etcd_says_which_certificate_it_was(cluster: Cluster, faults: list[Fault]) -> None:
    good = load_settings(cluster.folder / "ringtime.json", {}).coordination
    assert await fetch_identity(good)
    port = cluster.servers.etcd.port
    for changes, host, fault in faults:
        bad: CoordinationSettings = replace(good, endpoints=(f"{host}:{port}",), **changes)  # type: ignore[arg-type]
        session = EtcdSession(bad, SystemClock())
        for start in (session.join(Member(node="n1")), fetch_identity(bad)):
            with pytest.raises(StartupError, match=f"TLS to {host}:{port}: {fault}"):
                await start
        await session.close()


async def test_kafka_says_which_certificate_it_was(cluster: Cluster, faults: list[Fault]) -> None:
    files, topic = tls_of(cluster), await new_topic(cluster.servers.kafka)
    port = cluster.servers.kafka.bootstrap.rpartition(":")[2]
    good = {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
    for changes, host, fault in faults:
        settings: dict[str, Any] = {"security": "SSL", "deadline_ms": 3_000, **good, **changes}
        async with callback_for(f"{host}:{port}", **settings) as callback:
            reply: Reply = await callback.invoke(delivery(topic))
        assert reply.error.startswith(f"not sent: TLS to {host}:{port}: {fault}"), reply
