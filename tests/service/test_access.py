"""API keys on two pods and a real Cassandra: what is revoked comes in nowhere any more, soon."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from ringtime_shared.access import Scope
from ringtime_shared.access.keys import issue_key, revoke_key
from ringtime_shared.clock import SystemClock
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]
IN_FORCE_S = 10


async def _start(settings: CassandraSettings) -> tuple[Process, str]:
    """Start a pod; return it, and its base URL."""
    environ = {
        **os.environ,
        "RINGTIME_CASSANDRA_CONTACT_POINTS": ",".join(settings.contact_points),
        "RINGTIME_CASSANDRA_PORT": str(settings.port),
        "RINGTIME_CASSANDRA_KEYSPACE": settings.keyspace,
    }
    argv = (Path(sys.executable).parent / "ringtime-ingest", "--port", "0")
    pod = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=PIPE)
    assert pod.stdout is not None
    found = re.search(r"http://\S+", (await pod.stdout.readline()).decode())
    assert found is not None
    return pod, found[0]


def _ask(base: str, key: str) -> int:
    request = urllib.request.Request(f"{base}/apps", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    return status


async def test_a_revocation_is_in_force_on_two_pods_within_ten_seconds(migrated: CassandraSettings) -> None:
    store, clock = await CassandraStore.connect(migrated), SystemClock()
    pods = [await _start(migrated) for _ in range(2)]
    try:
        scopes = [Scope.SCHEDULES_READ]
        text, key = await issue_key(store, scopes, None, label="to revoke", now_ms=clock.now_ms())
        other, _ = await issue_key(store, scopes, None, label="to stay", now_ms=clock.now_ms())

        async def refused_after_s(base: str, begun_s: float) -> float:
            """Ask all the time, until the key is refused; return when that was."""
            while await asyncio.to_thread(_ask, base, text) == 200:
                assert time.monotonic() - begun_s < 2 * IN_FORCE_S
                await asyncio.sleep(0.02)
            return time.monotonic() - begun_s

        for _, base in pods:
            assert [await asyncio.to_thread(_ask, base, each) for each in (text, other, "x")] == [
                200,
                200,
                401,
            ]
        await revoke_key(store, key.key_id, clock.now_ms())
        begun_s = time.monotonic()
        took_s = await asyncio.gather(*(refused_after_s(base, begun_s) for _, base in pods))
        assert max(took_s) < IN_FORCE_S
        for _, base in pods:
            assert [await asyncio.to_thread(_ask, base, each) for each in (text, other)] == [401, 200]
        assert (used := await store.fetch_key(key.key_id)) is not None
        assert used.used_ms is not None
        print("refused after", took_s)
    finally:
        for pod, _ in pods:
            pod.terminate()
            await pod.communicate()
        await store.close()
