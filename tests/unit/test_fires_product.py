"""The completeness mark and audits over what the whole one-process product does, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.ingest.rig import Client

from ringtime import CallbackType, Delivery, Reply, Settings, Violation
from ringtime.runtime import run
from ringtime_ingest.http import create_app
from ringtime_shared.settings import ServerSettings

APP = "/goscheduler/apps/shop"
RECURRING = {
    "payload": "",
    "cronExpression": "* * * * *",
    "timeZone": "UTC",
    "callback": {"type": "bell", "details": {}},
}
#: each delay is drawn from 0 to 240 s: ten attempts are not over in the four minutes after which a test looks
POLICY = {"attempts": 10, "firstDelayMs": 240_000, "maxDelayMs": 240_000, "maxAgeSeconds": 86_400}


@dataclass
class Bell(CallbackType):
    """Rings, or is broken for a while."""

    name = "bell"
    is_broken: bool = False
    rung: int = 0

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        if self.is_broken and "firm" not in delivery.schedule.payload:
            return Reply(ok=False, code=503)
        self.rung += 1
        return Reply(ok=True)


@dataclass
class Product:
    client: Client
    bell: Bell
    clock: LoopClock

    async def ask(self, method: str, target: str, body: object = b"") -> dict[str, Any]:
        reply = await self.client.call(method, target, body)
        assert reply.status in (200, 201), reply.body
        answer: dict[str, Any] = reply.json
        return answer["data"]  # type: ignore[no-any-return]

    async def create(self, delay_s: float, payload: str = "") -> str:
        callback = {"type": "bell", "details": {}}
        body = {"appId": "shop", "payload": payload, "delaySeconds": delay_s, "callback": callback}
        made = await self.ask("POST", "/goscheduler/schedules", body)
        return str(made["schedule"]["scheduleId"])

    async def mark(self) -> dict[str, Any]:
        return await self.ask("GET", f"{APP}/completeness")

    async def audit_now(self) -> dict[str, Any]:
        """Return the sum of an audit of a day around now."""
        counts, ended, token = (
            dict.fromkeys(("expected", "waiting", "gaps", "doubles"), 0),
            Counter[str](),
            "",
        )
        now_s = self.clock.now_ms() // 1_000
        query = f"{APP}/audit-fires?start_time={now_s - 43_200}&end_time={now_s + 43_200}"
        while True:
            part = await self.ask("GET", f"{query}&continuation_token={token}")
            counts = {name: count + part[name] for name, count in counts.items()}
            ended.update(part["ended"])
            token = part["continuationToken"]
            if not token:
                return counts | {"ended": dict(ended)}


@asynccontextmanager
async def serve() -> AsyncIterator[Product]:
    clock, bell = LoopClock(), Bell()
    async with run(Settings(), callbacks={"bell": bell}, clock=clock) as runtime:

        async def ready() -> None: ...

        product = Product(Client(create_app(runtime.service, ServerSettings(), ready)), bell, clock)
        configuration = {"retryPolicy": POLICY}
        app = {"appId": "shop", "partitions": 4, "active": True, "configuration": configuration}
        await product.ask("POST", "/goscheduler/apps", app)
        yield product


@pytest.mark.slow
@on_virtual_time
async def test_everything_that_is_sent_is_complete_and_audited() -> None:
    async with serve() as product:
        for n in range(30):
            await product.create(5 + n * 10)
        for n in range(3):
            await product.ask("PUT", f"{APP}/recurring/r{n}", RECURRING)
        await product.ask("DELETE", f"/goscheduler/schedules/{await product.create(60)}")
        await asyncio.sleep(1_210)
        mark = await product.mark()
        assert (mark["waits"], mark["ageMs"] <= 150_000) == ("NOTHING", True)
        found = await product.audit_now()
        assert (found["gaps"], found["doubles"], found["waiting"]) == (0, 0, 3), "the next runs wait"
        assert found["ended"]["SUCCESS"] == product.bell.rung >= 30 + 3 * 19
        assert found["ended"]["DELETED"] == 1


@on_virtual_time
async def test_what_is_tried_again_holds_the_mark_until_it_has_ended() -> None:
    async with serve() as product:
        product.bell.is_broken = True
        failing, firm = await product.create(5), await product.create(5, "firm")
        await asyncio.sleep(240)
        mark = await product.mark()
        assert (mark["waits"], mark["scheduleId"]) == ("TRIED_AGAIN", failing)
        held = mark["through"]
        assert (await product.ask("GET", f"/goscheduler/schedules/{firm}"))["schedule"]["fireTime"] > held
        found = await product.audit_now()
        assert (found["ended"], found["waiting"], found["gaps"]) == ({"SUCCESS": 1}, 1, 0)
        product.bell.is_broken = False
        await asyncio.sleep(480)
        mark = await product.mark()
        assert (mark["waits"], mark["through"] > held) == ("NOTHING", True)
        found = await product.audit_now()
        assert (found["ended"], found["waiting"], found["gaps"], found["doubles"]) == (
            {"SUCCESS": 2},
            0,
            0,
            0,
        )


@pytest.mark.slow
@on_virtual_time
async def test_what_was_given_up_and_sent_again_is_no_double() -> None:
    async with serve() as product:
        product.bell.is_broken = True
        schedule_id = await product.create(5)
        await asyncio.sleep(2_500)
        shown = (await product.ask("GET", f"/goscheduler/schedules/{schedule_id}"))["schedule"]
        assert shown["status"] == "FAILURE"
        product.bell.is_broken = False
        await product.ask("POST", f"/goscheduler/schedules/{schedule_id}/replay")
        await asyncio.sleep(240)
        found = await product.audit_now()
        assert (found["ended"], found["gaps"], found["doubles"]) == ({"SUCCESS": 1}, 0, 0)
        assert (await product.mark())["waits"] == "NOTHING"


@on_virtual_time
async def test_changes_and_triggers_are_neither_gaps_nor_doubles() -> None:
    async with serve() as product:
        for n in range(8):
            schedule_id = await product.create(300 + n)
            if n % 2:
                later = {"delaySeconds": 500 + n, "payload": "other"}
                await product.ask("PATCH", f"/goscheduler/schedules/{schedule_id}", later)
            else:
                await product.ask("POST", f"/goscheduler/schedules/{schedule_id}/trigger")
        await asyncio.sleep(400)
        found = await product.audit_now()
        assert (found["ended"], found["waiting"], found["gaps"], found["doubles"]) == (
            {"SUCCESS": 4},
            4,
            0,
            0,
        )
        await asyncio.sleep(600)
        found = await product.audit_now()
        assert (found["ended"], found["waiting"], found["gaps"], found["doubles"]) == (
            {"SUCCESS": 8},
            0,
            0,
            0,
        )
        assert (await product.mark())["waits"] == "NOTHING"


@pytest.mark.slow
@on_virtual_time
async def test_the_mark_never_says_more_than_is_so() -> None:
    """Whatever fails, and is tried again, cancelled or changed: what is due up to the mark has ended."""
    rng = Random(5)
    async with serve() as product:
        asked: list[str] = []
        marks: set[str] = set()
        # How long a retry waits is left to chance, and a late one holds the mark: it may take more rounds.
        while len(asked) < 60 or len(marks) <= 5:
            assert len(asked) < 300, "it goes on meanwhile"
            product.bell.is_broken = rng.random() < 0.5
            schedule_id = await product.create(rng.randrange(1, 200))
            asked.append(schedule_id)
            if rng.random() < 0.2:
                changed = {"delaySeconds": rng.randrange(100, 300)}
                await product.ask("PATCH", f"/goscheduler/schedules/{schedule_id}", changed)
            if rng.random() < 0.1:
                await product.ask("DELETE", f"/goscheduler/schedules/{schedule_id}")
            await asyncio.sleep(rng.randrange(5, 40))
            mark = await product.mark()
            marks.add(mark["through"])
            for each in asked:
                shown = (await product.ask("GET", f"/goscheduler/schedules/{each}"))["schedule"]
                if shown["fireTime"] <= mark["through"]:
                    assert shown["status"] != "SCHEDULED", (shown, mark)
