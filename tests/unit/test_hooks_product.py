"""Hooks from the HTTP request to their callback, in the one-process product on virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

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
        return answer["data"] if status == 200 else answer["status"]  # type: ignore[no-any-return]

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
