"""Lists of an app's schedules: every one once, in order, at a cost that follows what is listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from tests.contract.builders import (
    START_MS,
    make_app,
    make_definition,
    make_move,
    make_outcome,
    make_row,
    make_run,
    make_update,
)
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.spy_store import spin

from ringtime_ingest.service import NewApp, NewSchedule, listing
from ringtime_ingest.service.listing import ListQuery, SchedulePage
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_shared.errors import InvalidRequest, NotFound, RateLimited, StoreUnavailable
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.recurring import Origin
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.schedules.row_filter import RowFilter
from ringtime_shared.settings import AppLimits

_ASKED = ("status", "labels", "name_prefix", "host", "late_by_ms")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Rig:
    def __init__(self, rig: ServiceRig, app: App) -> None:
        self.app, self.store, self.real, self.clock = app, rig.store, rig.store.real, rig.clock
        self.service = rig.service

    async def put(self, *rows: Row) -> None:
        await self.real.put_rows(rows)

    async def fetch(self, **asked: Any) -> SchedulePage:
        given = {"start_ms": START_MS, "end_ms": START_MS + DAY_MS, "size": 1_000} | asked
        only = RowFilter(**{key: given.pop(key) for key in _ASKED if key in given})
        return await self.service.listing.fetch(ListQuery(app_id=self.app.app_id, only=only, **given))

    async def pages(self, **asked: Any) -> AsyncIterator[SchedulePage]:
        page = await self.fetch(**asked)
        yield page
        while page.token:
            page = await self.fetch(**asked, token=page.token)
            yield page

    async def all(self, **asked: Any) -> list[Row]:
        return [row async for page in self.pages(**asked) for row in page.rows]

    def rows(self, count: int, within_ms: int, *, partitions: int = 3, seed: int = 0) -> list[Row]:
        rng = Random(seed)
        return [
            make_row(self.app, START_MS + rng.randrange(within_ms), rng.randrange(partitions))
            for _ in range(count)
        ]


@pytest.fixture
async def rig() -> Rig:
    rig = await make_service_rig()
    return Rig(rig, await rig.register())


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.place.slot_ms, row.schedule.schedule_id))


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
@pytest.mark.parametrize("within_ms", [1, 3 * MINUTE_MS, 9 * HOUR_MS])
@pytest.mark.parametrize("partitions", [1, 3])
async def test_every_schedule_is_listed_once_and_in_order(
    rig: Rig, size: int, within_ms: int, partitions: int
) -> None:
    rows = rig.rows(300, within_ms, partitions=partitions)
    await rig.put(*rows)
    pages = [page async for page in rig.pages(size=size)]
    assert [row for page in pages for row in page.rows] == in_order(rows)
    assert all(len(page.rows) == size for page in pages[:-1])
    assert pages[-1].rows
    for page, following in pairwise(pages):
        assert page.rows[-1].place.slot_ms <= page.next_ms <= following.rows[0].place.slot_ms


async def test_a_crowded_minute_beside_a_quiet_partition_and_long_pauses(rig: Rig) -> None:
    rows = rig.rows(900, MINUTE_MS, partitions=1)
    rows += [make_row(rig.app, START_MS + n * HOUR_MS, 2) for n in range(20)]
    await rig.put(*rows)
    for size in (50, 333):
        assert await rig.all(size=size) == in_order(rows)


async def test_creates_meanwhile_neither_repeat_nor_hide_what_was_there(rig: Rig) -> None:
    rows = rig.rows(200, 2 * HOUR_MS)
    await rig.put(*rows)
    seen: list[Row] = []
    async for page in rig.pages(size=20):
        seen += page.rows
        await rig.put(*rig.rows(30, 2 * HOUR_MS, seed=len(seen)))
    keys = [(row.place.slot_ms, row.schedule.schedule_id) for row in seen]
    assert keys == sorted(set(keys))
    assert set(keys) >= {(row.place.slot_ms, row.schedule.schedule_id) for row in rows}


async def test_what_has_ended_is_listed_as_it_ended_and_a_retry_is_not_listed_again(rig: Rig) -> None:
    done, failed, cancelled, retried, waiting = rows = rig.rows(5, MINUTE_MS)
    await rig.put(*rows)
    await rig.real.put_updates([make_update(done, make_outcome())])
    await rig.real.put_updates([make_update(failed, make_outcome(status=Status.FAILURE, code=500))])
    await rig.real.put_cancel(cancelled.place, cancelled.schedule.schedule_id, START_MS)
    again = make_move(retried, retried.place.slot_ms + 2 * MINUTE_MS)
    await rig.put(again)
    await rig.real.put_updates([make_update(retried, moved_to=again.place)])
    by_id = {row.schedule.schedule_id: row.status for row in await rig.all()}
    assert by_id == {
        done.schedule.schedule_id: Status.SUCCESS,
        failed.schedule.schedule_id: Status.FAILURE,
        cancelled.schedule.schedule_id: Status.DELETED,
        retried.schedule.schedule_id: Status.SCHEDULED,
        waiting.schedule.schedule_id: Status.SCHEDULED,
    }
    for status, count in ((Status.SUCCESS, 1), (Status.SCHEDULED, 2), (Status.MISS, 0)):
        assert [row.status for row in await rig.all(status=status)] == [status] * count


async def test_the_start_is_included_and_the_end_is_not(rig: Rig) -> None:
    rows = [make_row(rig.app, START_MS + n) for n in range(5)]
    await rig.put(*rows)
    page = await rig.fetch(start_ms=START_MS + 1, end_ms=START_MS + 3)
    assert list(page.rows) == rows[1:3]
    assert (await rig.fetch(start_ms=START_MS + 1, end_ms=START_MS + 1)).rows == []


@pytest.mark.parametrize(
    ("asked", "slots"),
    [
        ({}, [-HOUR_MS + 1, -1, 0]),
        ({"start_ms": START_MS}, [0, 1, HOUR_MS - 1]),
        ({"end_ms": START_MS}, [-HOUR_MS, -HOUR_MS + 1, -1]),
    ],
)
async def test_an_end_that_is_left_out_is_an_hour_away(
    rig: Rig, asked: dict[str, Any], slots: list[int]
) -> None:
    offsets = (-HOUR_MS - 1, -HOUR_MS, -HOUR_MS + 1, -1, 0, 1, HOUR_MS - 1, HOUR_MS)
    await rig.put(*(make_row(rig.app, START_MS + offset) for offset in offsets))
    assert rig.clock.now_ms() == START_MS
    page = await rig.service.listing.fetch(ListQuery(app_id=rig.app.app_id, size=100, **asked))
    assert [row.place.slot_ms - START_MS for row in page.rows] == slots


async def test_other_apps_are_not_listed_and_an_inactive_one_is(rig: Rig) -> None:
    other = await rig.real.create_app(make_app())
    row = make_row(rig.app)
    await rig.put(row, make_row(other))
    await rig.service.set_active(rig.app.app_id, False)
    assert await rig.all() == [row]


async def test_an_empty_month_takes_few_reads(rig: Rig) -> None:
    rig.store.calls.clear()
    page = await rig.fetch(end_ms=START_MS + 31 * DAY_MS)
    assert (page.rows, page.token) == ([], "")
    assert len(rig.store.names()) <= 6


@pytest.mark.parametrize(
    ("count", "within_ms"), [(1_000, MINUTE_MS), (1_000, 15 * HOUR_MS), (6_000, HOUR_MS)]
)
async def test_a_page_takes_few_reads_and_reads_little_more_than_it_shows(
    rig: Rig, count: int, within_ms: int
) -> None:
    await rig.put(*rig.rows(count, within_ms))
    read = 0
    real = rig.real.fetch_rows

    async def count_rows(queries: Any) -> Any:
        nonlocal read
        pages = await real(queries)
        read += sum(len(page.rows) for page in pages)
        return pages

    rig.real.fetch_rows = count_rows  # type: ignore[method-assign]
    rig.store.calls.clear()
    page = await rig.fetch(size=1_000)
    assert len(page.rows) == 1_000
    assert read <= 1_700
    assert len(rig.store.names()) <= 40


async def test_pages_that_begin_within_a_minute_read_little_more_than_they_show(rig: Rig) -> None:
    """Of the minute that a page begins in little is left, which says nothing about those after it."""
    await rig.put(*rig.rows(4_000, HOUR_MS))
    read, fetch_rows = 0, rig.real.fetch_rows

    async def counted(queries: Any) -> Any:
        nonlocal read
        pages = await fetch_rows(queries)
        read += sum(len(page.rows) for page in pages)
        return pages

    rig.real.fetch_rows = counted  # type: ignore[method-assign]
    assert len(await rig.all(size=250)) == 4_000
    assert 4_000 <= read < 6_500
    assert rig.store.names().count("fetch_rows") < 16 * 6


async def test_who_looks_for_few_among_many_is_given_a_token_in_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_MOST_READ", 100)
    rows = rig.rows(500, HOUR_MS)
    await rig.put(*rows)
    last = in_order(rows)[-1]
    await rig.real.put_updates([make_update(last, make_outcome())])
    pages = [page async for page in rig.pages(status=Status.SUCCESS, size=10)]
    assert 2 < len(pages) <= 6
    assert [row.schedule.schedule_id for page in pages for row in page.rows] == [last.schedule.schedule_id]


async def test_a_minute_with_more_partitions_than_are_asked_for_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_ENTRIES", 4)
    rows = [make_row(rig.app, START_MS + n, n % 30) for n in range(90)]
    rows += [make_row(rig.app, START_MS + n * MINUTE_MS, n % 3) for n in range(1, 30)]
    await rig.put(*rows)
    assert await rig.all(size=25) == in_order(rows)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"size": 0}, "size"),
        ({"size": 1_001}, "size"),
        ({"start_ms": START_MS + 1, "end_ms": START_MS}, "start"),
        ({"end_ms": START_MS + 31 * DAY_MS + 1}, "start"),
        ({"token": "no"}, "token"),
    ],
)
async def test_what_cannot_be_listed_is_refused_by_name(rig: Rig, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await rig.fetch(**asked)
    assert [each.field for each in refused.value.violations] == [field]


async def test_a_token_of_another_app_or_behind_the_end_is_refused(rig: Rig) -> None:
    await rig.put(*rig.rows(20, HOUR_MS))
    token = (await rig.fetch(size=10)).token
    other = await rig.real.create_app(make_app())
    for query in (
        ListQuery(app_id=other.app_id, start_ms=START_MS, token=token),
        ListQuery(app_id=rig.app.app_id, start_ms=START_MS, end_ms=START_MS + 1, token=token),
    ):
        with pytest.raises(InvalidRequest):
            await rig.service.listing.fetch(query)


async def test_an_unknown_app_and_a_store_that_is_away_are_told(rig: Rig) -> None:
    with pytest.raises(NotFound):
        await rig.service.listing.fetch(ListQuery(app_id="nobody"))
    rig.store.fail("fetch_app_buckets", StoreUnavailable("no"))
    with pytest.raises(StoreUnavailable):
        await rig.fetch()


async def test_a_row_that_is_never_sent_is_not_listed(rig: Rig) -> None:
    definition = make_definition(rig.app)
    runs = [make_run(definition, origin=origin) for origin in Origin]
    await rig.put(*runs)
    assert {row.schedule.run.origin for row in await rig.all() if row.schedule.run} == {
        Origin.PLAN,
        Origin.TRIGGER,
        Origin.BACKFILL,
    }


def labelled(app: App, slot_ms: int, **changes: Any) -> Row:
    row = make_row(app, slot_ms)
    return replace(row, schedule=replace(row.schedule, **changes))


async def test_a_list_may_ask_for_labels_a_name_and_a_host(rig: Rig) -> None:
    team, stage = ("team", "billing"), ("stage", "a:b ü")
    rows = [
        labelled(rig.app, START_MS, labels=(stage, team), name="nightly-1"),
        labelled(rig.app, START_MS + 1, labels=(team,), name="nightly-2"),
        labelled(rig.app, START_MS + 2, callback_details=b'{"url": "https://API.example:8443/x?k=v"}'),
        labelled(rig.app, START_MS + 3, callback_details=b'{"url": "http://[::1]/", "name": "nightly"}'),
        labelled(rig.app, START_MS + 4, callback_details=b'{"url": 7}', labels=(("team", "other"),)),
        labelled(rig.app, START_MS + 5, callback_details=b'{"url": "http://[:"}'),
    ]
    await rig.put(*rows)

    async def found(**asked: Any) -> list[int]:
        return [row.place.slot_ms - START_MS for row in await rig.all(**asked)]

    assert await found(labels=(team,)) == [0, 1]
    assert await found(labels=(stage, team)) == [0]
    assert await found(labels=(("team", ""),)) == []
    assert await found(name_prefix="nightly-") == [0, 1]
    assert await found(name_prefix="nightly-2", labels=(team,)) == [1]
    assert await found(host="api.EXAMPLE") == [2]
    assert await found(host="[::1]") == await found(host="::1") == [3]
    assert await found(host="example") == []
    for wrong in ({"labels": (("a b", "c"),)}, {"name_prefix": "-"}, {"host": "a/b"}, {"late_by_ms": -1}):
        with pytest.raises(InvalidRequest) as caught:
            await found(**wrong)
        field = caught.value.violations[0].field
        assert field in (*wrong, "late_by")


async def test_lists_ask_for_what_a_schedule_is_now(rig: Rig) -> None:
    new = NewSchedule(
        app_id=rig.app.app_id,
        payload="",
        fire_ms=START_MS + HOUR_MS,
        labels=(("team", "a"),),
        callback_type="sim",
        callback_details={"url": "http://old.example"},
    )
    row = await rig.service.create_schedule(new)
    change = ScheduleChange(
        labels=(("team", "b"),), callback_type="sim", callback_details={"url": "http://new.example"}
    )
    await rig.service.change_schedule(row.schedule.schedule_id, change)
    for wanted, found in (
        ({"labels": (("team", "b"),)}, 1),
        ({"labels": (("team", "a"),)}, 0),
        ({"host": "new.example"}, 1),
        ({"host": "old.example"}, 0),
    ):
        assert len(await rig.all(**wanted)) == found


async def test_few_among_many_are_found_in_bounded_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_READ", 2_000)
    team = (("team", "billing"),)
    rare = [labelled(rig.app, START_MS + n * 15 * MINUTE_MS + 7, labels=team) for n in range(20)]
    await rig.put(*rig.rows(5_000, 5 * HOUR_MS), *rare)
    pages = [page async for page in rig.pages(labels=team, size=15)]
    assert [row for page in pages for row in page.rows] == rare
    assert 3 <= len(pages) <= 4


async def test_what_is_passed_over_is_read_in_few_steps(rig: Rig) -> None:
    await rig.put(*rig.rows(9_000, 2 * HOUR_MS))
    before = len(rig.store.calls)
    assert (await rig.fetch(name_prefix="nightly", size=15)).token == ""
    assert rig.store.names()[before:].count("fetch_rows") < 60


async def test_lists_take_turns_by_app_and_no_app_waits_for_the_pages_of_another(rig: Rig) -> None:
    new = NewApp(app_id="one", partitions=3, active=True, configuration=AppConfiguration())
    others = [await rig.service.register_app(replace(new, app_id=name)) for name in ("one", "two")]
    for app in (rig.app, *others):
        await rig.put(*(make_row(app, START_MS + n, n % 3) for n in range(9)))
    gate = rig.store.hold("fetch_app_buckets")
    of_one_app = [asyncio.create_task(rig.fetch()) for _ in range(3)]
    await spin()
    assert rig.store.names().count("fetch_app_buckets") == 1
    query = ListQuery(app_id="", start_ms=START_MS, end_ms=START_MS + DAY_MS)
    of_others = [
        asyncio.create_task(rig.service.listing.fetch(replace(query, app_id=app.app_id))) for app in others
    ]
    await spin()
    assert rig.store.names().count("fetch_app_buckets") == 2  # a page of each of two apps, and no third
    of_one_app[0].cancel()  # as a client that went away: its turn goes on
    await spin()
    assert rig.store.names().count("fetch_app_buckets") == 3
    gate.set()
    pages = await asyncio.gather(*of_one_app[1:], *of_others)
    assert [len(page.rows) for page in pages] == [9] * 4


async def test_an_app_asks_for_so_many_lists_at_once_and_is_told_of_more(rig: Rig) -> None:
    await rig.put(*rig.rows(9, HOUR_MS))
    gate = rig.store.hold("fetch_app_buckets")
    asked = [asyncio.create_task(rig.fetch()) for _ in range(20)]
    await spin()
    refused = [task for task in asked if task.done()]
    assert len(refused) == 4
    assert all(isinstance(task.exception(), RateLimited) for task in refused)
    gate.set()
    await asyncio.wait(asked)
    assert len((await rig.fetch()).rows) == 9


@pytest.mark.parametrize("bytes_each", [10, 400_000])
async def test_a_page_of_large_payloads_holds_no_more_than_so_many_bytes(bytes_each: int) -> None:
    """Whatever is read beside it: by the largest that the server takes, not by what came so far."""
    service = await make_service_rig(limits=AppLimits(payload_bytes=10, max_payload_bytes=1_048_576))
    rig = Rig(service, await service.register())
    text = "x" * bytes_each
    rows = [make_row(rig.app, START_MS + 7 * n, n % 3) for n in range(200)]
    await rig.put(*(replace(row, schedule=replace(row.schedule, payload=text)) for row in rows))
    pages = [page async for page in rig.pages()]
    listed = [row.schedule.schedule_id for page in pages for row in page.rows]
    assert listed == [row.schedule.schedule_id for row in rows]
    most = listing._MOST_HELD_BYTES
    assert max(sum(len(row.schedule.payload) for row in page.rows) for page in pages) <= most + bytes_each
    assert (len(pages) == 1) is (200 * bytes_each <= most)
    asked = [queries for name, queries in rig.store.calls if name == "fetch_rows"]
    assert max(sum(query.limit for query in queries) for queries in asked) * 1_048_576 <= 2.5 * most


async def test_late_and_missed_ones_are_found_by_how_late_they_were(rig: Rig) -> None:
    """Those that were sent by their lag; those that were missed by when that was decided."""
    sent, late, missed, waiting = rows = [make_row(rig.app, START_MS + n) for n in range(4)]
    await rig.put(*rows)
    due_ms = [row.schedule.awaited_ms for row in rows]
    on_time = make_outcome(fired_ms=due_ms[0] + 499, ended_ms=due_ms[0] + 9_000)
    after_it = make_outcome(fired_ms=due_ms[1] + 500, ended_ms=due_ms[1] + 501)
    missed_at = Outcome(status=Status.MISS, ended_ms=due_ms[2] + 60_000)
    ends = zip((sent, late, missed), (on_time, after_it, missed_at), strict=True)
    await rig.real.put_updates([make_update(row, outcome) for row, outcome in ends])

    async def ids(**asked: Any) -> list[Row]:
        found = await rig.all(**asked)
        return [
            row for row in rows if row.schedule.schedule_id in {each.schedule.schedule_id for each in found}
        ]

    assert await ids(late_by_ms=0) == [sent, late, missed]
    assert await ids(late_by_ms=500) == [late, missed]
    assert await ids(late_by_ms=60_000) == [missed]
    assert await ids(late_by_ms=60_001) == []
    assert await ids(late_by_ms=500, status=Status.SUCCESS) == [late]
    assert waiting not in await ids(late_by_ms=0)
