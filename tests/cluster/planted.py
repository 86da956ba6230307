"""Bugs put in on purpose: the simulation must find each of them, or it finds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ringtime_dispatcher.delivery.deliverer import Deliverer
from ringtime_dispatcher.delivery.ledger import RowItem
from ringtime_dispatcher.delivery.recording import OutcomeWriter, Record
from ringtime_dispatcher.engine import Dispatcher
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.reading.polling import Poller, plan_reads
from ringtime_dispatcher.reading.sealing import Sealer
from ringtime_ingest.service.commit import CommitPath
from ringtime_shared.buckets import bucket_of, last_slot
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.stores.protocol import LAST_ID, Position

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


def drop_the_final_read(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Sealer, seals: Any) -> None:
        return

    patch.setattr(Sealer, "final_read", nothing)


def settle_before_outcomes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OwnedInstance, "settleable_ms", lambda self: self.checked_ms)


def fire_at_bucket_start(patch: pytest.MonkeyPatch) -> None:
    real = Poller.read

    async def read_whole_minutes(self: Poller, horizon_ms: int) -> None:
        await real(self, last_slot(bucket_of(horizon_ms)))

    def accept(self: Deliverer, owned: OwnedInstance, row: Row) -> bool:
        item = RowItem(owned, row)
        is_new = self._ledger.enter(item)
        if is_new:
            self._on_due(item)
        return is_new

    patch.setattr(Poller, "read", read_whole_minutes)
    patch.setattr(Deliverer, "accept", accept)


def stop_after_one_page(patch: pytest.MonkeyPatch) -> None:
    async def read(self: Poller, horizon_ms: int) -> None:
        owned = self._instances.active()
        plans = plan_reads(owned, horizon_ms=horizon_ms, page_rows=self._settings.page_rows, room=self._room)
        if plans:
            pages = await self._store.fetch_due([query for _, query in plans])
            for (each, query), page in zip(plans, pages, strict=True):
                for row in page.rows:
                    self._sink.accept(each, row)
                each.set_front(query.bucket, Position(query.upto_ms, LAST_ID))

    async def final_read_of_one_page(self: Sealer, seals: Any) -> None:
        for owned, query in await self._plan_final_read(seals):
            keys = (await self._store.fetch_live_ids([query]))[0][: query.limit]
            for key in list(owned.unseen(keys)):
                app_id, partition = query.instance
                row = await self._store.fetch_row(Place(app_id, partition, key.slot_ms), key.schedule_id)
                if row is not None:
                    self._sink.accept(owned, row)

    patch.setattr(Poller, "read", read)
    patch.setattr(Sealer, "final_read", final_read_of_one_page)


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
        real(self, replace(record, filing=None))

    patch.setattr(OutcomeWriter, "put", put)


def point_at_a_filing_without_a_look(patch: pytest.MonkeyPatch) -> None:
    async def look_away(self: OutcomeWriter, batch: Sequence[Record]) -> Sequence[Record]:
        return batch

    patch.setattr(OutcomeWriter, "_keep_readable", look_away)


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
