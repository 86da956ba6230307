"""Fire rows: at their slot, in turn, under the caps, while the lease is trusted; then retry or record.

A row filed again (a retry, a parked row, a replay, a create that was overtaken) is looked at together
with its home row just before it is sent, because cancels and outcomes are written there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from uuid import UUID

from ringtime_dispatcher.delivery.attempts import make_attempt, storable
from ringtime_dispatcher.delivery.damaged import DamagedRows
from ringtime_dispatcher.delivery.ledger import Item, Tally
from ringtime_dispatcher.delivery.memory import Places
from ringtime_dispatcher.delivery.policy import DeliveryPolicy, Policies, is_missed
from ringtime_dispatcher.delivery.queue import Turns
from ringtime_dispatcher.delivery.recording import (
    FILING_MARGIN_MS,
    OutcomeStore,
    OutcomeWriter,
    Record,
    persist,
)
from ringtime_dispatcher.delivery.records import (
    age_ms,
    attempt_of,
    closing,
    dead_letter_of,
    home_place,
    is_wanted,
    last_slot_ms,
    next_filing,
    outcome_of,
    unsent,
)
from ringtime_dispatcher.delivery.retries import plan_retry
from ringtime_dispatcher.delivery.timetable import Timetable
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.callbacks.foreign import describe, is_own_cancel
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.app import App
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import DamagedRow, Position

_log = logging.getLogger(__name__)
_LOOK_AGAIN_MS = 1_000
_NO_GOOD_ANSWER = "its destination gave no good answer"
_SHORTAGE_WAIT_MS = (1_000, 3_000)  #: a row that found this node short of something waits so long


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParts:
    """What a deliverer is made of."""

    store: OutcomeStore
    clock: Clock
    callbacks: Mapping[str, CallbackType]
    find_app: Callable[[str], App | None]
    is_trusted: Callable[[], bool]  #: whether this node's lease is sure to hold now, and its clock right
    dispatch: DispatchSettings
    retry: RetrySettings
    limits: AppLimits
    rng: Random


class Deliverer:
    """The rows a node holds, and the attempts it is making."""

    def __init__(self, parts: DeliveryParts, on_room: Callable[[], None]) -> None:
        self.tally = Tally()
        self._parts = parts
        self._clock = parts.clock
        self._on_room = on_room
        self._policies = Policies(parts.dispatch, parts.retry, parts.limits)
        self._outcomes = OutcomeWriter(parts.store, parts.clock, parts.dispatch.outcome_batch)
        self._damaged = DamagedRows(
            parts.store, self._outcomes, parts.clock, parts.limits.retention_days, self._free_place
        )
        self._timetable: Timetable[Item] = Timetable(parts.clock, self._on_due, self._drop_stopped)
        self._turns = Turns(parts.dispatch, parts.clock, parts.callbacks, self.pump)
        self._places = Places(parts.dispatch.max_loaded)
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: set[asyncio.Task[None]] = set()  # at home rows, of what is about to be parked
        self._under_way: set[UUID] = set()  # schedules in flight or unrecorded
        self._is_closing = False

    @property
    def is_short(self) -> bool:
        """Whether rows of some app stay in the store until there is room for them."""
        return self._places.is_short

    def room(self, app_id: str) -> int:
        """Return how many more rows of this app may be held."""
        return self._places.room(app_id)

    def accept(self, owned: OwnedInstance, row: Row) -> None:
        """Fire `row` at its slot; not one that a deleted app of the same id has left behind."""
        app = self._parts.find_app(row.place.app_id)
        # A higher number is that of a newer app than this node has read of yet.
        if app is not None and app_number_of(row.schedule.schedule_id) < app.number:
            owned.close(Position(row.place.slot_ms, row.schedule.schedule_id))
            return
        self._places.add(row.place.app_id)
        self._timetable.add(row.place.slot_ms, Item(owned, row, needs_look=not row.is_home))

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        """Record a row that cannot be read as a failure."""
        self.tally.failed += 1
        self._places.add(row.place.app_id)
        self._damaged.put(owned, row)

    def pump(self) -> None:
        """Start what is ready, as far as the caps and the lease allow."""
        while self._parts.is_trusted():
            item = self._turns.take()
            if item is None:
                break
            if item.owned.is_draining:
                self._turns.end(item)
                self._let_go(item)
                continue
            item.owned.begin_work()
            task = asyncio.create_task(self._deliver(item))
            self._tasks.add(task)
            task.add_done_callback(partial(self._on_task_done, item))

    async def close(self) -> None:
        """Stop at once: cancel what is in flight, drop what waits. Draining comes before this."""
        self._is_closing = True
        self._timetable.close()
        self._turns.close()
        under_way = self._tasks | self._looks
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        await self._damaged.close()
        await self._outcomes.close()

    def _on_due(self, item: Item) -> None:
        try:
            if not self._turns.offer(item, self._policy(item)):
                self._park(item)
        except Damaged as error:
            self._let_go(item)
            self.reject(item.owned, DamagedRow(item.row.place, item.schedule_id, error.fault))
        except Exception as error:  # noqa: BLE001 - a bug: it must cost this row alone
            self._on_bug(item, error)
        self.pump()

    def _drop_stopped(self, item: Item) -> bool:
        """Let go of a row that waits for its slot if its instance was given up meanwhile."""
        if item.owned.is_draining:
            self._let_go(item)
        return item.owned.is_draining

    def _on_task_done(self, item: Item, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._turns.end(item)
        self.pump()

    async def _deliver(self, item: Item) -> None:
        row = item.row
        home_key = Position(home_place(row).slot_ms, item.schedule_id)
        if item.schedule_id in self._under_way or (not row.is_home and item.owned.is_open(home_key)):
            # Another filing of the same schedule is here too: let its outcome decide.
            item.owned.end_work()
            self._look_again(item)
            return
        self._under_way.add(item.schedule_id)
        try:
            if not item.needs_look or await self._is_wanted(item):
                await self._attempt(item)
        except BaseException as error:
            if self._is_closing or is_own_cancel(error):
                self._leave_open(item)
                raise
            self._end_in_failure(item, error)

    def _on_bug(self, item: Item, error: Exception) -> None:
        """End the delivery of a row that could not even be queued."""
        if item.schedule_id in self._under_way:
            self._look_again(item)
            return
        item.owned.begin_work()
        self._under_way.add(item.schedule_id)
        self._end_in_failure(item, error)

    def _end_in_failure(self, item: Item, error: BaseException) -> None:
        """Record a failure of ours as how this delivery ended. Left open, the row would hold `settled` back
        and yet not be tried again before another node starts at it."""
        if isinstance(error, Damaged):  # its home row; this filing is of no use without it
            self._leave_open(item)
            self.reject(item.owned, DamagedRow(item.row.place, item.schedule_id, error.fault))
            return
        _log.error("a bug: the delivery of %s ends as a failure", item.schedule_id, exc_info=error)
        try:
            about = storable(f"Ringtime failed at it: {describe(error)}")
            self._give_up(item, unsent(item.row, Status.FAILURE, about, self._clock.now_ms()))
        except Exception:  # noqa: BLE001 - logged; the next owner finds the row as it was
            _log.exception("the failure of %s cannot be recorded", item.schedule_id)
            self._leave_open(item)

    def _look_again(self, item: Item) -> None:
        item.needs_look = True
        self._timetable.add(self._clock.now_ms() + _LOOK_AGAIN_MS, item)

    async def _is_wanted(self, item: Item) -> bool:
        """Whether a schedule with more than one filing is still to fire; if not, see this filing off."""
        row = item.row
        home = await persist(lambda: self._parts.store.fetch_row(home_place(row), item.schedule_id))
        if is_wanted(row, home):
            return True
        if row.is_home or home is None:
            self._finish(item)
        else:
            self._record(item, home=closing(row, home, self._clock.now_ms()))
        return False

    async def _attempt(self, item: Item) -> None:
        row, policy = item.row, self._policy(item)
        if not self._parts.is_trusted() or item.owned.is_draining:  # no await between this and the send
            self._put_down(item)
            self._turns.put_back(replace(item), policy)  # this one is under way until its task ends
            return
        now_ms = self._clock.now_ms()
        if is_missed(policy, slot_ms=row.place.slot_ms, now_ms=now_ms):
            self.tally.missed += 1
            self._settle(item, unsent(row, Status.MISS, "came due too late", now_ms))
            return
        self.tally.sent += 1
        delivery = Delivery(
            schedule=row.schedule,
            details=item.details or {},
            attempt=row.attempts + 1,
            term=item.owned.term,
            timeout_ms=self._turns.timeout_ms(row.schedule, policy),
            secrets=policy.secrets,
        )
        begun_ms = self._clock.boot_ms()
        reply = await make_attempt(self._parts.callbacks, delivery, lambda: self._is_closing)
        self._conclude(item, policy, reply, at_ms=now_ms, took_ms=self._clock.boot_ms() - begun_ms)

    def _conclude(
        self, item: Item, policy: DeliveryPolicy, reply: Reply, *, at_ms: int, took_ms: int
    ) -> None:
        row, now_ms = item.row, self._clock.now_ms()
        if reply.is_shortage and not reply.ok:
            self._turns.hold_off(item)
            slot_ms = now_ms + self._parts.rng.randint(*_SHORTAGE_WAIT_MS)
            self._file_for_later(item, slot_ms, why=reply.error)
            return
        for waiting in self._turns.note(item, reply):
            self._park(waiting)
        if reply.ok:
            self.tally.succeeded += 1
            self._settle(item, outcome_of(row, reply, at_ms=at_ms, took_ms=took_ms))
            return
        wait_ms = plan_retry(
            reply,
            attempts=row.attempts + 1,
            age_ms=age_ms(row, now_ms),
            policy=self._policies.of_schedule(row.schedule, policy),
            rng=self._parts.rng,
        )
        if wait_ms is None:
            self._give_up(item, outcome_of(row, reply, at_ms=at_ms, took_ms=took_ms))
            return
        self.tally.retried += 1
        slot_ms = now_ms + max(wait_ms, FILING_MARGIN_MS)
        self._file(item, next_filing(row, slot_ms, attempt_of(reply, at_ms=at_ms, took_ms=took_ms)))

    def _park(self, item: Item) -> None:
        """File a row for later without an attempt: its destination is in trouble."""
        if item.owned.is_draining:
            self._let_go(item)
            return
        if item.schedule_id in self._under_way:
            self._look_again(item)
            return
        item.owned.begin_work()
        self._under_way.add(item.schedule_id)
        if item.needs_look:
            task = asyncio.create_task(self._park_if_wanted(item))
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)
        else:
            self._file_for_later(item)

    async def _park_if_wanted(self, item: Item) -> None:
        try:
            if await self._is_wanted(item):
                self._file_for_later(item)
        except BaseException as error:
            if self._is_closing or is_own_cancel(error):
                self._leave_open(item)
                raise
            self._end_in_failure(item, error)

    def _file_for_later(self, item: Item, slot_ms: int | None = None, why: str = _NO_GOOD_ANSWER) -> None:
        """File a row again as it is.

        Args:
            slot_ms: for when; None: as the state of its destination says.
            why: what kept it from being sent.
        """
        row, now_ms = item.row, self._clock.now_ms()
        retry = self._policies.of_schedule(row.schedule, self._policy(item))
        last_ms = last_slot_ms(row, retry.max_age_ms)
        if now_ms >= last_ms:
            error = storable(f"not sent: {why} until it was too old")
            self._give_up(item, unsent(row, Status.FAILURE, error, now_ms))
            return
        self.tally.parked += 1
        if slot_ms is None:
            slot_ms = self._turns.park_slot(item)
        self._file(item, next_filing(row, max(min(slot_ms, last_ms), now_ms + FILING_MARGIN_MS)))

    def _file(self, item: Item, again: Row) -> None:
        """Make the next filing durable, then point at it: what it knows survives a crash."""
        pointer = RowUpdate(place=home_place(item.row), schedule_id=item.schedule_id, moved_to=again.place)
        move = RowUpdate(place=item.row.place, schedule_id=item.schedule_id, moved_to=again.place)
        self._record(item, home=pointer, move=move, filing=again)

    def _give_up(self, item: Item, outcome: Outcome) -> None:
        self.tally.failed += 1
        app = self._parts.find_app(item.app_id)
        # Nobody could find the letter of an app that is gone, and the next one of its id must not.
        is_leaving = app is None or (app.deletion is not None and app.deletion.cancels)
        self._settle(item, outcome, None if is_leaving else dead_letter_of(item.row, outcome))

    def _settle(self, item: Item, outcome: Outcome, letter: DeadLetter | None = None) -> None:
        home = RowUpdate(place=home_place(item.row), schedule_id=item.schedule_id, outcome=outcome)
        move = RowUpdate(place=item.row.place, schedule_id=item.schedule_id, outcome=outcome)
        self._record(item, home=home, move=move, letter=letter)

    def _record(
        self,
        item: Item,
        *,
        home: RowUpdate,
        move: RowUpdate | None = None,
        filing: Row | None = None,
        letter: DeadLetter | None = None,
    ) -> None:
        self._outcomes.put(
            Record(
                home=home,
                move=None if item.row.is_home else move,
                filing=filing,
                letter=letter,
                on_durable=partial(self._finish, item),
                on_refused=partial(self._leave_open, item),
                is_given_up=lambda: item.owned.is_draining,
            )
        )

    def _finish(self, item: Item) -> None:
        """What was to be written of this filing is durable."""
        item.owned.close(item.key)
        self._put_down(item)
        self._let_go(item)

    def _leave_open(self, item: Item) -> None:
        """No store takes what was to be written: the next owner finds the row as it was."""
        self._put_down(item)
        self._let_go(item)

    def _put_down(self, item: Item) -> None:
        self._under_way.discard(item.schedule_id)
        item.owned.end_work()

    def _let_go(self, item: Item) -> None:
        self._free_place(item.app_id)

    def _free_place(self, app_id: str) -> None:
        if self._places.remove(app_id):
            self._on_room()

    def _policy(self, item: Item) -> DeliveryPolicy:
        return self._policies.of_app(item.app_id, self._parts.find_app(item.app_id))
