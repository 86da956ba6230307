"""What is noted of a change, and when: before it, with what differs, and again if it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.contract.builders import NOW_MS
from tests.unit.spy_store import SpyStore

from ringtime_shared.auditing import (
    MOST_VALUE_BYTES,
    AuditTrail,
    asked_of_library,
    caused_by,
    difference,
)
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import Conflict, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.audit import AuditEntry, Cause
from ringtime_shared.settings import AuditSettings

CAUSE = Cause(action="apps configure", operator="ana", source="here", reason="why", request_id="r-1")
DAY_MS = 86_400_000


class Rig:
    def __init__(self, keep_days: int = 10) -> None:
        self.store = SpyStore(lambda: NOW_MS)
        self.clock = ManualClock(NOW_MS)
        self.trail = AuditTrail(self.store, self.clock.now_ms, AuditSettings(keep_days=keep_days))  # type: ignore[arg-type]

    async def entries(self) -> list[AuditEntry]:
        return await self.store.real.fetch_audit(0, 1 << 62, 100, is_oldest_first=True)


async def test_an_entry_is_there_before_the_change_and_says_all() -> None:
    rig = Rig()
    with caused_by(CAUSE):
        async with rig.trail.change("shop", "shop/x", {"a": 1, "b": 2}, {"a": 1, "b": 3}):
            (entry,) = await rig.entries()
    assert (entry.operator, entry.action, entry.subject) == ("ana", "apps configure", "shop/x")
    assert (entry.app_id, entry.at_ms, entry.expires_ms) == ("shop", NOW_MS, NOW_MS + 10 * DAY_MS)
    assert (entry.source, entry.reason, entry.request_id) == ("here", "why", "r-1")
    assert (entry.before, entry.after, entry.about) == ('{"b":2}', '{"b":3}', None)
    assert await rig.entries() == [entry]


async def test_what_nobody_asked_for_is_not_noted() -> None:
    rig = Rig()
    async with rig.trail.change("shop", "shop", None, {}):
        pass
    with caused_by(CAUSE):
        pass
    async with rig.trail.change("shop", "shop", None, {}):
        pass
    assert await rig.entries() == []


async def test_a_change_that_is_refused_or_gets_no_answer_says_so_and_names_the_entry() -> None:
    for error in (Conflict("no"), OutcomeUnknown("nobody knows")):
        rig = Rig()
        with caused_by(CAUSE), pytest.raises(type(error)):
            async with rig.trail.change("shop", "shop", {"a": 1}, {"a": 2}):
                raise error
        asked, failed = await rig.entries()
        assert (failed.action, failed.about) == ("apps configure failed", asked.entry_id)
        assert (json.loads(failed.after), failed.request_id) == ({"error": str(error)}, "r-1")
        assert failed.key > asked.key


async def test_a_bug_is_no_change_that_was_made() -> None:
    rig = Rig()
    with caused_by(CAUSE), pytest.raises(ZeroDivisionError):
        async with rig.trail.change("shop", "shop", None, {}):
            raise ZeroDivisionError("secret of the depths")
    _, failed = await rig.entries()
    assert json.loads(failed.after) == {"error": "a bug: ZeroDivisionError"}


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("no answer")])
async def test_without_an_entry_nothing_is_changed(error: Exception) -> None:
    rig, changed = Rig(), False
    rig.store.fail("put_audit", error)
    with caused_by(CAUSE), pytest.raises(type(error)):
        async with rig.trail.change("shop", "shop", None, {}):
            changed = True
    assert not changed


async def test_the_error_of_the_change_is_told_also_if_it_cannot_be_noted() -> None:
    rig = Rig()

    async def change() -> None:
        async with rig.trail.change("shop", "shop", None, {}):
            rig.store.failure = StoreUnavailable("away")
            raise Conflict("mine")

    with caused_by(CAUSE), pytest.raises(Conflict, match="mine"):
        await change()
    assert [entry.action for entry in await rig.entries()] == ["apps configure"]


async def test_for_ever_and_too_long_a_value() -> None:
    rig = Rig(keep_days=0)
    with caused_by(CAUSE):
        async with rig.trail.change("shop", "shop", None, {"text": "x" * MOST_VALUE_BYTES}):
            pass
    (entry,) = await rig.entries()
    assert (entry.expires_ms, json.loads(entry.after)) == (0, {"bytes": MOST_VALUE_BYTES + 11})


async def test_a_verb_of_the_library_is_its_own_cause() -> None:
    rig = Rig()

    @asked_of_library("apps create")
    async def verb(app_id: str) -> str:
        async with rig.trail.change(app_id, app_id, None, {}):
            return app_id

    assert await verb("shop") == "shop"
    assert [(entry.operator, entry.action) for entry in await rig.entries()] == [("library", "apps create")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, ({}, {})),
        (
            {"a": 1, "b": {"c": 1, "d": [1]}},
            {"a": 1, "b": {"c": 2, "d": [1]}},
            ({"b": {"c": 1}}, {"b": {"c": 2}}),
        ),
        ({"a": 1}, {"b": 2}, ({"a": 1}, {"b": 2})),
        ({"a": {"b": 1}}, {"a": 5}, ({"a": {"b": 1}}, {"a": 5})),
        (None, {"a": 1}, (None, {"a": 1})),
        ({"a": None}, {"a": 0}, ({"a": None}, {"a": 0})),
    ],
)
def test_what_differs(before: Any, after: Any, expected: tuple[Any, Any]) -> None:
    assert difference(before, after) == expected
