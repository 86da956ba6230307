"""What waits: until its slot (`Timetable`), then for its turn (`Turns`), which is fair between apps and their
destinations. What is due for a destination in trouble is turned away.

How long something waits, rests or may take is measured on the boot clock: a wall clock that is set back would
keep an app without tokens, or a destination alone, for as long as it was set back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

import orjson

from ringtime_dispatcher.delivery.breaker import Breaker, Destinations, GoneReceivers
from ringtime_dispatcher.delivery.ledger import RowItem
from ringtime_dispatcher.delivery.policy import DeliveryPolicy
from ringtime_shared.callbacks.credentials import CIPHERTEXT, MASK
from ringtime_shared.callbacks.foreign import describe
from ringtime_shared.callbacks.protocol import CallbackType, OutageRules, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.fairness.fair_queue import FairQueue, LaneState, Rank
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.models.sending import Priority
from ringtime_shared.once import OnceLog
from ringtime_shared.settings import DispatchSettings

T = TypeVar("T", bound=Hashable)
_log = logging.getLogger(__name__)
_LONGEST_ATTEMPT_MS = 86_400_000  #: an attempt that may take longer is a mistake of its callback type
_SHORTAGE_MS = 250  #: an app whose attempt found this node short of something waits so long
_RANKS = {Priority.HIGH: Rank.FIRST, Priority.NORMAL: Rank.USUAL, Priority.LOW: Rank.LAST}
_LOOK_MS = 1_000  #: that a timer runs before the time is looked at again
_AT_ONCE = 1_000  #: items handed over before anybody else has a turn: about 10 ms


class Timetable(Generic[T]):
    """A heap of items by slot with one timer. Hands an item over at its slot or later, never early.

    Nothing that is read ahead waits for long, unless the wall clock was set back meanwhile: then it waits
    until the time comes again, and the clock may be set forward before that. What is only to be looked at
    again in a moment (`add_in`) goes by real time alone, which goes on while a test clock stands still.
    """

    def __init__(
        self, clock: Clock, on_due: Callable[[T], None], drop: Callable[[T], bool] = lambda _: False
    ) -> None:
        """`drop`: asked about what has waited for a while; True: nobody wants it any more, it is gone."""
        self._clock = clock
        self._on_due = on_due
        self._drop = drop
        self._heap: list[tuple[int, int, T]] = []
        self._order = count()  # equal slots keep their order of arrival
        self._in_a_moment: dict[T, asyncio.TimerHandle] = {}
        self._timer: asyncio.Handle | None = None
        self._armed_ms = 0
        self._is_looking = False  # the timer ends before the first slot

    def __len__(self) -> int:
        return len(self._heap) + len(self._in_a_moment)

    def add(self, slot_ms: int, item: T) -> None:
        """Hand `item` over at `slot_ms`, at once if that has passed."""
        if slot_ms <= self._clock.now_ms():
            self._on_due(item)
            return
        heappush(self._heap, (slot_ms, next(self._order), item))
        if self._timer is None or slot_ms < self._armed_ms:
            self._arm(slot_ms)

    def add_in(self, wait_ms: int, item: T) -> None:
        """Hand `item` over when so much real time has gone by, whatever the wall clock says then."""
        loop = asyncio.get_running_loop()
        self._in_a_moment[item] = loop.call_later(wait_ms / 1_000, self._end_moment, item)

    def _end_moment(self, item: T) -> None:
        del self._in_a_moment[item]
        self._on_due(item)

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()
        for timer in self._in_a_moment.values():
            timer.cancel()
        self._in_a_moment.clear()

    def _arm(self, slot_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ms = slot_ms
        # Timers run on another clock than slots, so the time is checked again when this one fires.
        wait_ms = max(slot_ms - self._clock.now_ms(), 1)
        self._is_looking = wait_ms > _LOOK_MS
        self._timer = asyncio.get_running_loop().call_later(min(wait_ms, _LOOK_MS) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_ms = self._clock.now_ms()
        if self._is_looking:
            self._heap = [entry for entry in self._heap if not self._drop(entry[2])]
            heapify(self._heap)
        left = _AT_ONCE
        try:
            while left and self._heap and self._heap[0][0] <= now_ms:
                left -= 1
                self._on_due(heappop(self._heap)[2])
        finally:  # without its timer the timetable would stand still
            if self._heap and self._timer is None:
                if left:
                    self._arm(self._heap[0][0])
                else:
                    self._armed_ms, self._is_looking = self._heap[0][0], False
                    self._timer = asyncio.get_running_loop().call_soon(self._fire)


class Turns:
    """The items that are due and not started. `take` and `end` go together."""

    def __init__(
        self,
        settings: DispatchSettings,
        clock: Clock,
        callbacks: Mapping[str, CallbackType],
        on_token: Callable[[], None],
    ) -> None:
        """`on_token`: called when an app that had used up its rate may go on."""
        self._settings = settings
        self._clock = clock
        self._callbacks = callbacks
        self._on_token = on_token
        self._queue: FairQueue[RowItem] = FairQueue(settings.max_in_flight, settings.destination_in_flight)
        self._destinations = Destinations(settings)
        self._gone = GoneReceivers(settings)
        self._was_any_gone = False  #: else nothing asks, or looks at URLs
        self._wake: asyncio.TimerHandle | None = None
        self._wake_ms = 0
        self._faults = OnceLog(_log)

    def offer(self, item: RowItem, policy: DeliveryPolicy) -> bool:
        """Queue an item that is due; False: its destination is to be left alone, or is too slow to take
        what is queued for it already. Raises Damaged."""
        if item.details is None:
            item.details, item.destination = self._read_details(item.row.schedule)
        app_id, destination, rank = item.place.app_id, item.destination, _rank_of(item)
        now_ms = self._clock.boot_ms()
        if self._queue.is_slow(app_id, destination, now_ms - self._settings.slow_after_ms, rank):
            return False
        if self._was_any_gone and not self._gone.admits(
            app_id,
            self._receiver_of(item),
            now_ms,
            self.timeout_ms(item.row.schedule, policy),
            is_asked_for=item.row.replay > 0,
        ):
            return False
        breaker = self._destinations.find(app_id, destination) if self._destinations.known else None
        if breaker is not None and not breaker.admits(now_ms, self.timeout_ms(item.row.schedule, policy)):
            return False
        self._queue.put(app_id, policy.share, destination, item, now_ms, rank)
        return True

    def put_back(self, item: RowItem, policy: DeliveryPolicy) -> None:
        """Queue an item that was let in before."""
        app_id, now_ms = item.place.app_id, self._clock.boot_ms()
        self._queue.put(app_id, policy.share, item.destination, item, now_ms, _rank_of(item))

    @property
    def may_start(self) -> bool:
        """Whether `take` may find something; cheap, and mostly known beforehand."""
        return self._queue.may_start

    @property
    def waiting(self) -> int:
        """How many items are due and wait for their turn."""
        return self._queue.waiting

    @property
    def under_way(self) -> int:
        """How many were taken and have not ended."""
        return self._queue.under_way

    def count_troubled(self) -> dict[tuple[str, ...], int]:
        """Return how many breakers are open, and how many half open, by these names."""
        boot_ms = self._clock.boot_ms()
        waits_ms = [each.opens_in_ms(boot_ms) for _, _, each in self.breakers() if not each.is_closed]
        is_open = sum(map(bool, waits_ms))
        return {("open",): is_open, ("half_open",): len(waits_ms) - is_open}

    def count_parked(self) -> int:
        """Return about how many rows were filed for later whose slots are still to come."""
        boot_ms = self._clock.boot_ms()
        return sum(each.parked(boot_ms) for _, _, each in self.breakers())

    def take(self) -> RowItem | None:
        """Return the next item that may start now."""
        item = self._queue.take(self._clock.boot_ms())
        if item is None:
            next_ms = self._queue.next_start_ms()
            if next_ms is not None and (self._wake is None or next_ms < self._wake_ms):
                self._wake_at(next_ms)
        return item

    def end(self, item: RowItem) -> None:
        """An item that was taken is under way no more."""
        self._queue.end(item.place.app_id, item.destination, item)

    def hold_off(self, item: RowItem) -> None:
        """Start nothing more of its app for a moment: this node is short of what its attempts need."""
        self._queue.hold_off(item.place.app_id, self._clock.boot_ms() + _SHORTAGE_MS)

    def note(self, item: RowItem, reply: Reply) -> list[RowItem]:
        """Take in how an attempt ended; return what waits for a destination that is now left alone."""
        now_ms, app_id, destination = self._clock.boot_ms(), item.place.app_id, item.destination
        self._queue.note(app_id, destination, item, now_ms)
        if self._was_any_gone and not reply.says_gone:
            self._gone.note(app_id, self._receiver_of(item), reply, now_ms)
        known = self._destinations.known
        if reply.ok and (not known or (app_id, destination) not in known):
            return []  # as nearly every time
        if self._destinations.note(app_id, destination, reply, now_ms, self._rules(item)):
            return self._queue.drain(app_id, destination)
        return []

    def pause(self, item: RowItem, policy: DeliveryPolicy) -> list[RowItem]:
        """The receiver of an item said that it is gone; return what waits for the same one."""
        app_id, receiver = item.place.app_id, self._receiver_of(item)
        if not receiver or not self._gone.pause(app_id, receiver, self._clock.boot_ms()):
            return []
        self._was_any_gone = True
        self._faults.warn(
            (app_id, receiver),
            "app %s: a receiver at %s answered 410 (gone): what else is for it waits for %d s",
            app_id,
            item.destination,
            self._settings.gone_pause_ms // 1_000,
        )
        waiting = self._queue.drain(app_id, item.destination)
        paused: list[RowItem] = []
        for each in waiting:
            if self._receiver_of(each) == receiver:
                paused.append(each)
            else:
                self.put_back(each, policy)
        return paused

    def park_slot(self, item: RowItem) -> int:
        """Return the slot under which an item that was turned away is to wait."""
        app_id, boot_ms = item.place.app_id, self._clock.boot_ms()
        parked_ms = self._gone.park_slot(app_id, self._receiver_of(item), boot_ms)
        if parked_ms is None:
            rules = self._rules(item)
            parked_ms = self._destinations.park_slot(app_id, item.destination, boot_ms, rules)
        return self._clock.now_ms() + parked_ms - boot_ms

    def timeout_ms(self, schedule: Schedule, policy: DeliveryPolicy) -> int:
        """Return the total deadline of one attempt of this schedule."""
        kind, asked_ms = self._callbacks.get(schedule.callback_type), policy.timeout_ms
        if schedule.sending is not None:
            asked_ms = schedule.sending.timeout_ms or asked_ms
        if kind is None:
            return asked_ms
        try:
            deadline_ms = kind.deadline_ms(asked_ms)
            if 0 < deadline_ms <= _LONGEST_ATTEMPT_MS:
                return int(deadline_ms)
            fault = f"must return 1 to {_LONGEST_ATTEMPT_MS} ms, not {deadline_ms}"
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
            fault = describe(error)
        self._blame(schedule.callback_type, "deadline_ms", fault)
        return asked_ms

    def lanes(self) -> Iterator[LaneState]:
        """Yield what waits for each destination, and how much is under way to it."""
        return self._queue.lanes()

    def breakers(self) -> Iterator[tuple[str, str, Breaker]]:
        """Yield the destinations that failed lately, or that rows are parked for."""
        return self._destinations.each()

    def close(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        if self._wake is not None:
            self._wake.cancel()

    def _receiver_of(self, item: RowItem) -> str:
        """Return what names its receiver, short however long an URL is; "" if nothing does."""
        name, details = item.row.schedule.callback_type, item.details
        kind = self._callbacks.get(name)
        try:
            key: object = None if kind is None else kind.receiver_key
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
            self._blame(name, "receiver_key", describe(error))
            return ""
        receiver = details.get(key) if details is not None and isinstance(key, str) else None
        if not isinstance(receiver, str) or (CIPHERTEXT in (details or ()) and MASK in receiver):
            return ""  # the credential in the URL may tell one receiver from another, and only *** is here
        named = f"{item.destination} {receiver}".encode(errors="replace")
        return blake2b(named, digest_size=16).hexdigest()

    def _rules(self, item: RowItem) -> OutageRules | None:
        name = item.row.schedule.callback_type
        kind = self._callbacks.get(name)
        try:
            rules: object = None if kind is None else kind.outage
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
            self._blame(name, "outage", describe(error))
            return None
        if rules is None or isinstance(rules, OutageRules):
            return rules
        self._blame(name, "outage", f"must be OutageRules or None, not {type(rules).__name__}")
        return None

    def _blame(self, callback_type: str, member: str, fault: str) -> None:
        self._faults.warn(
            (callback_type, member),
            "callback type %s: %s: %s; going on without",
            callback_type,
            member,
            fault,
        )

    def _wake_at(self, at_ms: int) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake_ms = at_ms
        wait_s = max(at_ms - self._clock.boot_ms(), 1) / 1_000
        self._wake = asyncio.get_running_loop().call_later(wait_s, self._go_on)

    def _go_on(self) -> None:
        self._wake = None
        self._on_token()

    def _read_details(self, schedule: Schedule) -> tuple[Mapping[str, object], str]:
        name = schedule.callback_type
        kind = self._callbacks.get(name)
        try:
            details = orjson.loads(schedule.callback_details)
            if not isinstance(details, dict):
                raise TypeError("must be an object")
        except (ValueError, TypeError) as error:
            raise Damaged("schedule", str(schedule.schedule_id), f"callback_details: {error}") from None
        try:
            destination: object = name if kind is None else kind.destination(details)
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
            self._blame(name, "destination", describe(error))
            return details, f"{name}, unreadable"
        if isinstance(destination, str):
            return details, destination
        self._blame(name, "destination", f"must return text, not {type(destination).__name__}")
        return details, f"{name}, unreadable"


def _rank_of(item: RowItem) -> Rank:
    sending = item.row.schedule.sending
    return Rank.USUAL if sending is None else _RANKS[sending.priority]
