"""Bugs of a resize put in on purpose: the simulation must find each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from ringtime_ingest.service.commit import CommitPath
from ringtime_ringctl.resize import evidence, runner, steps
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.protocol import IndexEntry, Marks
from tests.cluster.planted import Plant
from tests.cluster.pod import FaultRates
from tests.cluster.resize_world import INGEST, ResizePlan


def release_without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Creates on an older map are still to come."""
    real = runner.Resizer.__init__

    def init(self: runner.Resizer, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self._quiet_ms = -1

    patch.setattr(runner.Resizer, "__init__", init)


def release_without_looking(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*args: Any, **kwargs: Any) -> list[IndexEntry]:
        return []

    patch.setattr(runner, "find_ahead", nothing)


class SettledLast:
    """A store on which what lies ahead is read first, and the marks after it."""

    def __init__(self, real: evidence.ResizeStore, app: App, last: int) -> None:
        self._real = real
        self._app = app
        self._last = last
        self._slots: dict[IndexEntry, int | None] = {}

    async def fetch_marks(self, instances: Sequence[Instance]) -> Mapping[Instance, Marks]:
        entries = await self._real.fetch_app_buckets(self._app.app_id, 0, self._last)
        self._slots = dict(zip(entries, await self._real.fetch_last_slots(entries), strict=True))
        return await self._real.fetch_marks(instances)

    async def fetch_app_buckets(self, app_id: str, first: int, upto: int) -> list[IndexEntry]:
        return [entry for entry in self._slots if first <= entry.bucket <= upto]

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        return [self._slots[entry] for entry in entries]


def read_settled_last(patch: pytest.MonkeyPatch) -> None:
    """A retry may be filed, and the row before it settled, between the two reads."""
    real = evidence.find_ahead

    async def find_ahead(
        store: Any, app: App, instances: Sequence[Instance], *, last: int, **others: Any
    ) -> list[IndexEntry]:
        return await real(cast(Any, SettledLast(store, app, last)), app, instances, last=last, **others)

    patch.setattr(runner, "find_ahead", find_ahead)


def open_before_it_is_polled(patch: pytest.MonkeyPatch) -> None:
    real_begin, real_open = steps.begin, steps.open_new

    def begin(app: App, quota: int, **kwargs: Any) -> App:
        return replace(real_begin(app, quota, **kwargs), writable=quota, polled=app.polled)

    def next_step(app: App) -> steps.Step:
        note = app.resize
        if note is not None and app.polled < note.quota:
            return steps.Step.OPEN_NEW
        return steps.next_step(app)

    def open_new(app: App) -> App:
        return replace(real_open(app), polled=steps.noted(app).quota)

    patch.setattr(steps, "begin", begin)
    patch.setattr(runner, "next_step", next_step)
    patch.setattr(steps, "open_new", open_new)


def keep_rows_where_it_is_polled_yet(patch: pytest.MonkeyPatch) -> None:
    """Ingest lets a row stay in a partition that is about to be released."""
    real = CommitPath._find_overtaken

    async def find(self: CommitPath, batch: Any) -> Any:
        asked = {filing: filing.reading for filing in batch}
        found = await real(self, batch)
        for filing in list(found):
            app, place = filing.reading.app, filing.row.place
            marks = await self._store.fetch_marks([place.instance])
            is_sealed = marks[place.instance].sealed_ms >= place.slot_ms
            was_read_again = filing.reading is not asked[filing]
            if was_read_again and app.writable <= place.partition < app.polled and not is_sealed:
                del found[filing]
        return found

    patch.setattr(CommitPath, "_find_overtaken", find)


#: What makes the gap wide that a bug falls into. Without it a bug takes some hundred seeds to show.
_NEAR_AND_FAST = ResizePlan(
    schedules=150,
    load_s=40.0,
    lead_s=1.5,
    rates=FaultRates(slow=0.2),
    ingest=INGEST,
    kill_rate=0,
    operator_slow_s=0.05,
)
_RETRIES = ResizePlan(
    schedules=120,
    load_s=60.0,
    lead_s=2.0,
    outage_s=(5.0, 70.0),
    ingest=INGEST,
    kill_rate=0,
    operator_slow=1.0,
    operator_slow_s=10.0,
    operator_slow_calls=frozenset({"fetch_marks"}),
)
#: A pod that is frozen while the old map holds writes what it has under way after the last look, and the
#: release takes its time.
_FROZEN_PODS = ResizePlan(
    schedules=150,
    load_s=60.0,
    lead_s=16.0,
    ingest=replace(INGEST, map_age_ms=300),
    ingest_frozen_s=9.5,
    kill_rate=0,
    operator_slow=1.0,
    operator_slow_s=6.0,
    operator_slow_calls=frozenset({"replace_app"}),
)

#: Each with a plan that makes its gap wide; None: what a seed draws.
RESIZE_PLANTS: list[tuple[Plant, ResizePlan | None]] = [
    (release_without_waiting, _NEAR_AND_FAST),
    (release_without_looking, None),
    (read_settled_last, _RETRIES),
    (open_before_it_is_polled, None),
    (keep_rows_where_it_is_polled_yet, _FROZEN_PODS),
]

#: The seed to begin at for those that few seeds show: a little before the first that does.
FIRST_SEEDS: dict[Plant, int] = {keep_rows_where_it_is_polled_yet: 7, release_without_waiting: 16}
