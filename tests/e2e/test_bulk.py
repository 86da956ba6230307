"""A bulk delete through a kill of the server that works at it: nothing is left out, and progress is told.

    RINGTIME_TEST_BULK_ROWS=100000 pytest -m "" -s tests/e2e/test_bulk.py

runs it at full length and says what it took.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from tests.harness.server import ServerProcess, serving

ROWS = int(os.environ.get("RINGTIME_TEST_BULK_ROWS", "5000"))
SPAN = timedelta(hours=2)
NOWHERE = HttpCallbackDetails(url="http://127.0.0.1:1/")
HOUR = timedelta(hours=1)


def test_a_bulk_delete_goes_on_after_a_kill(tmp_path: Path) -> None:
    start = datetime.now(UTC) + HOUR
    with serving(tmp_path) as server, client_of(server) as client:
        client.register_app("shop", partitions=8)
        for n in range(0, ROWS, 1_000):
            some = [
                NewSchedule(app_id="shop", payload="{}", callback=NOWHERE, at=start + SPAN * (k / ROWS))
                for k in range(n, min(n + 1_000, ROWS))
            ]
            assert not [each for each in client.create_schedules(some) if isinstance(each, Exception)]
        begun_s, used_s = time.monotonic(), server.cpu_s()
        job = client.create_job("shop", JobAction.DELETE, start=start, end=start + SPAN)
        seen = watch(client, job, lambda now: now.looked >= ROWS // 4)
        before = seen[-1]
        first_s, first_cpu_s = time.monotonic() - begun_s, server.cpu_s() - used_s
        server.kill()
        server.start()
        seen += watch(client, job, lambda now: now.ended_at is not None)
        last = seen[-1]
        assert (last.state, last.looked, last.failed) == (JobState.DONE, ROWS, 0)
        assert ROWS - 500 <= last.done <= ROWS  # the page at the kill counts as it was found then
        assert last.passed == ROWS - last.done
        through = [now.progress or 0.0 for now in seen]
        assert through == sorted(through)
        assert len({now.looked for now in seen}) > 2
        assert not left_of(client, start)
        print(
            f"\n{before.looked:,} looked at in {first_s:.1f} s, {first_cpu_s:.1f} s of processor time;"
            f" all {ROWS:,} after {time.monotonic() - begun_s:.1f} s, with a kill and a start in between,"
            f" {last.passed} found done"
        )


def client_of(server: ServerProcess) -> RingtimeClient:
    return RingtimeClient(server.base, deadline=timedelta(seconds=30))


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
