"""Runs whose receiver answers 202 and says later that it is done, in the product on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.ingest.rig import Client
from tests.unit.ingest.rig import Reply as HttpReply

from ringtime import CallbackType, Delivery, Reply, Settings, Violation, runtime
from ringtime.runtime import Runtime
from ringtime_ingest.http import create_app
from ringtime_shared.clock import Clock
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.recurring.completing import Completions, completion_ms_of, ticket_of
from ringtime_shared.settings import (
    CompletionSettings,
    DispatchSettings,
    ServerSettings,
)
from ringtime_shared.stores.memory import MemoryStore

RECURRING = "/goscheduler/apps/shop/recurring/report"
COMPLETION = CompletionSettings(base_url="https://ringtime.example", secret="x" * 32)


@dataclass
class Workers(CallbackType):
    """In place of `http`: answers with what is next to answer, 202 if nothing is said."""

    name = "http"
    clock: LoopClock
    answers: list[int] = field(default_factory=list)
    sent: list[Delivery] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        self.sent.append(delivery)
        if (most_ms := completion_ms_of(delivery.schedule)) is not None:
            completions = Completions.of(COMPLETION)
            assert completions is not None
            ticket = ticket_of(delivery, now_ms=self.clock.now_ms(), most_ms=most_ms + delivery.timeout_ms)
            self.urls.append(completions.url_of(ticket))
        code = self.answers.pop(0) if self.answers else 202
        return Reply(ok=code < 300, code=code)


@dataclass
class Product:
    client: Client
    workers: Workers
    running: Runtime

    async def ask(self, method: str, target: str, body: object = b"") -> Any:
        reply = await self.client.call(method, target, body)
        assert reply.status == 200, reply.body
        return reply.json["data"]

    async def put(self, **changes: object) -> Any:
        body = {
            "cronExpression": "* * * * *",
            "timeZone": "UTC",
            "payload": "1",
            "callback": {"type": "http", "details": {"url": "http://a.example/", "method": "POST"}},
            "completionTimeoutSeconds": 600,
            "overlapPolicy": "skip",
        }
        return await self.ask("PUT", RECURRING, body | changes)

    async def complete(self, which: int = 0, body: object = b"") -> HttpReply:
        return await self.client.call("POST", urlsplit(self.workers.urls[which]).path, body)

    async def runs(self) -> list[Any]:
        """Return the runs that are due, oldest first."""
        page = await self.ask("GET", f"{RECURRING}/runs?when=past&size=100")
        return list(page["schedules"][::-1])


@asynccontextmanager
async def serve(workers: Workers | None = None) -> AsyncIterator[Product]:
    clock = LoopClock()
    workers = workers or Workers(clock)
    workers.clock = clock
    settings = Settings(
        completion=COMPLETION,
        dispatch=DispatchSettings(drain_s=1),
    )
    async with runtime.run(settings, callbacks={"http": workers}, clock=clock) as running:

        async def ready() -> None: ...

        product = Product(Client(create_app(running.service, ServerSettings(), ready)), workers, running)
        if not workers.sent:
            await product.ask("POST", "/goscheduler/apps", {"appId": "shop", "partitions": 4, "active": True})
        yield product


@on_virtual_time
async def test_a_run_runs_from_the_answer_until_it_is_said_to_be_done() -> None:
    async with serve() as product:
        shown = await product.put()
        assert shown["completionTimeoutSeconds"] == 600
        await asyncio.sleep(2 * 60 + 30)  # two were due
        first, second = await product.runs()
        assert (first["status"], second["status"]) == ("SCHEDULED", "MISS")
        assert first["completesBy"] > first["acceptedAt"] >= first["firedAt"]
        assert "nextAttemptAt" not in first
        assert second["errorMessage"] == "came due while an earlier run had not ended"
        said = [await product.complete() for _ in range(2)]  # to say it twice is no error
        assert [reply.status for reply in said] == [200, 200]
        assert (said[0].json["data"]["scheduleId"], said[0].json["data"]["status"]) == (
            first["scheduleId"],
            "SUCCESS",
        )
        await asyncio.sleep(60)
        first, _, third = await product.runs()
        assert (first["status"], first["attempts"], first["httpCode"]) == ("SUCCESS", 1, 202)
        assert first["completedAt"] == said[0].json["data"]["completedAt"] > first["acceptedAt"]
        assert third["status"] == "SCHEDULED"
        assert "acceptedAt" in third
        assert len(product.workers.sent) == 2
        again = await product.complete()
        assert again.json["data"]["completedAt"] == first["completedAt"]
        other = await product.complete(body={"status": "failure"})
        assert (other.status, other.json["status"]["error"]) == (409, "ALREADY_DONE")


@pytest.mark.slow
@on_virtual_time
async def test_a_run_that_failed_or_is_not_done_in_time_is_a_dead_letter() -> None:
    async with serve() as product:
        await product.put(completionTimeoutSeconds=70, maxRuns=3)
        await asyncio.sleep(61)
        failed = await product.complete(body={"status": "failure", "errorMessage": "disk full"})
        assert failed.json["data"]["status"] == "FAILURE"
        await asyncio.sleep(75)  # the second is worked on, and its time is not over
        assert [run["status"] for run in await product.runs()] == ["FAILURE", "SCHEDULED"]
        await asyncio.sleep(75)
        first, second, third = await product.runs()
        assert (first["errorMessage"], second["errorMessage"]) == (
            "disk full",
            "accepted, and not completed in time",
        )
        assert second["completedAt"] > second["acceptedAt"]
        assert third["status"] == "MISS"
        letters = await product.ask("GET", "/goscheduler/apps/shop/dead-letters")
        assert {each["scheduleId"] for each in letters["deadLetters"]} == {
            first["scheduleId"],
            second["scheduleId"],
        }
        late = await product.complete(1)
        assert (late.status, late.json["status"]["error"]) == (409, "ALREADY_DONE")
        await asyncio.sleep(3_600)
        assert (await product.complete(1)).status == 404  # it is no use any more
        replayed = await product.ask("POST", f"/goscheduler/schedules/{first['scheduleId']}/replay")
        await asyncio.sleep(5)
        assert (await product.complete(2)).status == 200
        await asyncio.sleep(3)
        ended = await product.ask("GET", f"/goscheduler/schedules/{replayed['scheduleId']}")
        assert ended["schedule"]["status"] == "SUCCESS"
        product.workers.answers = [200]
        await product.ask("POST", f"/goscheduler/schedules/{second['scheduleId']}/replay")
        await asyncio.sleep(5)
        letters = await product.ask("GET", "/goscheduler/apps/shop/dead-letters?replayed=false")
        assert letters["deadLetters"] == []  # the letter of either was found, and noted


@on_virtual_time
async def test_what_is_said_before_the_answer_or_instead_of_one_counts() -> None:
    async with serve() as product:
        product.workers.answers = [500]
        await product.put(maxRuns=1, retryPolicy={"firstDelayMs": 60_000, "factor": 1})
        await asyncio.sleep(60.2)
        assert (await product.complete()).status == 200
        await asyncio.sleep(5 * 60)
        (only,) = await product.runs()
        assert (only["status"], only["attempts"]) == ("SUCCESS", 1)
        assert len(product.workers.sent) <= 2


@on_virtual_time
async def test_an_answer_of_200_is_the_end_and_so_is_one_of_202_that_nobody_asked_for() -> None:
    async with serve() as product:
        product.workers.answers = [200]
        await product.put(maxRuns=1)
        await asyncio.sleep(62)
        assert [run["status"] for run in await product.runs()] == ["SUCCESS"]
        await product.put(completionTimeoutSeconds=None, maxRuns=None)
        await asyncio.sleep(62)
        last = (await product.runs())[-1]
        assert (last["status"], "acceptedAt" in last) == ("SUCCESS", False)


@on_virtual_time
async def test_one_that_waits_runs_when_the_other_is_done() -> None:
    async with serve() as product:
        await product.put(overlapPolicy="buffer_one")
        await asyncio.sleep(3 * 60 + 30)
        assert [run["status"] for run in await product.runs()] == ["SCHEDULED", "SCHEDULED", "MISS"]
        await product.complete()
        await asyncio.sleep(61)
        assert len(product.workers.sent) == 2
        assert (await product.runs())[1]["acceptedAt"]


@pytest.mark.parametrize("is_planned", [True, False])
@on_virtual_time
async def test_of_a_run_that_was_cancelled_meanwhile_nobody_is_told_that_it_is_done(is_planned: bool) -> None:
    async with serve() as product:
        await product.put(maxRuns=1, startTime=None if is_planned else "2030-01-01T00:00:00Z")
        if not is_planned:
            await product.ask("POST", f"{RECURRING}/trigger")
        await asyncio.sleep(65 if is_planned else 5)
        (only,) = await product.runs()
        assert only["acceptedAt"]
        reply = await product.client.call("DELETE", f"/goscheduler/schedules/{only['scheduleId']}")
        assert (reply.status, reply.json["data"]["cancel"]) == (202, "best_effort")
        assert reply.json["data"]["schedule"]["acceptedAt"] == only["acceptedAt"]
        for _ in range(2):
            said = await product.complete()
            assert (said.status, said.json["status"]["error"]) == (409, "ALREADY_DONE")
            await asyncio.sleep(5)
        assert [run["status"] for run in await product.runs()] == ["DELETED"]
        await asyncio.sleep(700)
        assert [run["status"] for run in await product.runs()] == ["DELETED"]


@pytest.mark.parametrize("is_planned", [True, False])
@on_virtual_time
async def test_a_run_that_is_said_to_be_done_and_cancelled_in_the_same_second_is_done(
    is_planned: bool,
) -> None:
    """Whoever said so was answered 200; the cancel, 202."""
    async with serve() as product:
        await product.put(maxRuns=1, startTime=None if is_planned else "2030-01-01T00:00:00Z")
        if not is_planned:
            await product.ask("POST", f"{RECURRING}/trigger")
        await asyncio.sleep(65 if is_planned else 5)
        (only,) = await product.runs()
        assert (await product.complete()).status == 200
        reply = await product.client.call("DELETE", f"/goscheduler/schedules/{only['scheduleId']}")
        assert (reply.status, reply.json["data"]["cancel"]) == (202, "best_effort")
        assert (await product.complete()).status == 200
        await asyncio.sleep(5)
        assert [run["status"] for run in await product.runs()] == ["SUCCESS"]
        await asyncio.sleep(700)
        assert [run["status"] for run in await product.runs()] == ["SUCCESS"]


@pytest.mark.parametrize("policy", ["skip", "buffer_one"])
@on_virtual_time
async def test_one_that_was_cancelled_is_in_nobodys_way(policy: str) -> None:
    async with serve() as product:
        await product.put(overlapPolicy=policy, maxRuns=3)
        await asyncio.sleep(2 * 60 + 30)
        first = (await product.runs())[0]
        reply = await product.client.call("DELETE", f"/goscheduler/schedules/{first['scheduleId']}")
        assert reply.status == 202
        await asyncio.sleep(60)
        assert len(product.workers.sent) == 2


@on_virtual_time
async def test_who_says_it_a_hundred_times_has_two_rows_filed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as product:
        await product.put(cronExpression="0 0 1 1 *")
        await asyncio.sleep(50)
        await product.ask("POST", f"{RECURRING}/trigger")
        await asyncio.sleep(20)
        await product.running.dispatcher.kill()  # so that it is not recorded
        filed, put_rows = set[Place](), product.running.store.put_rows

        async def count(rows: Sequence[Row]) -> None:
            filed.update(row.place for row in rows)
            await put_rows(rows)

        monkeypatch.setattr(product.running.store, "put_rows", count)
        for _ in range(100):
            assert (await product.complete()).status == 200
            await asyncio.sleep(0.01)
        assert len(filed) == 2  # its minute is sealed, so it was filed again


@on_virtual_time
async def test_a_token_is_good_for_its_run_alone() -> None:
    async with serve() as product:
        await product.put()
        await asyncio.sleep(62)
        url = product.workers.urls[0]
        token = url.rpartition("/")[2]
        forged = Completions("https://ringtime.example", "y" * 32)
        ticket = ticket_of(product.workers.sent[0], now_ms=product.workers.clock.now_ms(), most_ms=600_000)
        for other in (
            "x",
            token[:-1],
            token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
            forged.sign(ticket),
            "A" * 300,
        ):
            reply = await product.client.call("POST", f"/goscheduler/completions/{other}")
            assert (reply.status, reply.json["status"]["error"]) == (404, "NOT_FOUND"), other
        refused = await product.complete(body={"status": "maybe"})
        assert refused.status == 400
        assert (await product.complete(body={"errorMessage": "x"})).status == 400
        assert (await product.complete(body={"status": "failure", "errorMessage": "x" * 201})).status == 400
        assert (await product.runs())[0]["status"] == "SCHEDULED"


@on_virtual_time
async def test_it_is_known_after_a_crash_that_a_run_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(LoopClock())
    store = MemoryStore(workers.clock.now_ms)

    async def open_again(settings: Settings, clock: Clock) -> MemoryStore:
        return store

    monkeypatch.setattr(runtime, "open_store", open_again)
    async with serve(workers) as product:
        await product.put()
        await asyncio.sleep(62)
        await product.running.dispatcher.kill()
    async with serve(workers) as product:
        await asyncio.sleep(60)
        assert [run["status"] for run in await product.runs()] == ["SCHEDULED", "MISS"]
        assert (await product.complete()).status == 200
        await product.running.dispatcher.kill()
    async with serve(workers) as product:
        await asyncio.sleep(60)
        first, _, third = await product.runs()
        assert (first["status"], third["status"]) == ("SUCCESS", "SCHEDULED")
        assert first["acceptedAt"] < first["completedAt"]
        assert len(workers.sent) == 2


async def test_it_is_refused_where_it_cannot_work() -> None:
    async with runtime.run(Settings(), callbacks={}) as running:

        async def ready() -> None: ...

        product = Product(
            Client(create_app(running.service, ServerSettings(), ready)), Workers(LoopClock()), running
        )
        await product.ask("POST", "/goscheduler/apps", {"appId": "shop", "partitions": 4, "active": True})
        body = {
            "cronExpression": "* * * * *",
            "timeZone": "UTC",
            "payload": "1",
            "callback": {"type": "http", "details": {"url": "http://a.example/", "method": "POST"}},
            "completionTimeoutSeconds": 5,
        }
        reply = await product.client.call("PUT", RECURRING, body)
        assert reply.status == 400
        ((field, rule),) = [tuple(each.values()) for each in reply.json["status"]["errors"]]
        assert field == "completionTimeoutSeconds"
        assert "completion.base_url" in rule
