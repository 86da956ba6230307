"""Whose turn it is: what is due is queued fairly, or turned away because its destination is in trouble.

How long something waits, rests or may take is measured on the boot clock: a wall clock that is set back would
keep an app without tokens, or a destination alone, for as long as it was set back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import orjson

from ringtime_dispatcher.delivery.destinations import Destinations
from ringtime_dispatcher.delivery.ledger import Item
from ringtime_dispatcher.delivery.policy import DeliveryPolicy
from ringtime_shared.callbacks.foreign import describe
from ringtime_shared.callbacks.protocol import CallbackType, OutageRules, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.fairness.fair_queue import FairQueue
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.once import OnceLog
from ringtime_shared.settings import DispatchSettings

_log = logging.getLogger(__name__)
_LONGEST_MS = 86_400_000  #: an attempt that may take longer is a mistake of its callback type
_SHORTAGE_MS = 250  #: an app whose attempt found this node short of something waits so long


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
        self._queue: FairQueue[Item] = FairQueue(settings.max_in_flight, settings.destination_in_flight)
        self._destinations = Destinations(settings)
        self._wake: asyncio.TimerHandle | None = None
        self._wake_ms = 0
        self._faults = OnceLog(_log)

    def offer(self, item: Item, policy: DeliveryPolicy) -> bool:
        """Queue an item that is due; False: its destination is to be left alone, or is too slow to take
        what is queued for it already. Raises Damaged."""
        if item.details is None:
            item.details, item.destination = self._read_details(item.row.schedule)
        app_id, destination = item.app_id, item.destination
        if self._queue.is_slow(app_id, destination, self._clock.boot_ms() - self._settings.slow_after_ms):
            return False
        timeout_ms = self.timeout_ms(item.row.schedule, policy)
        if not self._destinations.admits(app_id, destination, self._clock.boot_ms(), timeout_ms):
            return False
        self.put_back(item, policy)
        return True

    def put_back(self, item: Item, policy: DeliveryPolicy) -> None:
        """Queue an item that was let in before."""
        self._queue.put(item.app_id, policy.share, item.destination, item, self._clock.boot_ms())

    def take(self) -> Item | None:
        """Return the next item that may start now."""
        item = self._queue.take(self._clock.boot_ms())
        if item is None:
            next_ms = self._queue.next_start_ms()
            if next_ms is not None and (self._wake is None or next_ms < self._wake_ms):
                self._wake_at(next_ms)
        return item

    def end(self, item: Item) -> None:
        """An item that was taken is under way no more."""
        self._queue.end(item.app_id, item.destination, item)

    def hold_off(self, item: Item) -> None:
        """Start nothing more of its app for a moment: this node is short of what its attempts need."""
        self._queue.hold_off(item.app_id, self._clock.boot_ms() + _SHORTAGE_MS)

    def note(self, item: Item, reply: Reply) -> list[Item]:
        """Take in how an attempt ended; return what waits for a destination that is now left alone."""
        now_ms, rules = self._clock.boot_ms(), self._rules(item)
        self._queue.note(item.app_id, item.destination, item, now_ms)
        if self._destinations.note(item.app_id, item.destination, reply, now_ms, rules):
            return self._queue.drain(item.app_id, item.destination)
        return []

    def park_slot(self, item: Item) -> int:
        """Return the slot under which an item that was turned away is to wait."""
        boot_ms, rules = self._clock.boot_ms(), self._rules(item)
        parked_ms = self._destinations.park_slot(item.app_id, item.destination, boot_ms, rules)
        return self._clock.now_ms() + parked_ms - boot_ms

    def timeout_ms(self, schedule: Schedule, policy: DeliveryPolicy) -> int:
        """Return the total deadline of one attempt of this schedule."""
        kind = self._callbacks.get(schedule.callback_type)
        if kind is None:
            return policy.timeout_ms
        try:
            deadline_ms = kind.deadline_ms(policy.timeout_ms)
            if 0 < deadline_ms <= _LONGEST_MS:
                return int(deadline_ms)
            fault = f"must return 1 to {_LONGEST_MS} ms, not {deadline_ms}"
        except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
            fault = describe(error)
        self._blame(schedule.callback_type, "deadline_ms", fault)
        return policy.timeout_ms

    def close(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        if self._wake is not None:
            self._wake.cancel()

    def _rules(self, item: Item) -> OutageRules | None:
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
