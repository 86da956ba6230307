"""Fire rows: at their slot, in turn, under the caps, while the lease is trusted; then retry or record.

A row filed again (a retry, a parked row, a replay, a create that was overtaken) is looked at together
with its home row just before it is sent, because cancels and outcomes are written there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from ringtime_dispatcher.delivery.attempt import Attempt, Attempts
from ringtime_dispatcher.delivery.counts import DeliveryCounts
from ringtime_dispatcher.delivery.damaged import DamagedRows
from ringtime_dispatcher.delivery.following import STEPS_AT_ONCE, Follower, FollowerParts
from ringtime_dispatcher.delivery.hooks import hook_row
from ringtime_dispatcher.delivery.ledger import Item, Ledger, RowItem, State
from ringtime_dispatcher.delivery.loads import Loads
from ringtime_dispatcher.delivery.policy import (
    DeliveryPolicy,
    Policies,
    is_missed,
    is_worth_another,
    plan_retry,
)
from ringtime_dispatcher.delivery.queue import Timetable, Turns
from ringtime_dispatcher.delivery.recording import (
    FILING_MARGIN_MS,
    OutcomeStore,
    OutcomeWriter,
    Record,
    age_ms,
    attempt_of,
    closing,
    dead_letter_of,
    last_slot_ms,
    next_filing,
    outcome_of,
    persist,
    storable,
    unsent,
)
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.callbacks.foreign import describe, is_own_cancel
from ringtime_shared.callbacks.protocol import CallbackType, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import decrypt_for_sending, encrypt_row
from ringtime_shared.errors import Damaged, SecretUnreadable
from ringtime_shared.ids import app_number_of
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.names import BREAKER_STATE, DUE_BACKLOG, IN_FLIGHT, PARKED
from ringtime_shared.models.app import App
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER, Side, side_of
from ringtime_shared.recurring.completing import (
    ACCEPTED_CODE,
    accepted,
    accepted_again,
    completion_ms_of,
    noted,
    place_of_note,
)
from ringtime_shared.schedules.changing import (
    BEHIND_MS,
    LOOKS_APART_MS,
    WAIT_MS,
    Verdict,
    is_fresh,
    judge,
    needs_pointed,
)
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import ClaimStore, DamagedRow, Position, RecurringStore

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

_log = logging.getLogger(__name__)
_LOOK_AGAIN_MS = 1_000
_LOOKS_AT_ONCE = 100  #: of one app, at changed filings before their turns
_DAY_MS = 86_400_000
_NO_GOOD_ANSWER = "its destination gave no good answer"
_SHORTAGE_WAIT_MS = (1_000, 3_000)  #: a row that found this node short of something waits so long
PASSED_OVER = (
    "came due before the restore from a backup, up to when it is taken as sent by what was backed up"
)


class DeliveryStore(OutcomeStore, RecurringStore, ClaimStore, Protocol):
    """What delivering needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParts:
    """What a deliverer is made of."""

    store: DeliveryStore
    clock: Clock
    callbacks: Mapping[str, CallbackType]
    find_app: Callable[[str], App | None]
    is_trusted: Callable[[], bool]  #: whether this node's lease is sure to hold now, and its clock right
    dispatch: DispatchSettings
    retry: RetrySettings
    limits: AppLimits
    rng: Random
    slots_ahead: Callable[[], Iterable[int]] = tuple  #: of rows that this node is to read
    sure_ahead: Callable[[], Iterable[int]] = tuple  #: of those of them that are no first filings of runs
    ring: KeyRing | None = None  #: decrypts secrets; None: a callback with secrets fails
    spans: Spans | None = None  #: begins those of attempts; None: there are none
    metrics: Metrics = UNMEASURED


