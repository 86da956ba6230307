"""Recurring schedules from the HTTP request to the callback, in the one-process product on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.builders import START_MS
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.ingest.rig import Client

from ringtime import CallbackType, Delivery, Reply, Settings, Violation
from ringtime.runtime import run
from ringtime_ingest.http import create_app
from ringtime_ingest.service import NewApp, NewRecurring
from ringtime_shared.api.instants import to_iso
from ringtime_shared.clock import Clock, SystemClock
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.settings import DispatchSettings, EmbeddedSettings, IngestSettings, ServerSettings

MINUTE_MS = 60_000
RECURRING = "/goscheduler/apps/shop/recurring"
BELL = {"type": "bell", "details": {}}


class Bell(CallbackType):
    """Writes down when it rang, and for which run."""

    name = "bell"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_ms = clock.now_ms()
        self.rung: list[tuple[int, int, str]] = []  # nominal time and time, ms since the start; payload
        self.takes_s = 0.0
        self.next = asyncio.Event()  #: is set when it rings

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        of = delivery.schedule.run
        assert of is not None
        at_ms = self._clock.now_ms() - self._start_ms
        self.rung.append((of.nominal_ms - self._start_ms, at_ms, delivery.schedule.payload))
        self.next.set()
        self.next = asyncio.Event()
        await asyncio.sleep(self.takes_s)
        return Reply(ok=True)

    @property
    def minutes(self) -> list[float]:
        return [nominal_ms / MINUTE_MS for nominal_ms, _, _ in self.rung]


@dataclass(slots=True)
class Product:
    client: Client
    bell: Bell

    async def ask(self, method: str, target: str, body: object = b"") -> dict[str, Any]:
        reply = await self.client.call(method, target, body)
        assert reply.status == 200, reply.body
        data: dict[str, Any] = reply.json["data"]
        return data

    async def put(self, name: str = "report", **changes: object) -> dict[str, Any]:
        body = {"cronExpression": "* * * * *", "timeZone": "UTC", "payload": "1", "callback": BELL}
        return await self.ask("PUT", f"{RECURRING}/{name}", body | changes)

    async def runs(self, name: str = "report", query: str = "when=past&size=1000") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.ask("GET", f"{RECURRING}/{name}/runs?{query}"))["schedules"]
        return found


@asynccontextmanager
async def serve() -> AsyncIterator[Product]:
    clock = LoopClock()
    bell = Bell(clock)
    async with run(Settings(), callbacks={"bell": bell}, clock=clock) as runtime:

        async def ready() -> None: ...

        product = Product(Client(create_app(runtime.service, ServerSettings(), ready)), bell)
        await product.ask("POST", "/goscheduler/apps", {"appId": "shop", "partitions": 4, "active": True})
        yield product


@pytest.mark.slow
@on_virtual_time
async def test_a_cron_of_goschedulers_runs_each_minute_on_time() -> None:
    async with serve() as product:
        created = await product.ask(
            "POST",
            "/goscheduler/schedules",
            {"appId": "shop", "payload": "{}", "cronExpression": "* * * * *", "callback": BELL},
        )
        recurring_id = created["schedule"]["scheduleId"]
        await asyncio.sleep(30 * 60 + 5)
        assert product.bell.minutes == [*range(1, 31)]
        assert max(at_ms - nominal_ms for nominal_ms, at_ms, _ in product.bell.rung) < 50
        assert min(at_ms - nominal_ms for nominal_ms, at_ms, _ in product.bell.rung) >= 0
        page = await product.ask("GET", f"/goscheduler/schedules/{recurring_id}/runs?when=past&size=30")
        assert [run["status"] for run in page["schedules"]] == ["SUCCESS"] * 30
        assert {run["parentScheduleId"] for run in page["schedules"]} == {recurring_id}
        await product.ask("DELETE", f"/goscheduler/schedules/{recurring_id}")
        await asyncio.sleep(300)
        assert len(product.bell.rung) == 30


@pytest.mark.slow
@on_virtual_time
async def test_each_nominal_time_has_one_run_over_edits_and_pauses() -> None:
    async with serve() as product:
        await product.put()
        await asyncio.sleep(10 * 60 + 30)
        await product.put(payload="2")
        await asyncio.sleep(10 * 60)  # to 20:30
        await product.ask("POST", f"{RECURRING}/report/pause", {"reason": "deploy"})
        await asyncio.sleep(10 * 60)
        await product.ask("POST", f"{RECURRING}/report/resume")
        await asyncio.sleep(10 * 60)  # to 40:30
        assert product.bell.minutes == [*range(1, 21), *range(31, 41)]
        assert [payload for _, _, payload in product.bell.rung] == ["1"] * 10 + ["2"] * 20
        runs = await product.runs()
        ended = {run["nominalTime"]: run["status"] for run in runs[::-1] if run["status"] != "DELETED"}
        assert list(ended.values()) == ["SUCCESS"] * 30
        assert {run["status"] for run in runs} == {"SUCCESS", "DELETED"}  # those of the versions before


@pytest.mark.slow
@on_virtual_time
async def test_a_pause_ends_by_itself_and_a_count_ends_it_all() -> None:
    async with serve() as product:
        await product.put(maxRuns=5)
        await asyncio.sleep(2 * 60 + 30)
        until = to_iso(START_MS + 20 * MINUTE_MS)
        paused = await product.ask("POST", f"{RECURRING}/report/pause", {"until": until})
        assert (paused["state"], paused["nextNominalTime"]) == ("PAUSED", until)
        await asyncio.sleep(60 * 60)
        assert product.bell.minutes == [1, 2, 20, 21, 22]
        assert (await product.ask("GET", f"{RECURRING}/report"))["state"] == "ENDED"


@on_virtual_time
async def test_a_cancelled_run_is_not_sent_and_those_after_it_are() -> None:
    async with serve() as product:
        await product.put()
        await asyncio.sleep(90)
        [future] = await product.runs(query="when=future")
        cancelled = await product.ask("DELETE", f"/goscheduler/schedules/{future['scheduleId']}")
        assert cancelled["schedule"]["status"] == "DELETED"
        await asyncio.sleep(4 * 60)
        assert product.bell.minutes == [1, 3, 4, 5]
        assert [run["status"] for run in (await product.runs())[::-1]] == ["SUCCESS", "DELETED"] + [
            "SUCCESS"
        ] * 3


@on_virtual_time
async def test_runs_that_overlap_are_missed_and_a_trigger_is_beside_the_plan() -> None:
    async with serve() as product:
        product.bell.takes_s = 1.5
        await product.put(
            cronExpression=None,
            interval={"every": 1, "unit": "seconds", "anchorTime": "2027-01-01T00:00:00Z"},
            overlapPolicy="skip",
        )
        await asyncio.sleep(10)
        seconds = [nominal_ms // 1_000 for nominal_ms, _, _ in product.bell.rung]
        assert seconds[:4] == [seconds[0] + 2 * n for n in range(4)]
        statuses = [run["status"] for run in await product.runs()]
        assert {"SUCCESS", "MISS"} <= set(statuses)
        await product.put("slow", cronExpression="0 0 1 1 *")
        run_id = (await product.ask("POST", f"{RECURRING}/slow/trigger"))["schedule"]["scheduleId"]
        await asyncio.sleep(5)
        assert (await product.ask("GET", f"/goscheduler/schedules/{run_id}"))["schedule"][
            "status"
        ] == "SUCCESS"


@on_virtual_time
async def test_nothing_runs_on_the_days_of_a_calendar_as_it_is_when_a_run_is_filed() -> None:
    calendar = "/goscheduler/apps/shop/calendars/freeze"

    def closed(first: int, last: int) -> dict[str, object]:
        ends = {
            "startTime": to_iso(START_MS + first * MINUTE_MS),
            "endTime": to_iso(START_MS + last * MINUTE_MS),
        }
        return {"spans": [ends]}

    async with serve() as product:
        await product.ask("PUT", calendar, closed(3, 6))
        await product.put(exclusionCalendars=["freeze"])
        await asyncio.sleep(10 * 60 + 30)
        assert product.bell.minutes == [1, 2, 6, 7, 8, 9, 10]
        await product.ask("PUT", calendar, closed(11, 14))  # the run of minute 11 is filed
        await asyncio.sleep(5 * 60)
        assert product.bell.minutes[7:] == [11, 14, 15]
        assert (await product.client.call("DELETE", calendar)).status == 409
        assert {run["status"] for run in await product.runs()} == {"SUCCESS"}


async def test_a_chain_goes_on_where_a_restart_left_it(tmp_path: Path) -> None:
    """On a folder and the machine's clock: each second has its run, those of the time in between included."""
    settings = Settings(
        embedded=EmbeddedSettings(data=str(tmp_path / "data")),
        ingest=IngestSettings(commit_margin_ms=50),
        dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=40, apps_refresh_ms=50),
    )
    bell = Bell(SystemClock())
    every = {"every": 1, "unit": "seconds", "anchorTime": "2026-01-01T00:00:00Z"}
    for turn in (1, 2):
        async with run(settings, callbacks={"bell": bell}) as runtime, asyncio.timeout(60):
            if turn == 1:
                await runtime.service.register_app(
                    NewApp(app_id="shop", partitions=2, active=True, configuration=AppConfiguration())
                )
                times = parse_times({"interval": every}, "UTC")
                await runtime.service.recurring.put(
                    NewRecurring(
                        app_id="shop",
                        name="tick",
                        times=times,
                        payload="1",
                        callback_type="bell",
                        callback_details={},
                    )
                )
            while len(bell.rung) < 3 * turn:
                await bell.next.wait()
    nominals = [nominal_ms for nominal_ms, _, _ in bell.rung]
    assert list(dict.fromkeys(nominals)) == [nominals[0] + 1_000 * n for n in range(len(set(nominals)))]
