"""The way of one schedule through the code: how many files and functions it enters.

    PYTHONPATH=. python benchmarks/way.py [--show]

The one-process product runs in this process. Two schedules warm it up; then every call of a function of
ours is noted, first from a POST to its answer, of one that comes after a rest, so that the apps are looked at
again, and of one that follows another; then from a callback's slot to its durable outcome; then those of a
GET and of a cancel, of a schedule that is a minute ahead. What the service enters while nothing is due
(ticks, seals, leases) is noted beforehand and left out, so the figures are those of the schedule. `--show`
lists the functions in the order of their first call.

    files      files of ours with a function that was entered
    functions  functions entered, each counted once
    calls      calls of them
    switches   calls into another file than the one entered before
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import ClassVar

from tests.harness.client import LoadClient
from tests.harness.receiver import running_receiver

from ringtime.runtime import run
from ringtime_ingest.http import create_app
from ringtime_shared.http_server import listen, serve_http
from ringtime_shared.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(str(ROOT / each) + "/" for each in ("shared", "client", "ingest", "dispatcher", "embedded"))
POST, RESTED, FIRED = "POST to answer", "the same, rested", "due to outcome"
IDLE_S = 11.0  #: covers ticks, seals, looks at the apps and sweeps of arrivals
LEAD_S = 1.5


class Way:
    """The functions of ours entered while `noting`, on the loop and in the store's threads."""

    current: ClassVar[Way | None] = None

    def __init__(self) -> None:
        self.calls: list[CodeType] = []

    @staticmethod
    def watch() -> None:
        """Look at every call of this thread, and of those that are started from now on."""
        threading.setprofile(_note)
        sys.setprofile(_note)

    @contextmanager
    def noting(self) -> Iterator[None]:
        Way.current = self
        try:
            yield
        finally:
            Way.current = None

    def without(self, idle: Way) -> Way:
        """Return what is entered here and not by an idle service."""
        rest, known = Way(), set(idle.calls)
        rest.calls = [code for code in self.calls if code not in known]
        return rest

    def files(self) -> set[str]:
        return {code.co_filename for code in self.calls}

    def report(self, name: str) -> None:
        names = [code.co_filename for code in self.calls]
        switches = sum(here != before for before, here in pairwise(names))
        print(
            f"{name:20}{len(self.files()):6} files{len(set(self.calls)):6} functions"
            f"{len(self.calls):6} calls{switches:6} switches",
            flush=True,
        )

    def show(self) -> None:
        for code in dict.fromkeys(self.calls):
            where = str(Path(code.co_filename).relative_to(ROOT))
            print(f"    {where}:{code.co_firstlineno} {code.co_qualname}")


def _note(frame: FrameType, event: str, _: object) -> None:
    way = Way.current
    if way is not None and event == "call" and frame.f_code.co_filename.startswith(OURS):
        way.calls.append(frame.f_code)


async def trace(folder: Path, receiver_url: str) -> dict[str, Way]:
    """Return the ways of a POST, a callback, a GET and a cancel."""
    flags = {"server.port": 0, "embedded.data": str(folder), "embedded.loopback_callbacks": True}
    flags |= {"dispatch.completeness_s": 3_600, "dispatch.forecast_s": 3_600}  # no schedule's way
    settings = load_settings(None, {}, flags=flags)
    stop = asyncio.Event()
    with listen(settings.server) as listener:
        async with run(settings, callbacks={}) as runtime:
            app = create_app(runtime.service, settings.server, runtime.store.ping)
            serving = asyncio.create_task(serve_http(app, settings.server, listener, stop))
            try:
                base = f"http://127.0.0.1:{listener.getsockname()[1]}/goscheduler"
                async with LoadClient(base, 1) as client:
                    return await _follow(client, receiver_url)
            finally:
                stop.set()
                await serving


async def _follow(client: LoadClient, url: str) -> dict[str, Way]:
    async def create(lead_s: float = LEAD_S) -> str:
        body = {
            "appId": "way",
            "payload": "{}",
            "scheduleTime": time.time() + lead_s,
            "callback": {"type": "http", "details": {"url": url, "method": "POST", "headers": {"X-A": "1"}}},
        }
        answer = await client.request("POST", "/schedules", body)
        assert answer.status == 200, answer
        return str(answer.data["schedule"]["scheduleId"])

    async def outcome(schedule_id: str) -> None:
        while True:
            answer = await client.request("GET", f"/schedules/{schedule_id}")
            if answer.data["schedule"]["status"] == "SUCCESS":
                return
            await asyncio.sleep(0.1)

    answer = await client.request("POST", "/apps", {"appId": "way", "partitions": 1, "active": True})
    assert answer.status == 200, answer
    for _ in range(2):  # connections, caches, policies
        await outcome(await create())
    idle, rested, post, fired, get, cancel = Way(), Way(), Way(), Way(), Way(), Way()
    with idle.noting():
        await asyncio.sleep(IDLE_S)
    with rested.noting():
        schedule_id = await create()
    await outcome(schedule_id)
    for _ in range(3):  # the apps are looked at, and what that has shown of this one is kept
        await create(60)
        await asyncio.sleep(0.1)
    with post.noting():
        schedule_id = await create()
    with fired.noting():
        await asyncio.sleep(LEAD_S + 0.5)  # no question in between: its way is not the callback's
    await outcome(schedule_id)
    later = f"/schedules/{await create(60)}"
    with get.noting():
        await client.request("GET", later)
    with cancel.noting():
        await client.request("DELETE", later)
    ways = {POST: post, RESTED: rested, FIRED: fired, "GET": get, "cancel": cancel}
    return {name: way.without(idle) for name, way in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--show", action="store_true", help="list the functions")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ringtime-way-") as folder,
        running_receiver(Path(folder)) as receiver,
    ):
        Way.watch()
        ways = asyncio.run(trace(Path(folder) / "data", receiver.url))
    for name, way in ways.items():
        way.report(name)
        if options.show:
            way.show()
    print(f"{'POST and outcome':20}{len(ways[POST].files() | ways[FIRED].files()):6} files")


if __name__ == "__main__":
    main()
