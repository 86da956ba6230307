"""Rows that cannot be read: each is recorded as a failure, so that it holds nobody up and somebody sees it.

| what is written, in this order | for whom |
|---|---|
| a note of the damage | who looks after the store: `ringctl doctor` |
| a dead letter | who looks after the app |
| the outcome FAILURE, at the row and at its home row | clients, and this node: the row is live no more |

`settled` passes the row when all of it is durable. The outcome of a home row that has one already is left
alone: then only the filing was damaged, and the schedule is not affected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from ringtime_dispatcher.delivery.recording import OutcomeStore, OutcomeWriter, Record, persist
from ringtime_dispatcher.delivery.records import damage_of, damaged_letter_of, damaged_outcome, home_of
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.models.schedule import Row, RowUpdate, Status
from ringtime_shared.once import OnceLog
from ringtime_shared.stores.protocol import DamagedRow, Position

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000


class DamagedRows:
    """What a node does with them.

    Args:
        retention_days: how long their dead letters are kept.
        on_over: called with the app id when one is recorded, or given up.
    """

    def __init__(
        self,
        store: OutcomeStore,
        outcomes: OutcomeWriter,
        clock: Clock,
        retention_days: int,
        on_over: Callable[[str], None],
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._clock = clock
        self._kept_ms = retention_days * _DAY_MS
        self._on_over = on_over
        self._looks: set[asyncio.Task[None]] = set()
        self._said = OnceLog(_log)

    def put(self, owned: OwnedInstance, row: DamagedRow) -> None:
        """Record a row of this instance that was read, and could not be."""
        self._said.warn(
            (row.place, row.schedule_id),
            "schedule %s of %s is not sent: its row in slot %d cannot be read: %s",
            row.schedule_id,
            row.place.instance,
            row.place.slot_ms,
            row.fault,
        )
        owned.begin_work()
        if home_of(row.place, row.schedule_id) == row.place:
            self._record(owned, row, None)
            return
        task = asyncio.create_task(self._look(owned, row), name="look at the home row of a damaged one")
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """Stop at once; what is not recorded is found again by the next owner."""
        looks = list(self._looks)
        for task in looks:
            task.cancel()
        if looks:
            await asyncio.wait(looks)

    async def _look(self, owned: OwnedInstance, row: DamagedRow) -> None:
        place = home_of(row.place, row.schedule_id)
        home: Row | None = None
        try:
            home = await persist(lambda: self._store.fetch_row(place, row.schedule_id))
        except Damaged:
            pass  # then it is recorded there too
        except BaseException:
            self._let_go(owned, row)
            raise
        self._record(owned, row, home)

    def _record(self, owned: OwnedInstance, row: DamagedRow, home: Row | None) -> None:
        now_ms = self._clock.now_ms()
        outcome = damaged_outcome(row.fault, now_ms)
        here = RowUpdate(place=row.place, schedule_id=row.schedule_id, outcome=outcome)
        there = RowUpdate(
            place=home_of(row.place, row.schedule_id), schedule_id=row.schedule_id, outcome=outcome
        )
        is_decided = home is not None and (home.outcome is not None or home.cancelled_ms is not None)
        is_over = home is not None and is_decided and not _may_be_replay(home, row)
        self._outcomes.put(
            Record(
                damage=damage_of(row, now_ms),
                letter=None if is_over else damaged_letter_of(row, outcome, now_ms + self._kept_ms),
                home=here if is_decided else there,
                move=None if is_decided or there.place == row.place else here,
                on_durable=partial(self._on_durable, owned, row),
                on_refused=partial(self._let_go, owned, row),
            )
        )

    def _on_durable(self, owned: OwnedInstance, row: DamagedRow) -> None:
        owned.close(Position(row.place.slot_ms, row.schedule_id))
        self._let_go(owned, row)

    def _let_go(self, owned: OwnedInstance, row: DamagedRow) -> None:
        owned.end_work()
        self._on_over(row.place.app_id)


def _may_be_replay(home: Row, row: DamagedRow) -> bool:
    """Whether the damaged filing may be the one under which a failed schedule was to be sent again."""
    outcome = home.outcome
    return outcome is not None and outcome.status is Status.FAILURE and home.moved_to == row.place
