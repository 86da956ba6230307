"""Fire rows: at their slot, under the cap, while the lease is trusted; then retry or record.

A row filed again (a retry, or a create that was overtaken) is looked at together with its home row just
before it is sent, because cancels and outcomes are written there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar
from uuid import UUID

from ringtime_dispatcher.instances import OwnedInstance
from ringtime_dispatcher.outcomes import OutcomeWriter, Record
from ringtime_dispatcher.policy import DeliveryPolicy, is_missed, policy_of
from ringtime_dispatcher.retries import plan_retry
from ringtime_dispatcher.timetable import Timetable
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import Position, ScheduleStore

T = TypeVar("T")
_log = logging.getLogger(__name__)
_ERROR_CHARS = 200
_STORE_RETRY_S = 0.25
_LOOK_AGAIN_MS = 1_000
_RETRY_MARGIN_MS = 1_000  #: a retry's slot is at least this far ahead: time for its row to become durable


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParts:
    """What a deliverer is made of."""

    store: ScheduleStore
    clock: Clock
    callbacks: Mapping[str, CallbackType]
    find_app: Callable[[str], App | None]
    is_trusted: Callable[[], bool]  #: whether this node's lease is sure to hold now
    dispatch: DispatchSettings
    retry: RetrySettings
    limits: AppLimits
    rng: Random


@dataclass(slots=True)
class Tally:
    """What a node has done since it started."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    missed: int = 0
    found_late: int = 0


@dataclass(frozen=True, slots=True)
class _Item:
    owned: OwnedInstance
    row: Row
    needs_look: bool  #: the home row has to be looked at before this filing is sent

    @property
    def key(self) -> Position:
        return Position(self.row.place.slot_ms, self.row.schedule.schedule_id)


