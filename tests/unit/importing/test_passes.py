"""Passes over goscheduler's rows, into a service on a store in memory: what is counted, what asked again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast
from uuid import UUID, uuid1

import orjson
import pytest
from tests.unit.ingest.rig import NOW_MS, Rig, make_rig

from ringtime.importing.account import Account
from ringtime.importing.carrying import Terms
from ringtime.importing.passes import SENT_BYTES, Pass, in_requests, run
from ringtime.importing.rows import OldApp, OldCron, OldSchedule
from ringtime.importing.source import Source
from ringtime.importing.target import Json, Refused, Target
from ringtime_shared.errors import StoreUnavailable

DETAILS = '{"url": "http://127.0.0.1:1/", "method": "POST", "headers": null}'


class Rows:
    """What a goscheduler has, a page of two at a time."""

    def __init__(
        self, schedules: Sequence[OldSchedule], crons: Sequence[OldCron] = (), apps: Sequence[str] = ("shop",)
    ) -> None:
        self.rows, self.old_crons, self.app_ids = schedules, crons, apps
        self.ended: dict[UUID, str] = {}

    async def apps(self) -> list[OldApp]:
        return [OldApp(app_id, 3, True, None) for app_id in self.app_ids]

    async def crons(self) -> AsyncGenerator[list[OldCron], None]:
        for n in range(0, len(self.old_crons), 2):
            yield list(self.old_crons[n : n + 2])

    async def schedules(self) -> AsyncGenerator[list[OldSchedule], None]:
        for n in range(0, len(self.rows), 2):
            yield list(self.rows[n : n + 2])

    async def outcomes(self, rows: Sequence[OldSchedule]) -> list[str | None]:
        return [self.ended.get(row.schedule_id) for row in rows]


class RigTarget(Target):
    """The API of a service in this process."""

    def __init__(self, rig: Rig) -> None:
        super().__init__("http://127.0.0.1:1")
        self._rig = rig

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        reply = await self._rig.client.call(method, path, b"" if body is None else body)
        if reply.status >= 300:
            raise Refused(str(reply.json["status"]["statusMessage"]), reply.status)
        return cast(Json, reply.json["data"])


def row(at_ms: int, app_id: str = "shop", **given: Any) -> OldSchedule:
    old = OldSchedule(app_id, 0, uuid1(), "http", DETAILS, "{}", at_ms, parent=None)
    return old._replace(**given)


def cron(expression: str = "* * * * *", status: str = "SCHEDULED") -> OldCron:
    return OldCron(uuid1(), "shop", "http", DETAILS, "{}", expression, status)


async def carry(rig: Rig, rows: Rows, *, is_plan: bool = False, from_ms: int = NOW_MS) -> Account:
    terms = Terms(from_ms=from_ms, zone="UTC", now_ms=NOW_MS)
    target = RigTarget(rig)
    try:
        source = cast(Source, rows)
        return await run(
            Pass(source=source, target=target, terms=terms, is_plan=is_plan, tell=lambda what, count: None)
        )
    finally:
        await target.close()


async def test_all_that_is_read_is_counted_once() -> None:
    rig, ended = make_rig(), row(NOW_MS - 1_000)
    rows = Rows(
        [
            *(row(NOW_MS + n * 1_000) for n in range(1, 4)),
            *(row(NOW_MS - 60_000), ended, row(NOW_MS - 2_000)),
            row(NOW_MS + 1_000, parent=uuid1()),
            row(NOW_MS + 1_000, callback_type="airbus"),
            row(NOW_MS + 1_000, "nobodys"),
            row(NOW_MS + 1_000, "maxConfig"),
        ],
        [cron(), cron("0 0 1 * MON"), cron(status="DELETED")],
        ["shop", "maxConfig", "a.b"],
    )
    rows.ended[ended.schedule_id] = "SUCCESS"
    plan = (await carry(rig, rows, is_plan=True, from_ms=NOW_MS - 30_000)).total
    assert "shop" not in rig.apps
    account = await carry(rig, rows, from_ms=NOW_MS - 30_000)
    total = account.total
    assert plan == total
    assert (total.schedules, total.crons, total.created, total.there) == (8, 3, 5, 0)
    assert (total.past, total.ended, total.runs, total.deleted, total.failed) == (1, 1, 1, 1, 0)
    assert total.schedules + total.crons == total.created + total.past + total.ended + total.deleted + (
        total.refused
    )
    assert {(app_id, kind) for app_id, kind, _ in account.reasons} == {
        *(("shop", "schedule"), ("shop", "cron"), ("nobodys", "schedule"), ("a.b", "app"))
    }
    assert (account.registered, account.kept) == (["shop"], [])
    assert len(account.warnings) == 1
    again = await carry(rig, rows, from_ms=NOW_MS - 30_000)
    assert (again.total.created, again.total.there, again.kept) == (0, 5, ["shop"])


async def test_what_the_store_could_not_take_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtime.importing.passes._WAIT_S", 0)
    rig = make_rig()
    rig.store.fail("put_rows", StoreUnavailable("no"), StoreUnavailable("no"))
    account = await carry(rig, Rows([row(NOW_MS + 1_000)]))
    assert (account.total.created, account.total.failed) == (1, 0)
    rig.store.fail("put_rows", *(StoreUnavailable("no") for _ in range(20)))
    account = await carry(rig, Rows([row(NOW_MS + 1_000)]))
    assert (account.total.created, account.total.failed) == (0, 1)
    rig.store.heal("put_rows")


async def test_runs_that_goscheduler_left_before_the_cron_begins_here_are_carried() -> None:
    rig, running, gone = make_rig(), cron(), cron()
    from_ms = NOW_MS + 120_000
    both = [running, gone]
    made = [row(from_ms + n * 60_000, parent=each.schedule_id) for each in both for n in range(-3, 3)]
    assert (await carry(rig, Rows(made, both), from_ms=from_ms)).total.created == 2
    sent, unsent, soon, *later = made[:6]
    rows = Rows([*made, row(NOW_MS, parent=uuid1())], [running, gone._replace(status="DELETED")])
    rows.ended[sent.schedule_id] = "SUCCESS"
    account = await carry(rig, rows, from_ms=from_ms - 180_000)
    total = account.total
    assert (total.schedules, total.created, total.ended, total.there) == (3, 2, 1, 1)
    assert total.runs == len(rows.rows) - 3
    for old in (unsent, soon):
        shown = await found(rig, old.schedule_id)
        assert shown["scheduleTime"] == (old.fire_ms or 0) // 1_000
    again = await carry(rig, rows, from_ms=from_ms - 180_000)
    assert (again.total.created, again.total.there) == (0, 3)
    assert {each.fire_ms for each in later} == {from_ms, from_ms + 60_000, from_ms + 120_000}


async def found(rig: Rig, schedule_id: UUID) -> Any:
    reply = await rig.client.call("GET", f"/goscheduler/schedules/{schedule_id}")
    assert reply.status == 200, reply.body
    return reply.json["data"]["schedule"]


async def test_a_cron_that_is_deleted_there_ends_here() -> None:
    rig, running = make_rig(), cron()
    await carry(rig, Rows([], [running]))
    account = await carry(rig, Rows([], [running._replace(status="DELETED"), cron(status="DELETED")]))
    assert account.cancelled == {"shop": 1}
    reply = await rig.client.call("GET", f"/goscheduler/schedules/{running.schedule_id}")
    assert reply.json["data"]["schedule"]["status"] == "DELETED"


def test_requests_have_a_bound_in_items_and_in_bytes() -> None:
    small: list[Json] = [{"n": n} for n in range(7)]
    assert [len(each) for each in in_requests(small, 3)] == [3, 3, 1]
    large: list[Json] = [{"payload": "x" * (SENT_BYTES // 2)} for _ in range(3)]
    assert [len(each) for each in in_requests([*large, {"payload": "x" * 2 * SENT_BYTES}], 500)] == [1] * 4
    assert not list(in_requests([], 5))


def test_reasons_have_a_bound() -> None:
    account = Account()
    for n in range(1_000):
        account.refuse("shop", "schedule", f"reason {n}", str(n))
    assert len(account.reasons) == 501
    assert sum(reason.count for reason in account.reasons.values()) == 1_000
    assert orjson.loads(orjson.dumps(account.to_json()))["total"]["refused"] == 0
