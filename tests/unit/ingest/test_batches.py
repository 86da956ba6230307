"""What the items of a batch share: apps, judgements of equal callbacks, looks at destinations, ids."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig

from ringtime_ingest.service import NewSchedule
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.errors import AppInactive, ClockInDoubt, InvalidRequest, NotFound, Violation
from ringtime_shared.ids import MAX_COUNT, unpack_id
from ringtime_shared.models.schedule import Row


class Watched(CallbackRules):
    """Rules of `sim` that note what they are asked, and misbehave for details that say so."""

    name = "sim"

    def __init__(self, *, by_host: bool) -> None:
        self.validated: list[Mapping[str, object]] = []
        self.screens: list[tuple[str, Mapping[str, object]]] = []
        self._by_host = by_host

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        self.validated.append(details)
        error = details.get("raise")
        if isinstance(error, str):
            raise {"bug": ZeroDivisionError, "exit": SystemExit, "cancel": asyncio.CancelledError}[error]
        return [Violation("callback.details.bad", "must not be")] if "bad" in details else []

    async def screen(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        self.screens.append((app_id, details))
        await asyncio.sleep(0)
        if details.get("host") == "exit":
            raise SystemExit
        return [Violation("callback.details.host", "refused")] if details.get("host") == "bad" else []

    def screened(self, details: Mapping[str, object]) -> str | None:
        return str(details.get("host")) if self._by_host else None


def new(app_id: str = "shop", payload: str = "", **details: object) -> NewSchedule:
    return NewSchedule(
        app_id=app_id, payload=payload, delay_ms=60_000, callback_type="sim", callback_details=details
    )


async def make(*, by_host: bool = True) -> tuple[ServiceRig, Watched]:
    kind = Watched(by_host=by_host)
    rig = await make_service_rig(kind)
    for app_id in ("shop", "bar"):
        await rig.register(app_id)
    await rig.register("idle", active=False)
    return rig, kind


def kinds(results: Sequence[object]) -> list[type]:
    return [type(result) for result in results]


@pytest.mark.parametrize("is_shared", [False, True])
async def test_equal_callbacks_are_judged_once_for_each_app(is_shared: bool) -> None:
    rig, kind = await make()
    items = [new(app_id, str(n), host="a") for n in range(60) for app_id in ("shop", "bar")]
    if is_shared:  # the very object, as of creates that are read from one body
        items = [replace(each, callback_details=items[0].callback_details) for each in items]
    results = await rig.service.batches.create(items)
    assert kinds(results) == [Row] * 120
    assert len(kind.validated) == 2
    assert sorted(app_id for app_id, _ in kind.screens) == ["bar", "shop"]


@pytest.mark.parametrize(("by_host", "looks"), [(True, 2), (False, 6)])
async def test_a_destination_is_screened_once(by_host: bool, looks: int) -> None:
    rig, kind = await make(by_host=by_host)
    items = [new(host=("a", "bad")[n % 2], path=n) for n in range(6)]
    results = await rig.service.batches.create(items)
    assert kinds(results) == [Row, InvalidRequest] * 3
    assert len(kind.screens) == looks


async def test_callbacks_that_differ_are_judged_each() -> None:
    rig, kind = await make()
    results = await rig.service.batches.create([new(n=1), new(n=1.0), new(bad=1), new(bad=1), new(n=1)])
    assert kinds(results) == [Row, Row, InvalidRequest, InvalidRequest, Row]
    assert len(kind.validated) == 3


async def test_an_app_is_looked_up_once() -> None:
    rig, _ = await make()
    await asyncio.sleep(0)
    rig.store.calls.clear()
    items = [new("nobody"), new("idle"), new("shop")] * 40
    results = await rig.service.batches.create(items)
    assert kinds(results) == [NotFound, AppInactive, Row] * 40
    assert rig.store.names().count("fetch_app") == 3, "one look at each app"


@pytest.mark.parametrize("how", ["bug", "exit", "cancel"])
async def test_a_callback_type_that_fails_fails_its_item_alone(how: str) -> None:
    rig, _ = await make()
    good, bad, last = await rig.service.batches.create([new(), new(**{"raise": how}), new(n=2)])
    assert isinstance(good, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, (ZeroDivisionError, RuntimeError))


async def test_a_screen_that_fails_fails_the_items_of_its_destination_alone() -> None:
    rig, _ = await make()
    results = await rig.service.batches.create([new(host="a"), new(host="exit"), new(host="exit", n=2)])
    assert kinds(results) == [Row, RuntimeError, RuntimeError]


async def test_what_is_too_large_or_no_json_is_refused_alone() -> None:
    rig, _ = await make()
    items = [new(own="x" * 70_000), new(own=object()), new(own=object(), payload="x" * 2_000), new()]
    results = await rig.service.batches.create(items)
    assert [each.violations[0].field for each in results[:3] if isinstance(each, InvalidRequest)] == [
        "callback.details",
        "callback.details",
        "payload",
    ]
    assert kinds(results)[3] is Row


async def test_ids_are_of_a_new_nonce_when_the_old_one_has_too_few() -> None:
    rig, _ = await make()
    rig.service._mint._counter = MAX_COUNT - 60
    results = await rig.service.batches.create([new() for _ in range(120)])
    ids = {row.schedule.schedule_id for row in results if isinstance(row, Row)}
    assert len(ids) == 120
    assert len({unpack_id(each).nonce for each in ids}) == 2


async def test_a_clock_in_doubt_and_a_wrong_number_are_raised() -> None:
    rig, _ = await make()
    with pytest.raises(InvalidRequest, match="schedules: must hold 1 to 1,000"):
        await rig.service.batches.create([])
    with pytest.raises(InvalidRequest, match="scheduleIds: must hold 1 to 1,000"):
        await rig.service.batches.cancel([])
    with pytest.raises(InvalidRequest, match="schedules: must hold 1 to 1,000"):
        await rig.service.batches.create([new()] * 1_001)
    rig.clock.in_doubt = "it ran backwards"
    with pytest.raises(ClockInDoubt):
        await rig.service.batches.create([new()])