class Deliverer:
    """The rows a node holds, and the attempts it is making."""

    def __init__(self, parts: DeliveryParts, on_room: Callable[[], None]) -> None:
        self.tally = Tally()
        self._parts = parts
        self._clock = parts.clock
        self._on_room = on_room
        self._outcomes = OutcomeWriter(parts.store, parts.dispatch.outcome_batch)
        self._timetable: Timetable[_Item] = Timetable(parts.clock, self._on_due)
        self._ready: deque[_Item] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[UUID] = set()  # schedules in flight or unrecorded
        self._held = 0  # rows in the timetable, ready, in flight or unrecorded

    def room(self) -> int:
        """Return how many more rows may be held."""
        return self._parts.dispatch.max_loaded - self._held

    def accept(self, owned: OwnedInstance, row: Row) -> None:
        """Fire `row` at its slot."""
        self._held += 1
        self._timetable.add(row.place.slot_ms, _Item(owned, row, needs_look=not row.is_home))

    def pump(self) -> None:
        """Start what is ready, as far as the cap and the lease allow."""
        cap = self._parts.dispatch.max_in_flight
        while self._ready and len(self._tasks) < cap and self._parts.is_trusted():
            item = self._ready.popleft()
            if item.owned.is_draining:
                self._let_go()
                continue
            item.owned.begin_work()
            task = asyncio.create_task(self._deliver(item))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)

    async def close(self) -> None:
        """Stop at once: cancel what is in flight, drop what waits. Draining comes before this."""
        self._timetable.close()
        self._ready.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._outcomes.close()

    def _on_due(self, item: _Item) -> None:
        self._ready.append(item)
        self.pump()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a delivery ended in a bug", exc_info=task.exception())
        self.pump()

    def _let_go(self) -> None:
        self._held -= 1
        if self._held * 2 <= self._parts.dispatch.max_loaded:
            self._on_room()

    async def _deliver(self, item: _Item) -> None:
        schedule_id = item.row.schedule.schedule_id
        if schedule_id in self._under_way or (
            not item.row.is_home and item.owned.is_open(self._home_key(item))
        ):
            # Another filing of the same schedule is here too: let its outcome decide.
            item.owned.end_work()
            self._timetable.add(self._clock.now_ms() + _LOOK_AGAIN_MS, replace(item, needs_look=True))
            return
        self._under_way.add(schedule_id)
        try:
            if not item.needs_look or await self._is_wanted(item):
                await self._attempt(item)
        except BaseException:
            self._put_down(item)
            self._let_go()
            raise

    async def _is_wanted(self, item: _Item) -> bool:
        """Whether a schedule with more than one filing is still to fire; if not, see this filing off."""
        row = item.row
        home_place = self._home_place(row)
        home = await self._persist(lambda: self._parts.store.fetch_row(home_place, row.schedule.schedule_id))
        if home is None or (home.outcome is None and home.cancelled_ms is None):
            return True
        if row.is_home:
            self._finish(item)
        else:
            closing = home.outcome or Outcome(status=Status.DELETED, ended_ms=self._clock.now_ms())
            closed = RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=closing)
            self._record(item, closed)
        return False

    async def _attempt(self, item: _Item) -> None:
        row, schedule = item.row, item.row.schedule
        policy = policy_of(self._parts.find_app(schedule.app_id), self._parts.limits)
        now_ms = self._clock.now_ms()
        if is_missed(policy, slot_ms=row.place.slot_ms, now_ms=now_ms):
            self.tally.missed += 1
            self._settle(
                item,
                Outcome(
                    status=Status.MISS, ended_ms=now_ms, attempts=row.attempts, error="came due too late"
                ),
            )
            return
        if not self._parts.is_trusted() or item.owned.is_draining:  # no await between this and the send
            self._put_down(item)
            self._ready.append(item)
            return
        self.tally.sent += 1
        reply = await self._invoke(item, policy)
        attempts = row.attempts + 1
        if reply.ok:
            self.tally.succeeded += 1
            status = Status.SUCCESS
        else:
            wait_ms = plan_retry(
                reply,
                attempts=attempts,
                max_attempts=policy.max_attempts,
                settings=self._parts.retry,
                rng=self._parts.rng,
            )
            if wait_ms is not None:
                await self._file_retry(item, attempts, wait_ms)
                return
            self.tally.failed += 1
            status = Status.FAILURE
        self._settle(
            item,
            Outcome(
                status=status,
                ended_ms=self._clock.now_ms(),
                fired_ms=now_ms,
                attempts=attempts,
                code=reply.code,
                error=_storable(reply.error),
            ),
        )

    async def _invoke(self, item: _Item, policy: DeliveryPolicy) -> Reply:
        schedule = item.row.schedule
        kind = self._parts.callbacks.get(schedule.callback_type)
        if kind is None:
            return Reply(ok=False, error=f"callback type {schedule.callback_type} is not registered here")
        delivery = Delivery(
            schedule=schedule,
            attempt=item.row.attempts + 1,
            term=item.owned.term,
            timeout_ms=policy.timeout_ms,
        )
        try:
            async with asyncio.timeout(policy.timeout_ms / 1000):
                reply: object = await kind.invoke(delivery)
        except TimeoutError:
            return Reply(ok=False, error=f"no answer within {policy.timeout_ms} ms")
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it is a failed attempt
            return Reply(ok=False, error=f"{type(error).__name__}: {error}")
        if isinstance(reply, Reply):
            return reply
        return Reply(ok=False, error=f"the callback type returned {type(reply).__name__}, not a Reply")

    async def _file_retry(self, item: _Item, attempts: int, wait_ms: int) -> None:
        """Make the next attempt durable, then point at it: the attempt count survives a crash."""
        row = item.row
        self.tally.retried += 1
        slot_ms = max(self._clock.now_ms() + max(wait_ms, _RETRY_MARGIN_MS), item.owned.sealing_ms + 1)
        place = row.place._replace(slot_ms=slot_ms)
        again = Row(schedule=row.schedule, place=place, attempts=attempts)
        await self._persist(lambda: self._parts.store.put_rows([again]))
        key = Position(slot_ms, row.schedule.schedule_id)
        # A write so slow that the final read of its slot may have missed it: hold the row here, which is as
        # good as having read it, because `settled` is still below the row just tried.
        if slot_ms <= item.owned.sealing_ms and item.owned.take(key):
            self.accept(item.owned, again)
        self._record(
            item,
            RowUpdate(place=self._home_place(row), schedule_id=row.schedule.schedule_id, moved_to=place),
            RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, moved_to=place),
        )

    @staticmethod
    async def _persist(call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a store call until it answers; a node that stops cancels the delivery around it."""
        while True:
            try:
                return await call()
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(_STORE_RETRY_S)

    def _settle(self, item: _Item, outcome: Outcome) -> None:
        row, schedule_id = item.row, item.row.schedule.schedule_id
        self._record(
            item,
            RowUpdate(place=self._home_place(row), schedule_id=schedule_id, outcome=outcome),
            RowUpdate(place=row.place, schedule_id=schedule_id, outcome=outcome),
        )

    def _record(self, item: _Item, home: RowUpdate, move: RowUpdate | None = None) -> None:
        self._outcomes.put(Record(home, None if item.row.is_home else move, lambda: self._finish(item)))

    def _finish(self, item: _Item) -> None:
        """What was to be written of this filing is durable."""
        item.owned.close(item.key)
        self._put_down(item)
        self._let_go()

    def _put_down(self, item: _Item) -> None:
        self._under_way.discard(item.row.schedule.schedule_id)
        item.owned.end_work()

    def _home_key(self, item: _Item) -> Position:
        return Position(self._home_place(item.row).slot_ms, item.row.schedule.schedule_id)

    @staticmethod
    def _home_place(row: Row) -> Place:
        if row.is_home:
            return row.place
        parts = unpack_id(row.schedule.schedule_id)
        return Place(row.place.app_id, parts.partition, parts.slot_ms)


def _storable(text: str) -> str:
    """Cut `text`, and replace halves of surrogate pairs: no store takes them, nor the rest of their batch."""
    return text[:_ERROR_CHARS].encode(errors="replace").decode()
