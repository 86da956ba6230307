"""A small deployment with something to see on every page of the dashboard, and something wrong with it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

from ringtime_client import HttpCallbackDetails, Interval, NewSchedule, RecurringTimes, RingtimeClient
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.times import Unit
from tests.harness.server import serving

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"
_PATIENCE_S = 60.0
_AGAIN_S = 0.1
_OVER_QUOTA = 1_200  #: due in one minute of an app with one partition, which carries 1,000


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there."""

    origin: str
    client: RingtimeClient
    good: UUID  #: a one-time schedule that succeeded
    failed: UUID  #: one that was given up
    coming: UUID  #: one of three days from now
    slow: str  #: a destination that answers nobody
    dead: str  #: one where nobody listens

    def paths(self) -> dict[str, str]:
        """Return a path of every page, by a name for its picture."""
        return {
            "overview": "/",
            "schedules": "/ui/schedules?app=shop",
            "schedules-once": "/ui/schedules?app=shop&kind=once",
            "schedule": f"/ui/schedule?id={self.failed}",
            "recurring": "/ui/schedule?app=shop&name=heartbeat",
            "new": "/ui/schedule/new?app=shop",
            "edit": "/ui/schedule/edit?app=shop&name=nightly-report",
            "bulk": "/ui/bulk?app=shop",
            "jobs": "/ui/jobs?app=shop",
            "fires": "/ui/fires?app=shop",
            "dead-letters": "/ui/dead-letters?app=shop",
            "destinations": "/ui/destinations",
            "ring": "/ui/ring",
            "ring-what-if": "/ui/ring?app=shop&join=2",
            "apps": "/ui/apps",
            "app": "/ui/app?app=shop",
            "audit": "/ui/audit",
            "keys": "/ui/keys",
        }


@contextmanager
def receiving(answer: Callable[[BaseHTTPRequestHandler], int]) -> Iterator[str]:
    """Run a receiver that answers each POST with the status that `answer` returns; yield its origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(answer(self))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def scene(folder: Path, **settings: object) -> Iterator[Scene]:
    """Run `ringtime serve` with the scene on it, and receivers that answer well, badly and not at all."""
    over = threading.Event()

    def never(_: BaseHTTPRequestHandler) -> int:
        over.wait(60)
        return 200

    with (
        socket.create_server(("127.0.0.1", 0)) as closed,
        receiving(lambda _: 200) as good,
        receiving(lambda _: 500) as bad,
        receiving(never) as slow,
        serving(folder, **({"node_status_ms": 500} | settings)) as server,
    ):
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        closed.close()
        origin = server.base.removesuffix("/goscheduler")
        with RingtimeClient(origin) as client:
            try:
                yield _fill(client, origin, good, bad, slow, dead)
            finally:
                over.set()


def _fill(client: RingtimeClient, origin: str, good: str, bad: str, slow: str, dead: str) -> Scene:
    now = datetime.now(UTC)
    for app_id, partitions in (("shop", 4), ("billing", 2), ("crowded", 1), ("stuck", 2)):
        client.register_app(app_id, partitions=partitions)

    def to(url: str) -> HttpCallbackDetails:
        return HttpCallbackDetails(url=f"{url}/callback", headers={"Authorization": "Bearer secret"})

    each_second = RecurringTimes(interval=Interval(every=1, unit=Unit.SECONDS, anchor=now), zone="UTC")
    client.put_recurring(
        "shop",
        "nightly-report",
        times=RecurringTimes(cron="30 2 * * *", zone="Europe/Berlin"),
        payload='{"report": "nightly", "rows": [1, 2, 3]}',
        callback=to(good),
    )
    client.put_recurring(
        "shop",
        "hostile",
        times=RecurringTimes(cron="@hourly", zone="UTC"),
        payload=HOSTILE,
        callback=to(good),
    )
    client.put_recurring(
        "shop",
        "heartbeat",
        times=each_second,
        payload="{}",
        callback=to(good),
    )
    client.put_recurring(
        "shop",
        "weekday-mail",
        times=RecurringTimes(cron="0 9 * * MON-FRI", zone="America/New_York"),
        payload="{}",
        callback=to(good),
    )
    client.pause_recurring("shop", "weekday-mail", reason="the warehouse moves")
    soon = now + timedelta(seconds=1)
    made = client.create_schedules(
        [
            NewSchedule(
                app_id="shop",
                payload=f'{{"order": {n}, "note": "<b>{n}</b>"}}',
                callback=to(good if n else bad),
                retry=RetryRules(attempts=3, first_delay_ms=300, factor=1.5),
                at=soon + timedelta(milliseconds=40 * n),
                labels={"order": str(n)},
            )
            for n in range(40)
        ]
    )
    ids = [each.schedule_id for each in made if not isinstance(each, Exception)]
    for url, app_id in ((slow, "stuck"), (dead, "billing")):
        client.create_schedules(
            [
                NewSchedule(app_id=app_id, payload="{}", callback=to(url), at=soon)
                for _ in range(300 if url == slow else 60)
            ]
        )
    # Who looks minutes later finds it dead, too: what was due once is given up soon, and forgotten.
    client.put_recurring(
        "billing",
        "statement",
        times=each_second,
        payload="{}",
        callback=to(dead),
    )
    full = (now + timedelta(minutes=10)).replace(second=30, microsecond=0)
    for first in range(0, _OVER_QUOTA, 600):
        client.create_schedules(
            [
                NewSchedule(app_id="crowded", payload="{}", callback=to(good), at=full)
                for _ in range(first, first + 600)
            ]
        )
    coming = client.create_schedule(
        "shop", payload=HOSTILE, callback=to(good), at=now + timedelta(days=3), labels={"html": HOSTILE[:64]}
    )
    wait_for(lambda: client.get_schedule(ids[0]).status == "FAILURE")
    return Scene(origin, client, ids[1], ids[0], coming.schedule_id, slow, dead)


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, "it did not come to be so"
        time.sleep(_AGAIN_S)
