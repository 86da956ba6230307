"""Rows that cannot be read: each is recorded as a failure, so that it holds nobody up and somebody sees it.

| what is written, in this order | for whom |
|---|---|
| a note of the damage | who looks after the store: `ringctl doctor` |
| a dead letter | who looks after the app |
| the outcome FAILURE, at the row and at its home row | clients, and this node: the row is live no more |

`settled` passes the row when all of it is durable. The outcome of a home row that has one already is left
alone: then only the filing was damaged, and the schedule is not affected.

Nobody is told by a hook. Whether the schedule had hooks of its own, which stand instead of those of its app,
also where they are none, is in what cannot be read; and there is the dead letter for its app to find.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from ringtime_dispatcher.delivery.ledger import Item, Ledger, State
from ringtime_dispatcher.delivery.recording import OutcomeStore, OutcomeWriter, Record, persist, storable
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.once import OnceLog

_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000


class DamagedRows:
    """What a node does with them.

    Args:
        retention_days: how long their dead letters are kept.
    """

    def __init__(
        self,
        store: OutcomeStore,
        outcomes: OutcomeWriter,
        ledger: Ledger,
        clock: Clock,
        retention_days: int,
        on_letter: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_letter`: told of which app a schedule ends as a dead letter."""
        self._store = store
        self._outcomes = outcomes
        self._ledger = ledger
        self._clock = clock
        self._kept_ms = retention_days * _DAY_MS
        self._on_letter = on_letter
        self._looks: set[asyncio.Task[None]] = set()
        self._said = OnceLog(_log)

    def put(self, item: Item, fault: str) -> None:
        """Record an item that cannot be read, or whose home row cannot, and let go of it then."""
        self._said.warn(
            (item.place, item.schedule_id),
            "schedule %s of %s is not sent: its row in slot %d cannot be read: %s",
            item.schedule_id,
            item.place.instance,
            item.place.slot_ms,
            fault,
        )
        if item.state is State.WAITING:
            self._ledger.begin(item, is_sent=False)
        if item.home is item.place:
            self._record(item, fault, None)
            return
        task = asyncio.create_task(self._look(item, fault), name="look at the home row of a damaged one")
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def close(self) -> None:
        """Stop at once; what is not recorded is found again by the next owner."""
        looks = list(self._looks)
        for task in looks:
            task.cancel()
        if looks:
            await asyncio.wait(looks)

    async def _look(self, item: Item, fault: str) -> None:
        home: Row | None = None
        try:
            home = await persist(self._store.fetch_row, item.home, item.schedule_id)
        except Damaged:
            pass  # then it is recorded there too
        except BaseException:
            self._ledger.leave_open(item)
            raise
        self._record(item, fault, home)

    def _record(self, item: Item, fault: str, home: Row | None) -> None:
        now_ms = self._clock.now_ms()
        outcome = damaged_outcome(fault, now_ms)
        here = RowUpdate(place=item.place, schedule_id=item.schedule_id, outcome=outcome)
        there = RowUpdate(place=item.home, schedule_id=item.schedule_id, outcome=outcome)
        is_decided = home is not None and (home.outcome is not None or home.cancelled_ms is not None)
        is_over = home is not None and is_decided and not _may_be_replay(home, item.place)
        if not is_over:
            self._on_letter(item.place.app_id)
        self._outcomes.put(
            Record(
                schedule_id=item.schedule_id,
                damage=damage_of(item, fault, now_ms),
                letter=None if is_over else damaged_letter_of(item, outcome, now_ms + self._kept_ms),
                home=here if is_decided else there,
                move=None if is_decided or item.home is item.place else here,
                on_durable=partial(self._ledger.settle, item),
                on_refused=partial(self._ledger.leave_open, item),
            )
        )


def _may_be_replay(home: Row, place: Place) -> bool:
    """Whether the damaged filing may be the one under which a failed schedule was to be sent again."""
    outcome = home.outcome
    return outcome is not None and outcome.status is Status.FAILURE and home.moved_to == place


def damaged_outcome(fault: str, now_ms: int) -> Outcome:
    """Return how the delivery of a row that cannot be read ended: it was not sent."""
    error = storable(f"not sent: what is stored of it cannot be read: {fault}")
    return Outcome(status=Status.FAILURE, ended_ms=now_ms, error=error)


def damaged_letter_of(item: Item, outcome: Outcome, expires_ms: int) -> DeadLetter:
    """Return what is kept of it for the app's owner; only its key is known."""
    return DeadLetter(
        app_id=item.place.app_id,
        schedule_id=item.schedule_id,
        slot_ms=item.place.slot_ms,
        fire_ms=item.place.slot_ms,
        failed_ms=outcome.ended_ms,
        attempts=0,
        error=outcome.error,
        callback_type="",
        expires_ms=expires_ms,
    )


def damage_of(item: Item, fault: str, now_ms: int) -> Damage:
    """Return the note for whoever looks after the store."""
    place = item.place
    return Damage(
        table="schedules",
        key=f"{place.instance} {place.slot_ms} {item.schedule_id}",
        app_id=place.app_id,
        fault=storable(fault),
        found_ms=now_ms,
    )
