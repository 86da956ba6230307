"""A bulk delete through a kill of the server that works at it: nothing is left out, and progress is told.

    RINGTIME_FAULTS=long pytest -m "" -s tests/e2e/test_bulk.py

runs it at full length, on a folder and on Cassandra, and says what it took; `RINGTIME_TEST_BULK_ROWS` is for
another size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringtime_client import (
    HttpCallbackDetails,
    JobAction,
    JobState,
    JobView,
    NewSchedule,
    RingtimeClient,
    ScheduleView,
    Status,
)
from ringtime_local import LocalServers
from tests.e2e.conftest import clustered
from tests.harness.report import IS_LONG
from tests.harness.server import serving

ROWS = int(os.environ.get("RINGTIME_TEST_BULK_ROWS", "100000" if IS_LONG else "5000"))
SPAN = timedelta(hours=2)
NOWHERE = HttpCallbackDetails(url="http://127.0.0.1:1/")
HOUR = timedelta(hours=1)


def test_a_bulk_delete_goes_on_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path) as server, client_of(server.base) as client:
        used_s: float = 0

        def kill() -> RingtimeClient:
            nonlocal used_s
            used_s = server.cpu_s() - before_s
            server.kill()
            server.start()
            return client

        client.register_app("shop", partitions=8)
        start = create(client)
        before_s = server.cpu_s()
        said = delete_through(client, start, kill)
        print(f"\n{said}; until the kill {used_s:.1f} s of processor time")


@pytest.mark.service
@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults; the folder's form is in each run")
def test_a_bulk_delete_on_cassandra_goes_on_at_another_pod(tmp_path: Path, own_servers: LocalServers) -> None:
    with (
        clustered(tmp_path, own_servers) as cluster,
        client_of(cluster.bases[0]) as client,
        client_of(cluster.bases[1]) as other,
    ):

        def kill() -> RingtimeClient:
            cluster.pods["ingest-1"].process.kill()
            return other

        client.register_app("shop", partitions=8)
        print(f"\n{delete_through(client, create(client), kill)}")


def create(client: RingtimeClient) -> datetime:
    """Create so many schedules, over `SPAN` from an instant that is returned."""
    start = datetime.now(UTC) + HOUR
    for n in range(0, ROWS, 1_000):
        some = [
            NewSchedule(app_id="shop", payload="{}", callback=NOWHERE, at=start + SPAN * (k / ROWS))
            for k in range(n, min(n + 1_000, ROWS))
        ]
        assert not [each for each in client.create_schedules(some) if isinstance(each, Exception)]
    return start


def delete_through(client: RingtimeClient, start: datetime, kill: Callable[[], RingtimeClient]) -> str:
    """Delete all, with a kill when a quarter is looked at; return what it took, in words.

    `kill` returns a client of a server that is there afterwards.
    """
    begun_s = time.monotonic()
    job = client.create_job("shop", JobAction.DELETE, start=start, end=start + SPAN)
    seen = watch(client, job, lambda now: now.looked >= ROWS // 4)
    looked, first_s = seen[-1].looked, time.monotonic() - begun_s
    client = kill()
    seen += watch(client, job, lambda now: now.ended_at is not None)
    took_s, last = time.monotonic() - begun_s, seen[-1]
    assert (last.state, last.looked, last.failed) == (JobState.DONE, ROWS, 0)
    assert ROWS - 500 <= last.done <= ROWS  # the page at the kill counts as it was found then
    assert last.passed == ROWS - last.done
    through = [now.progress or 0.0 for now in seen]
    assert through == sorted(through)
    assert len({now.looked for now in seen}) > 2
    assert not left_of(client, start)
    return (
        f"{looked:,} looked at in {first_s:.1f} s; all {ROWS:,} after {took_s:.1f} s, with a kill in between,"
        f" {last.passed} found done"
    )


def client_of(base: str) -> RingtimeClient:
    return RingtimeClient(base, deadline=timedelta(seconds=30))


def left_of(client: RingtimeClient, start: datetime) -> list[ScheduleView]:
    """Return what is to be sent yet."""
    found: list[ScheduleView] = []
    token = ""
    while True:
        page = client.list_schedules(
            "shop", start=start, end=start + SPAN, status=Status.SCHEDULED, size=1_000, token=token
        )
        found += page.schedules
        token = page.token
        if not token:
            return found


def watch(client: RingtimeClient, job: JobView, is_enough) -> list[JobView]:  # type: ignore[no-untyped-def]
    """Look at a job until it is far enough; return what was seen that differed."""
    seen: list[JobView] = []
    until_s = time.monotonic() + 300
    while time.monotonic() < until_s:
        now = client.get_job("shop", job.job_id)
        if not seen or now.looked != seen[-1].looked or now.state != seen[-1].state:
            seen.append(now)
        if is_enough(now):
            return seen
        time.sleep(0.01)
    raise AssertionError(f"still {seen[-1]}")
