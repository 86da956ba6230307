"""Bugs of a resize put in on purpose: the simulation must find each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringtime_ingest.service.commit import CommitPath
from ringtime_ringctl.resize import evidence, runner, steps
from ringtime_shared.buckets import last_slot
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.protocol import IndexEntry
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


def read_settled_last(patch: pytest.MonkeyPatch) -> None:
    """A retry may be filed, and the row before it settled, between the two reads."""

    async def find_ahead(
        store: evidence.ResizeStore, app: App, instances: list[Instance], *, last: int, **_: Any
    ) -> list[IndexEntry]:
        entries = [
            entry
            for entry in await store.fetch_app_buckets(app.app_id, 0, last)
            if entry.instance in instances
        ]
        slots = dict(zip(entries, await store.fetch_last_slots(entries), strict=True))
        marks = await store.fetch_marks(instances)
        return [
            entry
            for entry in entries
            if min(slots[entry] or 0, last_slot(entry.bucket)) > marks[entry.instance].settled_ms
        ]

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
    operator_slow_s=10.0,
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

#: With the seed to begin at: from 0 on, some take minutes. The last one's gap has a test of its own, too.
RESIZE_PLANTS: list[tuple[Plant, ResizePlan | None, int]] = [
    (release_without_waiting, _NEAR_AND_FAST, 0),
    (release_without_looking, None, 0),
    (read_settled_last, _RETRIES, 40),
    (open_before_it_is_polled, None, 0),
    (keep_rows_where_it_is_polled_yet, _FROZEN_PODS, 0),
]
