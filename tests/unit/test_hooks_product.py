"""Hooks from the HTTP request to their callback, in the one-process product on virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.ingest.rig import Client

from ringtime import CallbackType, Delivery, Reply, Settings, Violation
from ringtime.runtime import run
from ringtime_ingest.http import create_app
from ringtime_shared.settings import ServerSettings

SCHEDULES = "/goscheduler/schedules"
BELL = {"type": "bell", "details": {}}


def ear(name: str = "a") -> dict[str, object]:
    return {"type": "ear", "details": {"name": name, "headers": {"api-key": "k"}}}


@dataclass
class Bell(CallbackType):
    """Fails for a payload that says so."""

    name = "bell"

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        return Reply(ok="fail" not in delivery.schedule.payload, code=418, is_final=True)


@dataclass
class Ear(CallbackType):
    """Hears hooks; the first time of one that is said to be deaf it does not."""

    name = "ear"
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    is_deaf: bool = False

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return [] if details.get("name") else [Violation("callback.details.name", "required")]

    async def screen(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return [Violation("callback.details.name", "may not go there")] if details["name"] == "no" else []

    async def invoke(self, delivery: Delivery) -> Reply:
        told = delivery.schedule.hook_of
        assert told is not None
        body = json.loads(delivery.schedule.body)
        assert (body["hook"], body["key"]) == (told.event, told.key)
        assert body["schedule"]["scheduleId"] == str(told.schedule_id)
        assert body["schedule"].keys().isdisjoint({"callback", "hooks"})
        if self.is_deaf:
            self.is_deaf = False
            return Reply(ok=False, code=500)
        self.heard.append((str(delivery.details["name"]), body))
        return Reply(ok=True)

    def told(self) -> list[tuple[str, str, str]]:
        """Return who was told what, with which status."""
        return [(name, body["hook"], body["schedule"]["status"]) for name, body in self.heard]


@dataclass
class Product:
    client: Client
    ear: Ear
    clock: LoopClock

    async def ask(self, method: str, target: str, body: object = b"", status: int = 200) -> dict[str, Any]:
        reply = await self.client.call(method, target, body)
        assert reply.status == status, reply.body
        answer: dict[str, Any] = reply.json
        return answer["data"]  # type: ignore[no-any-return]

    async def create(self, payload: str = "ok", delay_s: float = 5, **more: object) -> dict[str, Any]:
        body = {"appId": "shop", "payload": payload, "delaySeconds": delay_s, "callback": BELL, **more}
        shown: dict[str, Any] = (await self.ask("POST", SCHEDULES, body))["schedule"]
        return shown


@asynccontextmanager
async def serve(**configuration: object) -> AsyncIterator[Product]:
    clock, hears = LoopClock(), Ear()
    async with run(Settings(), callbacks={"bell": Bell(), "ear": hears}, clock=clock) as runtime:

        async def ready() -> None: ...

        product = Product(Client(create_app(runtime.service, ServerSettings(), ready)), hears, clock)
        app = {"appId": "shop", "partitions": 4, "active": True, "configuration": configuration}
        await product.ask("POST", "/goscheduler/apps", app)
        yield product


@on_virtual_time
async def test_how_a_schedule_ended_is_told_once_and_promptly() -> None:
    async with serve() as product:
        hooks = {"onSuccess": ear("won"), "onFailure": ear("lost")}
        won = await product.create(hooks=hooks)
        lost = await product.create("fail", hooks=hooks | {"includePayload": True})
        await product.create(hooks={"onFailure": ear("lost")})
        await product.create()
        assert won["hooks"]["onSuccess"]["details"] == {"name": "won", "headers": {"api-key": "***"}}
        await asyncio.sleep(7)
        assert sorted(product.ear.told()) == [
            ("lost", "onFailure", "FAILURE"),
            ("won", "onSuccess", "SUCCESS"),
        ]
        by_name = dict(product.ear.heard)
        shown = (await product.ask("GET", f"{SCHEDULES}/{won['scheduleId']}"))["schedule"]
        told = by_name["won"]["schedule"]
        assert told == {key: shown[key] for key in shown if key not in ("callback", "hooks", "payload")}
        assert by_name["lost"]["schedule"]["payload"] == "fail"
        assert (by_name["lost"]["schedule"]["httpCode"], by_name["lost"]["schedule"]["attempts"]) == (418, 1)
        await asyncio.sleep(600)
        assert len(product.ear.heard) == 2
        listed = await product.ask("GET", "/goscheduler/apps/shop/schedules?size=1000")
        assert len(listed["schedules"]) == 4  # hooks are not among them
        assert lost["scheduleId"] in {each["scheduleId"] for each in listed["schedules"]}


@on_virtual_time
async def test_a_hook_is_tried_again_as_any_callback() -> None:
    async with serve() as product:
        product.ear.is_deaf = True
        await product.create(hooks={"onSuccess": ear()})
        await asyncio.sleep(120)
        assert product.ear.told() == [("a", "onSuccess", "SUCCESS")]


@on_virtual_time
async def test_an_apps_hooks_are_those_of_schedules_without_their_own() -> None:
    async with serve(
        hooks={"onSuccess": ear("app"), "onFailure": ear("app")}, maxLatenessSeconds=60
    ) as product:
        shown = await product.ask("GET", "/goscheduler/apps/shop/configuration")
        assert shown["configuration"]["hooks"]["onSuccess"]["details"]["headers"] == {"api-key": "***"}
        await product.create()
        await product.create(hooks={"onSuccess": ear("own")})
        await product.create("fail", hooks={"onSuccess": ear("own")})
        await product.create(hooks={})
        named = "/goscheduler/apps/shop/schedules/mine"
        body = {"payload": "", "delaySeconds": 5, "callback": BELL, "hooks": {"onSuccess": ear("named")}}
        await product.ask("PUT", named, body)
        later = await product.create(delay_s=60, hooks={"onFailure": ear("before")})
        patched = await product.ask(
            "PATCH", f"{SCHEDULES}/{later['scheduleId']}", {"hooks": {"onSuccess": ear("patched")}}
        )
        assert list(patched["schedule"]["hooks"]) == ["onSuccess"]
        await asyncio.sleep(90)
        assert sorted(name for name, _ in product.ear.heard) == ["app", "named", "own", "patched"]


@pytest.mark.slow
@on_virtual_time
async def test_what_is_missed_is_told_of_and_runs_passed_over_together_once() -> None:
    async with serve(maxLatenessSeconds=600) as product:
        hooks = {"onMissed": ear("missed"), "onSuccess": ear("sent")}
        await product.create(hooks=hooks, delay_s=90)
        put = {"cronExpression": "* * * * *", "timeZone": "UTC", "payload": "1", "callback": BELL}
        put |= {"misfirePolicy": "once", "hooks": hooks}
        recurring = await product.ask("PUT", "/goscheduler/apps/shop/recurring/report", put)
        assert recurring["hooks"]["onMissed"]["details"]["headers"] == {"api-key": "***"}
        await product.ask("PATCH", "/goscheduler/apps/shop/recurring/report", {"overlapPolicy": "skip"})
        await asyncio.sleep(65)
        assert [name for name, _ in product.ear.heard] == ["sent"]
        await product.ask("POST", "/goscheduler/apps/shop/deactivate")
        await asyncio.sleep(20 * 60)
        await product.ask("POST", "/goscheduler/apps/shop/activate")
        product.ear.heard.clear()
        await asyncio.sleep(50)
        missed = [body for name, body in product.ear.heard if name == "missed"]
        alone = [body for body in missed if "parentScheduleId" not in body["schedule"]]
        (together,) = [body for body in missed if "parentScheduleId" in body["schedule"]]
        assert [body["schedule"]["errorMessage"] for body in alone] == ["came due too late"]
        assert together["othersMissed"] > 15
        assert "sent" in {name for name, _ in product.ear.heard}


@on_virtual_time
async def test_hooks_keep_the_rules_of_callbacks() -> None:
    async with serve() as product:
        for hooks, field_name in (
            ({"onSuccess": {"type": "ear", "details": {}}}, "hooks.onSuccess.details.name"),
            ({"onMissed": {"type": "none", "details": {}}}, "hooks.onMissed.type"),
            ({"onFailure": ear("no")}, "hooks.onFailure.details.name"),
            ({"onFailure": {"type": "http", "details": {"url": "x"}}}, "hooks.onFailure.details.url"),
            ({"onFailure": 7}, "hooks.onFailure"),
            ({"onfail": ear()}, "hooks.onfail"),
        ):
            body = {"appId": "shop", "payload": "", "delaySeconds": 9, "callback": BELL, "hooks": hooks}
            put = {
                "cronExpression": "@daily",
                "timeZone": "UTC",
                "payload": "",
                "callback": BELL,
                "hooks": hooks,
            }
            batch = await product.ask("POST", f"{SCHEDULES}/batch", {"schedules": [body]}, 207)
            refusals = [batch["results"][0]["status"]]
            for method, target, asked in (
                ("POST", SCHEDULES, body),
                ("PUT", "/goscheduler/apps/shop/recurring/x", put),
                ("PUT", "/goscheduler/apps/shop/configuration", {"hooks": hooks}),
            ):
                reply = await product.client.call(method, target, asked)
                assert reply.status in (400, 422), reply.body
                refusals.append(reply.json["status"])
            for refusal in refusals:
                assert field_name in {each["field"] for each in refusal["errors"]}, refusal
