"""Bugs put in on purpose: the simulation must find each of them, or it finds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringtime_dispatcher.delivery.queue import Timetable
from ringtime_dispatcher.delivery.recording import OutcomeWriter, Record
from ringtime_dispatcher.engine import Dispatcher
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.reading.polling import Poller
from ringtime_dispatcher.reading.sealing import Sealer
from ringtime_ingest.service.commit import CommitPath
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Arrival, DuePage, DueQuery, IdPage

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_before_write(patch: pytest.MonkeyPatch) -> None:
    real = CommitPath.file

    async def file(self: CommitPath, row: Any, reading: Any) -> Any:
        task = asyncio.create_task(real(self, row, reading))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return row

    patch.setattr(CommitPath, "file", file)


def skip_the_sealed_check(patch: pytest.MonkeyPatch) -> None:
    async def nothing_overtaken(self: CommitPath, batch: Any) -> dict[Any, Any]:
        return {}

    patch.setattr(CommitPath, "_find_overtaken", nothing_overtaken)


def announce_first_rows_alone(patch: pytest.MonkeyPatch) -> None:
    """No bug: what is filed into a bucket that has rows is found by the final read, some seconds late."""
    real = MemoryStore.fetch_arrivals

    async def fetch_arrivals(self: MemoryStore, *args: Any) -> list[Arrival]:
        return [each for each in await real(self, *args) if is_first(self, each)]

    def is_first(store: MemoryStore, arrival: Arrival) -> bool:
        key = (*arrival.instance, bucket_of(arrival.slots[0]))
        return store._keys[key][0].slot_ms in arrival.slots

    patch.setattr(MemoryStore, "fetch_arrivals", fetch_arrivals)


def drop_the_final_read(patch: pytest.MonkeyPatch) -> None:
    """Only what was not announced in time needs it, so some is not."""

    async def nothing(self: Sealer, seals: Any) -> None:
        return

    announce_first_rows_alone(patch)
    patch.setattr(Sealer, "final_read", nothing)


def settle_before_outcomes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnedInstance, "settleable_ms", lambda self: self.checked_ms)


def fire_at_bucket_start(patch: pytest.MonkeyPatch) -> None:
    real_read, real_add = Poller.read, Timetable.add

    async def read_whole_minutes(self: Poller, horizon_ms: int) -> None:
        await real_read(self, last_slot(bucket_of(horizon_ms)))

    def add_early(self: Timetable[Any], slot_ms: int, item: Any) -> None:
        # One that waits for another filing of its schedule is looked at again later, not again at once.
        real_add(self, slot_ms if item.needs_look else first_slot(bucket_of(slot_ms)), item)

    patch.setattr(Poller, "read", read_whole_minutes)
    patch.setattr(Timetable, "add", add_early)


def stop_after_one_page(patch: pytest.MonkeyPatch) -> None:
    """Take the first page for all there is, in the tick and in the final read."""
    real_due, real_ids = MemoryStore.fetch_due, MemoryStore.fetch_live_ids

    async def fetch_due(self: MemoryStore, queries: Sequence[DueQuery]) -> list[DuePage]:
        return [replace(page, next=None) for page in await real_due(self, queries)]

    async def fetch_live_ids(self: MemoryStore, queries: Sequence[DueQuery]) -> list[IdPage]:
        return [page._replace(next=None) for page in await real_ids(self, queries)]

    patch.setattr(MemoryStore, "fetch_due", fetch_due)
    patch.setattr(MemoryStore, "fetch_live_ids", fetch_live_ids)


def never_check_the_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatcher, "is_trusted", lambda self: True)


def read_ten_seconds_ahead(patch: pytest.MonkeyPatch) -> None:
    real = Poller.read

    async def read(self: Poller, horizon_ms: int) -> None:
        await real(self, horizon_ms - self._settings.read_ahead_ms + 10_000)

    patch.setattr(Poller, "read", read)


def drop_what_is_filed_for_later(patch: pytest.MonkeyPatch) -> None:
    real = OutcomeWriter.put

    def put(self: OutcomeWriter, record: Record) -> None:
        real(self, replace(record, filings=()))

    patch.setattr(OutcomeWriter, "put", put)


def point_at_a_filing_without_a_look(patch: pytest.MonkeyPatch) -> None:
    async def look_away(
        self: OutcomeWriter, batch: Sequence[Record]
    ) -> tuple[Sequence[Record], list[Record], list[Record]]:
        return batch, [], []

    patch.setattr(OutcomeWriter, "_look", look_away)


def give_up_without_a_dead_letter(patch: pytest.MonkeyPatch) -> None:
    real = OutcomeWriter.put

    def put(self: OutcomeWriter, record: Record) -> None:
        real(self, replace(record, letter=None))

    patch.setattr(OutcomeWriter, "put", put)


PLANTS: list[Plant] = [
    acknowledge_before_write,
    skip_the_sealed_check,
    drop_the_final_read,
    settle_before_outcomes,
    fire_at_bucket_start,
    stop_after_one_page,
    never_check_the_lease,
    read_ten_seconds_ahead,
    drop_what_is_filed_for_later,
    point_at_a_filing_without_a_look,
    give_up_without_a_dead_letter,
]

#: The seed to begin at for those that few seeds show: a little before the first that does.
FIRST_SEEDS: dict[Plant, int] = {
    never_check_the_lease: 19,
    point_at_a_filing_without_a_look: 105,
}
