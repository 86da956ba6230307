"""Bugs of changes put in on purpose: the simulation must find each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringtime_dispatcher.delivery import deliverer
from ringtime_dispatcher.delivery.deliverer import Deliverer
from ringtime_ingest.service.changes import Changes
from ringtime_shared.models.schedule import Change, Place, Row, RowUpdate
from ringtime_shared.schedules import changing
from ringtime_shared.schedules.changing import Verdict
from ringtime_shared.stores.memory import MemoryStore
from tests.cluster.change_world import ChangePlan
from tests.cluster.planted import Plant
from tests.cluster.pod import FaultRates


def point_before_filing(patch: pytest.MonkeyPatch) -> None:
    real = Changes._point

    async def file(self: Changes, home: Row, old: Row, schedule: Any, reading: Any, now_ms: int) -> Row:
        slot_ms = max(schedule.fire_ms, now_ms + self._parts.margin_ms) + 1
        place = Place(home.place.app_id, home.place.partition, slot_ms)
        self.__dict__["reading"] = reading
        return Row(schedule=schedule, place=place, change=Change(now_ms, slot_ms))

    async def point(self: Changes, home: Row, old: Row, new: Row) -> None:
        await real(self, home, old, new)
        await self._parts.commit.file(new, self.__dict__["reading"])

    patch.setattr(Changes, "_file", file)
    patch.setattr(Changes, "_point", point)


def send_without_a_look_at_the_home_row(patch: pytest.MonkeyPatch) -> None:
    real = Deliverer.is_wanted

    async def is_wanted(self: Deliverer, item: Any) -> bool:
        if item.row.change is None:
            return await real(self, item)
        return self._is_sure(item)

    patch.setattr(Deliverer, "is_wanted", is_wanted)


def go_by_slots_alone(patch: pytest.MonkeyPatch) -> None:
    """Take every filing that the home row points at for one that goes on from this."""
    real = changing.judge

    def judge(row: Row, home: Row | None, pointed: Row | None) -> Verdict:
        return real(replace(row, change=None), home, None)

    patch.setattr(deliverer, "judge", judge)


def close_what_is_not_in_force(patch: pytest.MonkeyPatch) -> None:
    real = changing.judge

    def judge(row: Row, home: Row | None, pointed: Row | None) -> Verdict:
        verdict = real(row, home, pointed)
        return Verdict.CLOSE if verdict is Verdict.WAIT else verdict

    patch.setattr(deliverer, "judge", judge)


def acknowledge_what_came_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ringtime_ingest.service.changes.CANCEL_PROMISE_MS", -60_000)
    patch.setattr("ringtime_ingest.service.changes.WINDOW_MS", 60_000)


def write_again_as_if_for_the_first_time(patch: pytest.MonkeyPatch) -> None:
    """Let a pointer that is written again, because its answer was lost, undo what came since."""
    real = MemoryStore.put_updates

    async def put_updates(self: MemoryStore, updates: Sequence[RowUpdate]) -> None:
        await real(self, [replace(update, written=0) for update in updates])

    patch.setattr(MemoryStore, "put_updates", put_updates)


#: Pointers are long on their way.
SLOW_POINTERS = ChangePlan(
    rates=FaultRates(slow=0.3, slow_s=6.0, slow_calls=frozenset({"put_updates"})), wait_s=160
)

#: What a destination that is down makes dispatchers file again is changed a moment later; answers are lost.
LOST_ANSWERS = ChangePlan(
    schedules=150,
    cancel_rate=0.0,
    kill_rate=0.0,
    from_s=0.0,
    to_s=0.6,
    spread=0.0,
    outage_s=(1.0, 25.0),
    rates=FaultRates(lost_reply=0.06),
    dispatch=replace(ChangePlan().dispatch, breaker_open_ms=8_000, park_per_s=3),
    wait_s=60,
)

#: Each with a plan that makes its gap wide; None: what a seed draws.
CHANGE_PLANTS: list[tuple[Plant, ChangePlan | None]] = [
    (point_before_filing, None),
    (send_without_a_look_at_the_home_row, None),
    (go_by_slots_alone, None),
    (close_what_is_not_in_force, SLOW_POINTERS),
    (acknowledge_what_came_late, None),
    (write_again_as_if_for_the_first_time, LOST_ANSWERS),
]
