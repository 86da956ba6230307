"""The move of an app from goscheduler and back, on a real server, by its HTTP API, its tap and `ringctl`.

The server and `ringctl` run on one clock, which the test sets ahead
instead of waiting for a handover.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ringtime_local.ports import take_ports
from tests.harness.client import LoadClient
from tests.harness.goscheduler_api import Goscheduler, Heard, listening
from tests.harness.server import ServerProcess
from tests.harness.steered_clock import steer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEAD_S = 300  #: from now to the earliest handover


class Move:
    """One server, the goscheduler behind it, and a receiver."""

    def __init__(self, folder: Path, goscheduler: Goscheduler, upstream: str, receiver: str) -> None:
        self.clock = folder / "clock"
        steer(self.clock, 0)
        self.ahead_s = 0.0
        self.receiver, self.goscheduler = receiver, goscheduler
        port = take_ports(1)[0]
        self.settings = {
            "RINGTIME_SHADOW_UPSTREAM_URL": upstream,
            "RINGTIME_SHADOW_TAP_URL": f"http://127.0.0.1:{port}",
            "RINGTIME_SHADOW_SECRET": "s" * 32,
            "RINGTIME_DISPATCH_SEAL_MS": "200",
        }
        self.server = ServerProcess(folder / "data", environment=self.settings, clock=self.clock, port=port)

    def now_s(self) -> float:
        return time.time() + self.ahead_s

    def stop_until(self, at_s: float) -> None:
        """Stop the server, and let it be that time."""
        assert self.server.stop() == 0
        self.ahead_s += at_s - self.now_s()
        steer(self.clock, self.ahead_s)

    async def ringctl(self, *words: str) -> Any:
        command = [sys.executable, "-m", "tests.harness.steered_clock", "ringctl", str(self.clock)]
        command += ["--data", str(self.server.data), "--json", *words]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    async def create(self, client: LoadClient, due_s: float) -> tuple[str, str]:
        """Create a schedule; return its ids, here and at goscheduler ("": it has none)."""
        details = {"url": f"{self.receiver}/paid", "method": "POST", "headers": {"Content-Type": "text/x"}}
        body = {
            "appId": "pay",
            "payload": "hello",
            "scheduleTime": round(due_s),
            "callback": {"type": "http", "details": details},
        }
        before = set(self.goscheduler.schedules)
        answer = await client.request("POST", "/schedules", body)
        assert answer.status == 200, answer.body
        twin = "".join(set(self.goscheduler.schedules) - before)
        return json.loads(answer.body)["data"]["schedule"]["scheduleId"], twin

    async def outcome(self, client: LoadClient, schedule_id: str) -> dict[str, Any]:
        """Return a schedule once it has ended."""
        while True:
            answer = await client.request("GET", f"/schedules/{schedule_id}")
            shown: dict[str, Any] = json.loads(answer.body)["data"]["schedule"]
            if shown["status"] != "SCHEDULED":
                return shown
            await asyncio.sleep(0.1)


async def test_an_app_goes_over_and_back_and_over_for_good(tmp_path: Path) -> None:
    goscheduler, heard = Goscheduler(), list[Heard]()

    def receive(request: Heard) -> tuple[int, bytes]:
        heard.append(request)
        return 200, b""

    async with listening(goscheduler.answer) as upstream, listening(receive) as receiver:
        move = Move(tmp_path, goscheduler, upstream, receiver)
        try:
            await asyncio.to_thread(move.server.start)
            async with LoadClient(move.server.base) as client:
                await begin(move, client)
            for to in ("ringtime", "goscheduler", "ringtime"):
                await hand_over(move, to, heard)
            await asyncio.to_thread(move.stop_until, move.now_s() + 130)
            report = await move.ringctl("shadow", "report", "pay", "--from", "-1h")
            assert (report["both"], report["passed"], report["kept"]) == (6, 3, 3)
            assert report["differences"] == {}
            assert (await move.ringctl("shadow", "end", "pay"))["shadow"]["over"]
            await asyncio.to_thread(move.server.start)
            goscheduler.trouble = 0  # it may be gone
            async with LoadClient(move.server.base) as client:
                alone, twin = await move.create(client, move.now_s() + 2)
                assert twin == ""
                assert (await move.outcome(client, alone))["status"] == "SUCCESS"
        finally:
            move.server.close()
    assert [each.headers["schedule-id"] for each in heard] == [alone]


async def begin(move: Move, client: LoadClient) -> None:
    """Let the app be in shadow, with one schedule that is cancelled on both sides."""
    app = {"appId": "pay", "partitions": 1, "active": True}
    assert (await client.request("POST", "/apps", app)).status == 200
    await move.ringctl("shadow", "begin", "pay")
    twin = ""
    while not twin:  # until the server has read it
        far, twin = await move.create(client, move.now_s() + 86_400)
    assert (await client.request("DELETE", f"/schedules/{far}")).status == 200
    assert twin not in move.goscheduler.schedules


async def hand_over(move: Move, to: str, heard: list[Heard]) -> None:
    """Let the other side deliver from an instant on, and see that it does; what is due before stays."""
    at_s = int(move.now_s()) + LEAD_S + 60
    handover = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
    async with LoadClient(move.server.base) as client:
        before, after = await move.create(client, at_s - 1), await move.create(client, at_s)
    shadow = (await move.ringctl("shadow", "switch", "pay", "--to", to, "--at", handover))["shadow"]
    assert shadow["handovers"][-1] == {"at": f"{handover[:-1]}.000Z", "to": to}
    # A server that ran on while its clock is set might decide by what it had read before.
    await asyncio.to_thread(move.stop_until, at_s - 1)
    await asyncio.to_thread(move.server.start)
    left, own = (before, after) if to == "ringtime" else (after, before)
    async with LoadClient(move.server.base) as client:
        assert (await move.outcome(client, own[0]))["status"] == "SUCCESS"
        shown = await move.outcome(client, left[0])
    assert (shown["status"], shown["errorMessage"]) == ("MISS", "shadow: goscheduler delivers it")
    assert [each.headers["schedule-id"] for each in heard] == [own[0]]
    heard.clear()
    assert await move.goscheduler.fire(own[1]) == [200]
    assert heard == []  # it is kept
    assert await move.goscheduler.fire(left[1]) == [200]
    [call] = heard
    assert (call.body, call.headers["content-type"]) == (b"hello", "text/x")
    assert call.headers["schedule-id"] == left[0]
    heard.clear()