class Deliverer:
    """Has the attempts made, and decides what follows each. What it holds is in the ledger."""

    def __init__(self, parts: DeliveryParts, ledger: Ledger) -> None:
        self.counts = DeliveryCounts(parts.metrics)
        self._parts = parts
        self._clock = parts.clock
        self._ledger = ledger
        self._policies = Policies(parts.dispatch, parts.retry, parts.limits, parts.ring)
        batch_rows = parts.dispatch.outcome_batch
        self._most_unrecorded = max(parts.dispatch.max_in_flight, 2 * batch_rows)
        self._outcomes = OutcomeWriter(parts.store, parts.clock, batch_rows, parts.is_trusted, self.pump)
        # Of their own: what was sent need not wait for the many that are parked when a destination fails.
        self._unsent = OutcomeWriter(parts.store, parts.clock, batch_rows, parts.is_trusted)
        self._damaged = DamagedRows(
            parts.store,
            self._unsent,
            ledger,
            parts.clock,
            parts.limits.retention_days,
            self.counts.failed,
        )
        # Of its own: what follows a run need not wait for the outcomes of those before it, nor they for that.
        self._steps = OutcomeWriter(
            parts.store,
            parts.clock,
            max(batch_rows, STEPS_AT_ONCE),
            parts.is_trusted,
        )
        self._timetable: Timetable[RowItem] = Timetable(parts.clock, self._on_due, self._drop_stopped)
        self._turns = turns = Turns(parts.dispatch, parts.clock, parts.callbacks, self.pump)
        parts.metrics.level(DUE_BACKLOG, lambda: turns.waiting)
        parts.metrics.level(IN_FLIGHT, lambda: turns.under_way)
        parts.metrics.levels(BREAKER_STATE, turns.count_troubled)
        parts.metrics.level(PARKED, turns.count_parked)
        self._follower = Follower(
            FollowerParts(
                store=parts.store,
                clock=parts.clock,
                ledger=ledger,
                outcomes=self._steps,
                deliveries=self,
                is_trusted=parts.is_trusted,
                retention_ms=self._retention_ms,
                on_missed=self.counts.passed_over,
                hook_of=self._hook_of,
                loads=Loads(parts.clock, parts.slots_ahead, parts.sure_ahead),
            )
        )
        self._attempts = Attempts(
            parts.callbacks, parts.clock, parts.ring, parts.spans, is_stopping=lambda: self._is_closing
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once: set[Attempt] = set()  # those that no task sees to, or has not yet begun to
        self._ended: list[tuple[RowItem, bool]] = []  # whose turns end in a moment
        # By app, while some are taken or waited for.
        self._first_looks: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._is_closing = False
        self.sent_until_ms = (
            0  #: what lies under slots up to then was sent before a restore: `apps.restoring`
        )

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        """Fire `row` at its slot; not one that a deleted app of the same id has left behind.

        False: a read returned it before, and nothing is done.
        """
        app = self._parts.find_app(row.place.app_id)
        # A higher number is that of a newer app than this node has read of yet.
        if app is not None and app.number and app_number_of(row.schedule.schedule_id) < app.number:
            return self._ledger.pass_over(owned, row)
        item = RowItem(owned, row)
        if not self._ledger.enter(item):
            return False
        # A changed filing is looked at twice: see `changing`.
        self._timetable.add(row.place.slot_ms - (0 if row.change is None else LOOKS_APART_MS), item)
        return True

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        """Record a row that cannot be read as a failure, unless a read returned it before."""
        item = Item(owned, row.place, row.schedule_id)
        if self._ledger.enter(item):
            self._record_damaged(item, row.fault)

    def pump(self) -> None:
        """Start what is ready, as far as the caps, the lease and what is not recorded yet allow."""
        if self._follower.has_waiting:
            self._follower.go()
        while self._turns.may_start and not self._is_behind and self._parts.is_trusted():
            item = self._turns.take()
            if item is None:
                break
            if item.needs_look:
                self._start(self._deliver(item))
            else:
                self._send(item)

    async def close(self) -> None:
        """Stop at once: cancel what is in flight, drop what waits. Draining comes before this."""
        self._is_closing = True
        self._timetable.close()
        self._turns.close()
        for attempt in self._at_once:
            attempt.drop()
            self._ledger.leave_open(attempt.item)
        self._at_once.clear()
        under_way = list(self._tasks)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        await self._follower.close()
        await self._damaged.close()
        await self._steps.close()
        await self._unsent.close()
        await self._outcomes.close()

    @property
    def turns(self) -> Turns:
        """What is due and waits; to be looked at alone."""
        return self._turns

    @property
    def _is_behind(self) -> bool:
        """Whether outcomes are to be written before more is sent: a crash would have those sent again."""
        return self._outcomes.unwritten >= self._most_unrecorded

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, under way or waited for."""
        is_at_work = self._ledger.held or self._tasks or self._at_once or len(self._timetable)
        return not is_at_work and self._follower.is_idle

    def _on_due(self, item: RowItem) -> None:
        if item.has_step:
            self._follower.put(item)
            return
        if item.row.change is not None and item.seen_ms is None:
            self._start(self._look_first(item))
            return
        try:
            if not self._turns.offer(item, self._policy(item)):
                self._park(item)
        except Damaged as error:
            self._record_damaged(item, error.fault)
        except Exception as error:  # noqa: BLE001 - a bug: it must cost this row alone
            if self._begin(item):
                self.end_in_failure(item, error)
        self.pump()

    def go_on(self, item: RowItem) -> None:
        """What comes before the turn of an item is done: it is a row like others from now on."""
        self._ledger.put_back(item)
        self._on_due(item)

    def _drop_stopped(self, item: RowItem) -> bool:
        """Let go of a row that waits for its slot if its instance was given up meanwhile."""
        if item.owned.is_draining:
            self._ledger.leave_open(item)
        return item.owned.is_draining

    def _send(self, item: RowItem) -> None:
        """See to an item whose turn it is; with a task, if something has to be waited for.

        The lease was looked at just before, with no await in between.
        """
        try:
            if self.take_up(item) and (attempt := self._prepare(item)) is not None:
                if self._attempts.begin(attempt, self._end_attempt):
                    self._note_sent(attempt)
                else:
                    self._start(self._deliver(item, attempt))
                self._at_once.add(attempt)
                return
        except BaseException as error:  # noqa: BLE001 - raised again there where it is meant for us
            self._end_turn_in_failure(item, error)
        self._end_soon(item)

    def _end_attempt(self, attempt: Attempt, reply: Reply) -> None:
        """One that was begun at once has ended."""
        if attempt not in self._at_once:
            return  # it was dropped
        self._at_once.remove(attempt)
        try:
            self._conclude(attempt, attempt.shown(reply))
        except BaseException as error:  # noqa: BLE001 - as above
            self._end_turn_in_failure(attempt.item, error)
        self._end_soon(attempt.item)

    async def _deliver(self, item: RowItem, attempt: Attempt | None = None) -> None:
        """See to an item whose turn it is.

        Args:
            attempt: the one to make; None: it is not prepared, for the home row is to be looked at first.
        """
        has_another = False  # turn, for this node may not send now
        try:
            if attempt is not None:
                self._at_once.discard(attempt)
                has_another = await self._attempt(item, attempt)
            elif self.take_up(item) and await self.is_wanted(item):
                has_another = await self._attempt(item)
        except BaseException as error:  # noqa: BLE001 - as above
            self._end_turn_in_failure(item, error)
        finally:
            self._end_soon(item, has_another=has_another)

    def _end_turn_in_failure(self, item: RowItem, error: BaseException) -> None:
        """What was raised in the turn of an item costs that item alone. Raises an order to stop."""
        try:
            if item.state is not State.UNDER_WAY:
                raise error  # there is nothing to be recorded
            self.end_in_failure(item, error)
        except Exception:  # noqa: BLE001 - logged; nobody waits for a turn
            _log.exception("a bug: the turn of %s ended badly", item.schedule_id, extra=_fields_of(item))

    def _end_soon(self, item: RowItem, *, has_another: bool = False) -> None:
        """End a turn, a moment later: what ends beside it may yet tell of its destination, before more is
        sent there."""
        self._ended.append((item, has_another))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._end_turns)

    def _end_turns(self) -> None:
        ended, self._ended = self._ended, []
        for item, has_another in ended:
            try:
                self._turns.end(item)
                if has_another:
                    self._turns.put_back(item, self._policy(item))
            except Exception:  # noqa: BLE001 - logged; the turns of the others end all the same
                _log.exception("a bug: a turn cannot end", extra=_fields_of(item))
        self.pump()

    def take_up(self, item: RowItem) -> bool:
        """Work on an item; False: not now, for its home row is here too, or another filing under way, whose
        outcome is to decide; or not here, for its instance was given up."""
        if item.owned.is_draining:
            self._ledger.leave_open(item)
            return False
        if item.home is not item.place and item.owned.is_open(Position(item.home.slot_ms, item.schedule_id)):
            self._look_again(item)
            return False
        return self._begin(item)

    def _begin(self, item: RowItem) -> bool:
        """Work on an item; False: another filing of its schedule is under way, and its outcome decides."""
        if self._ledger.begin(item):
            return True
        self._look_again(item)
        return False

    def _look_again(self, item: RowItem) -> None:
        item.needs_look = True
        self._timetable.add_in(_LOOK_AGAIN_MS, item)

    def end_in_failure(self, item: RowItem, error: BaseException) -> None:
        """Record a failure of ours as how this delivery ended. Left open, the row would hold `settled` back
        and yet not be tried again before another node starts at it. Raises an order to stop."""
        if self._is_closing or is_own_cancel(error):
            self._ledger.leave_open(item)
            raise error
        if isinstance(error, Damaged):  # its home row; this filing is of no use without it
            self._record_damaged(item, error.fault)
            return
        of_item = _fields_of(item)
        _log.error(
            "a bug: the delivery of %s ends as a failure", item.schedule_id, exc_info=error, extra=of_item
        )
        try:
            about = storable(f"Ringtime failed at it: {describe(error)}")
            self._give_up(item, unsent(item.row, Status.FAILURE, about, self._clock.now_ms()))
        except Exception:  # noqa: BLE001 - logged; the next owner finds the row as it was
            _log.exception("the failure of %s cannot be recorded", item.schedule_id, extra=of_item)
            self._ledger.leave_open(item)

    def _record_damaged(self, item: Item, fault: str) -> None:
        self._damaged.put(item, fault)

    async def is_wanted(self, item: RowItem) -> bool:
        """Whether this filing of a schedule that has more than one is to be sent now; if not, it is seen to:
        closed, or looked at again."""
        row, store = item.row, self._parts.store
        home = await persist(store.fetch_row, item.home, item.schedule_id)
        pointed = None
        if home is not None and home.moved_to is not None and needs_pointed(row, home):
            with suppress(Damaged):  # whoever reads it records it
                pointed = await persist(store.fetch_row, home.moved_to, item.schedule_id)
        verdict, now_ms = judge(row, home, pointed), self._clock.now_ms()
        if verdict is Verdict.SEND:
            if completion_ms_of(row.schedule) is not None and (worked_on := await self._find_work(row)):
                self._file(item, worked_on)
                return False
            return row.change is None or self._is_sure(item)
        if verdict is Verdict.WAIT and home is not None:
            item.seen_ms = None
            if self._wait(item, home, now_ms):
                return False
        if item.home is item.place or home is None:
            self._ledger.settle(item)
        else:
            self._record(item, closing(row, home, now_ms))
        return False

    async def _find_work(self, row: Row) -> Row | None:
        """Return the filing for a receiver's work on a run, if it works on that while this one is due."""
        if row.schedule.work is not None:
            return None
        schedule_id = row.schedule.schedule_id
        place = place_of_note(row.place.app_id, schedule_id, row.replay)
        note = None
        with suppress(Damaged):  # then it is sent once more
            note = await persist(self._parts.store.fetch_row, place, schedule_id)
        return accepted_again(row, note)

    def _is_sure(self, item: RowItem) -> bool:
        """Whether a changed filing that is in force may be sent now; if not, it is looked at again."""
        now_ms, boot_ms = self._clock.now_ms(), self._clock.boot_ms()
        if item.seen_ms is None:
            item.seen_ms = boot_ms
        sure_in_ms = item.seen_ms + LOOKS_APART_MS - boot_ms if is_fresh(item.row, now_ms) else 0
        slot_in_ms = item.place.slot_ms - now_ms
        if max(sure_in_ms, slot_in_ms) <= 0:
            return True
        self._ledger.put_back(item)
        if slot_in_ms >= sure_in_ms:
            self._timetable.add(item.place.slot_ms, item)
        else:
            self._timetable.add_in(sure_in_ms, item)
        return False

    def _wait(self, item: RowItem, home: Row, now_ms: int) -> bool:
        """Let a filing that is not in force wait; False: it would wait for longer than it is kept."""
        if is_fresh(item.row, now_ms):
            self._ledger.put_back(item)
            self._timetable.add_in(WAIT_MS, item)
            return True
        slot_ms = max((home.moved_to or home.place).slot_ms, now_ms) + BEHIND_MS
        if slot_ms >= last_slot_ms(item.row, item.row.schedule.expires_ms):
            return False
        again = next_filing(item.row, slot_ms)
        here = RowUpdate(place=item.place, schedule_id=item.schedule_id, moved_to=again.place)
        self._record(item, here, filings=(again,))
        return True

    async def _attempt(self, item: RowItem, attempt: Attempt | None = None) -> bool:
        """Make an attempt and conclude it; True: this node may not send now, so the item waits again."""
        if not self._parts.is_trusted() or item.owned.is_draining:  # no await between this and the send
            self._ledger.put_back(item)
            return True
        if attempt is None:
            attempt = self._prepare(item)
            if attempt is None:
                return False
        else:
            attempt.stamp(self._clock)
        self._note_sent(attempt)
        self._conclude(attempt, await self._attempts.make(attempt))
        return False

    def _prepare(self, item: RowItem) -> Attempt | None:
        """Return the attempt to make; None: none is to be made, and the item is seen to."""
        row, policy = item.row, self._policy(item)
        now_ms, sending = self._clock.now_ms(), row.schedule.sending
        if row.place.slot_ms <= self.sent_until_ms:
            self._pass_over(item, now_ms)
            return None
        if sending is not None and sending.twin and self._is_goschedulers(row):
            self.counts.shadowed(row, now_ms)
            outcome = unsent(row, Status.MISS, LEFT_TO_GOSCHEDULER, now_ms)
            # Without a hook: what became of it is not known here.
            self._record(item, RowUpdate(place=item.home, schedule_id=item.schedule_id, outcome=outcome))
            return None
        if is_missed(policy, slot_ms=row.place.slot_ms, now_ms=now_ms) and row.schedule.hook_of is None:
            self.counts.missed(row.place.app_id)
            self._settle(item, unsent(row, Status.MISS, "came due too late", now_ms))
            return None
        timeout_ms = self._turns.timeout_ms(row.schedule, policy)
        attempt = self._attempts.prepare(item, policy, timeout_ms, now_ms)
        if attempt.fault:
            reply = Reply(ok=False, error=storable(f"not sent: {attempt.fault}"))
            self._conclude(attempt, reply, was_asked=False)
            return None
        return attempt

    def _is_goschedulers(self, row: Row) -> bool:
        """Whether goscheduler delivers a schedule that it has as well; see `ringtime_shared.shadow`."""
        app = self._parts.find_app(row.place.app_id)
        return side_of(None if app is None else app.shadow, row.schedule.fire_ms) is Side.GOSCHEDULER

    def _note_sent(self, attempt: Attempt) -> None:
        attempt.item.was_sent = True
        self.counts.began(attempt.item.row, attempt.at_ms)

    def _conclude(self, attempt: Attempt, reply: Reply, *, was_asked: bool = True) -> None:
        """Decide what follows an attempt.

        Args:
            was_asked: else this node could not make it, which says nothing of the destination.
        """
        item, policy, at_ms = attempt.item, attempt.policy, attempt.at_ms
        took_ms = self._clock.boot_ms() - attempt.begun_ms if was_asked else 0
        row, now_ms = item.row, self._clock.now_ms()
        if reply.is_shortage and not reply.ok:
            self.counts.attempted(row, reply, "shortage", took_ms)
            self._turns.hold_off(item)
            slot_ms = now_ms + self._parts.rng.randint(*_SHORTAGE_WAIT_MS)
            self._file_for_later(item, slot_ms, why=reply.error)
            return
        for waiting in self._turns.note(item, reply) if was_asked else ():
            self._park(waiting)
        if reply.ok:
            self.counts.attempted(row, reply, "success", took_ms)
            if reply.code == ACCEPTED_CODE and (completion_ms := completion_ms_of(row.schedule)) is not None:
                last_ms = last_slot_ms(row, row.schedule.expires_ms)
                work = accepted(
                    row, sent_ms=at_ms, now_ms=now_ms, completion_ms=completion_ms, last_ms=last_ms
                )
                note = (noted(work), Outcome(status=Status.SUCCESS, ended_ms=now_ms))
                self._file(item, work, notes=(note,))
                return
            self.counts.succeeded(item.place.app_id)
            self._settle(item, outcome_of(row, reply, at_ms=at_ms, took_ms=took_ms))
            return
        retry = self._policies.of_schedule(row.schedule, policy)
        wait_ms = plan_retry(
            reply,
            attempts=row.attempts + 1,
            age_ms=age_ms(row, now_ms),
            policy=retry,
            rng=self._parts.rng,
        )
        if was_asked:
            self.counts.attempted(row, reply, "failure" if wait_ms is None else "retry", took_ms)
        if wait_ms is None:
            if reply.says_gone and not is_worth_another(reply, retry):
                for waiting in self._turns.pause(item, policy):
                    self._park(waiting)
            self._give_up(item, outcome_of(row, reply, at_ms=at_ms, took_ms=took_ms))
            return
        slot_ms = now_ms + max(wait_ms, FILING_MARGIN_MS)
        self._file(item, next_filing(row, slot_ms, attempt_of(reply, at_ms=at_ms, took_ms=took_ms)))

    def conclude(self, item: RowItem, outcome: Outcome) -> None:
        """Record how the work of a receiver ended, which had answered before. This filing is the last one
        then, where a dead letter is looked for."""
        if item.place.slot_ms <= self.sent_until_ms:
            self._pass_over(item, self._clock.now_ms())
            return
        if outcome.status is Status.SUCCESS:
            self.counts.succeeded(item.place.app_id)
            self._settle(item, outcome, last=item.place)
        else:
            self._give_up(item, outcome, last=item.place)

    def _pass_over(self, item: RowItem, now_ms: int) -> None:
        """Record a row that the deployment which was backed up is taken to have sent. Nobody is told that it
        was not."""
        self.counts.missed(item.place.app_id)
        self._settle(item, unsent(item.row, Status.MISS, PASSED_OVER, now_ms))

    def _park(self, item: RowItem) -> None:
        """File a row for later without an attempt: its destination is in trouble."""
        if item.owned.is_draining:
            self._ledger.leave_open(item)
        elif self._begin(item):
            if item.needs_look:
                self._start(self._park_if_wanted(item))
                return
            try:
                self._file_for_later(item)
            except Exception as error:  # noqa: BLE001 - a bug: it must cost this row alone
                self.end_in_failure(item, error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_first(self, item: RowItem) -> None:
        """Take the first look at a changed filing; the second comes with its turn. Reads that hang keep
        those of their own app waiting alone."""
        app_id = item.place.app_id
        looks = self._first_looks.get(app_id)
        if looks is None:
            looks = self._first_looks[app_id] = asyncio.Semaphore(_LOOKS_AT_ONCE)
        async with looks:
            if not self.take_up(item):
                return
            try:
                if await self.is_wanted(item):
                    self.go_on(item)
            except BaseException as error:  # noqa: BLE001 - raised again there where it is meant for us
                self.end_in_failure(item, error)

    async def _park_if_wanted(self, item: RowItem) -> None:
        try:
            if await self.is_wanted(item):
                self._file_for_later(item)
        except BaseException as error:  # noqa: BLE001 - raised again there where it is meant for us
            self.end_in_failure(item, error)

    def _file_for_later(self, item: RowItem, slot_ms: int | None = None, why: str = _NO_GOOD_ANSWER) -> None:
        """File a row again as it is.

        Args:
            slot_ms: for when; None: as the state of its destination says.
            why: what kept it from being sent.
        """
        row, now_ms = item.row, self._clock.now_ms()
        if row.place.slot_ms <= self.sent_until_ms:
            self._pass_over(item, now_ms)
            return
        retry = self._policies.of_schedule(row.schedule, self._policy(item))
        last_ms = last_slot_ms(row, retry.max_age_ms)
        if now_ms >= last_ms:
            error = storable(f"not sent: {why} until it was too old")
            self._give_up(item, unsent(row, Status.FAILURE, error, now_ms))
            return
        if slot_ms is None:
            slot_ms = self._turns.park_slot(item)
        again = next_filing(row, max(min(slot_ms, last_ms), now_ms + FILING_MARGIN_MS))
        self.counts.parked()
        self._file(item, again)

    def _file(self, item: RowItem, again: Row, notes: tuple[tuple[Row, Outcome], ...] = ()) -> None:
        """Make the next filing durable, then point at it: what it knows survives a crash.

        Args:
            notes: rows that nobody need read, and how they are closed.
        """
        pointer = RowUpdate(place=item.home, schedule_id=item.schedule_id, moved_to=again.place)
        self._record(item, pointer, filings=(again,), notes=notes)

    def _give_up(self, item: RowItem, outcome: Outcome, last: Place | None = None) -> None:
        app = self._parts.find_app(item.place.app_id)
        # Nobody could find the letter of an app that is gone, and the next one of its id must not.
        is_leaving = app is None or (app.deletion is not None and app.deletion.cancels)
        self.counts.failed(item.place.app_id, is_buried=not is_leaving)
        self._settle(item, outcome, None if is_leaving else dead_letter_of(item.row, outcome), last)

    def _settle(
        self,
        item: RowItem,
        outcome: Outcome,
        letter: DeadLetter | None = None,
        last: Place | None = None,
    ) -> None:
        """Write how the schedule ended; `last`: where its last filing is, if its home row does not say so."""
        update = RowUpdate(place=item.home, schedule_id=item.schedule_id, moved_to=last, outcome=outcome)
        hook = self._hook_of(item.row, outcome)
        self._record(item, update, filings=() if hook is None else (hook,), letter=letter)

    def _hook_of(self, row: Row, outcome: Outcome, others: int = 0) -> Row | None:
        """Return what is to be filed before this outcome is recorded, if somebody is to be told of it.

        Args:
            others: how many more of the same recurring schedule ended so with it.
        """
        if row.place.slot_ms <= self.sent_until_ms:
            return None
        sending, app = row.schedule.sending, self._parts.find_app(row.place.app_id)
        app_hooks = None if app is None else app.configuration.hooks
        if app_hooks is None and (sending is None or sending.hooks is None):
            return None
        if app is None or (app.deletion is not None and app.deletion.cancels):
            return None  # nobody would send it, and the next app of this id must not
        retention_ms = self._retention_ms(row.place.app_id)
        now_ms = self._clock.now_ms()
        if sending is not None and sending.is_encrypted:  # the hook may have the payload
            with suppress(SecretUnreadable):
                row = replace(row, schedule=decrypt_for_sending(self._parts.ring, row.schedule, {})[0])
        hook = hook_row(row, outcome, app_hooks, now_ms=now_ms, retention_ms=retention_ms, others=others)
        return hook if hook is None or self._parts.ring is None else encrypt_row(self._parts.ring, hook)

    def _record(
        self,
        item: RowItem,
        home: RowUpdate,
        *,
        filings: tuple[Row, ...] = (),
        letter: DeadLetter | None = None,
        notes: tuple[tuple[Row, Outcome], ...] = (),
    ) -> None:
        """Write how the schedule goes on at its home row, and the same at the filing just tried."""
        writer = self._outcomes if item.was_sent else self._unsent
        writer.put(
            Record(
                schedule_id=item.schedule_id,
                home=home,
                move=None if home.place == item.place else replace(home, place=item.place),
                filings=filings,
                missed=notes,
                letter=letter,
                on_durable=partial(self._ledger.settle, item),
                on_refused=partial(self._ledger.leave_open, item),
                is_given_up=lambda: item.owned.is_draining,
            )
        )

    def _retention_ms(self, app_id: str) -> int:
        app = self._parts.find_app(app_id)
        days = app.configuration.retention_days if app is not None else None
        return (days or self._parts.limits.retention_days) * _DAY_MS

    def _policy(self, item: RowItem) -> DeliveryPolicy:
        app_id = item.place.app_id
        return self._policies.of_app(app_id, self._parts.find_app(app_id))


def _fields_of(item: Item) -> dict[str, object]:
    """Return what log lines say of an item beside their words."""
    return {"app_id": item.place.app_id, "schedule_id": item.schedule_id}
