"""`ringtime-ingest --workers 2` on Cassandra: both serve one port, one that is killed is missed by nobody."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails
from ringtime_shared.settings import CassandraSettings

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

_CALLBACK = HttpCallbackDetails(url="http://127.0.0.1:8080/x", method="POST")


def _children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def test_two_workers_serve_one_port(migrated: CassandraSettings) -> None:
    environ = {
        **os.environ,
        "RINGTIME_CASSANDRA_CONTACT_POINTS": ",".join(migrated.contact_points),
        "RINGTIME_CASSANDRA_PORT": str(migrated.port),
        "RINGTIME_CASSANDRA_KEYSPACE": migrated.keyspace,
        "RINGTIME_ACCESS_KEYS": "off",
        "RINGTIME_EGRESS_ALLOW": "127.0.0.0/8",
    }
    argv = (Path(sys.executable).parent / "ringtime-ingest", "--port", "0", "--workers", "2")
    pod = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=asyncio.subprocess.PIPE)
    assert pod.stdout is not None
    try:
        bases = {await _base(pod.stdout) for _ in range(2)}
        (base,) = bases
        async with AsyncRingtimeClient(base) as client:
            await client.register_app("workers", partitions=1, active=True)
            made = [await _create(client) for _ in range(10)]
            victim = min(_children(pod.pid))
            os.kill(victim, signal.SIGKILL)
            made += [await _create(client) for _ in range(10)]
            assert await _base(pod.stdout) == base
            assert len(_children(pod.pid) - {victim}) == 2
        async with AsyncRingtimeClient(base) as client:
            assert [(await client.get_schedule(each)).schedule_id for each in made] == made
        os.kill(pod.pid, signal.SIGTERM)
        assert await asyncio.wait_for(pod.wait(), 60) == 0
        assert (await pod.stdout.read()).count(b"has stopped") == 2
    finally:
        if pod.returncode is None:
            pod.kill()  # its workers end by themselves then
            await pod.wait()


async def _base(lines: asyncio.StreamReader) -> str:
    """Return what the next worker says that it listens on; before that it says what is unguarded here."""
    async for line in lines:
        found = re.search(rb"http://[0-9.:]+", line)
        if found:
            return found[0].decode()
    raise AssertionError("the pod has ended")


async def _create(client: AsyncRingtimeClient) -> UUID:
    """Create a schedule, once, though a worker's end may cut the connection."""
    made = await client.create_schedule(
        "workers", payload="x", callback=_CALLBACK, delay=timedelta(minutes=10), idempotency_key=uuid4().hex
    )
    return made.schedule_id
