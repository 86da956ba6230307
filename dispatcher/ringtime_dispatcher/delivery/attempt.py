"""One attempt: what is sent, by which callback type, and what may be told of how it ended.

Nothing is decided here. What follows an attempt, and whether one is made at all, is the deliverer's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ringtime_dispatcher.delivery.ledger import RowItem
from ringtime_dispatcher.delivery.policy import DeliveryPolicy
from ringtime_shared.callbacks.credentials import CIPHERTEXT, SECRET_HEADERS, without_credentials
from ringtime_shared.callbacks.deadlines import Deadlines
from ringtime_shared.callbacks.foreign import forget_cancels, reply_to
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, PromptType, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import decrypt_for_sending
from ringtime_shared.errors import SecretUnreadable
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.traces.names import APP, ATTEMPT, LAG_MS, REPLAY, STATUS, TYPE

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Span, Spans

_log = logging.getLogger(__name__)
_GRACE_S = 0.004  #: a callback type ends by itself at the deadline, and what it knows by then counts


class Attempt:
    """One that is to be made, or was."""

    __slots__ = ("at_ms", "begun_ms", "delivery", "drop", "fault", "item", "policy")

    def __init__(
        self,
        item: RowItem,
        policy: DeliveryPolicy,
        delivery: Delivery,
        fault: str,
        at_ms: int,
        begun_ms: int,
    ) -> None:
        self.item = item
        self.policy = policy
        self.delivery = delivery
        self.fault = fault  #: why it cannot be made: a secret of it is not readable here
        self.drop: Callable[[], None] = _nothing  #: ends one that was begun
        self.at_ms = at_ms
        self.begun_ms = begun_ms  #: the same moment on the boot clock

    def stamp(self, clock: Clock) -> None:
        """It is sent now, not when it was prepared."""
        self.at_ms, self.begun_ms = clock.now_ms(), clock.boot_ms()

    def shown(self, reply: Reply) -> Reply:
        """Return how it ended, without what is secret."""
        delivery = self.delivery
        if reply.error:
            sending = delivery.schedule.sending
            hidden = delivery.schedule.payload if sending is not None and sending.is_private else ""
            kept: Mapping[str, object] = self.item.details or {}  # as they are stored
            reply = replace(reply, error=without_credentials(reply.error, kept, delivery.details, hidden))
        if _log.isEnabledFor(logging.DEBUG):
            _log_attempt(delivery, reply)
        return reply


class Attempts:
    """Makes those of one node."""

    def __init__(
        self,
        callbacks: Mapping[str, CallbackType],
        clock: Clock,
        ring: KeyRing | None,
        spans: Spans | None,
        *,
        is_stopping: Callable[[], bool],
    ) -> None:
        """
        Args:
            ring: decrypts secrets; None: a callback with secrets fails.
            spans: begins those of attempts; None: there are none.
            is_stopping: whether it is this node that cancels attempts.
        """
        self._callbacks = callbacks
        self._prompt = {name: kind for name, kind in callbacks.items() if isinstance(kind, PromptType)}
        self._clock = clock
        self._ring = ring
        self._spans = spans
        self._is_stopping = is_stopping
        # Those that wait a turn: where the event loop is late for both deadlines, the type's own comes first,
        # and its reply is there before the guard would cancel it.
        self._guards = Deadlines(waits_a_turn=True)

    def prepare(self, item: RowItem, policy: DeliveryPolicy, timeout_ms: int, now_ms: int) -> Attempt:
        """Return the attempt to make of an item now."""
        row, kept = item.row, item.details or {}
        fault, schedule, details = policy.secrets_fault, row.schedule, kept
        if not fault and (schedule.sending is not None or CIPHERTEXT in kept or SECRET_HEADERS in kept):
            try:
                schedule, details = decrypt_for_sending(self._ring, schedule, kept)
            except SecretUnreadable as error:
                fault = str(error)
        delivery = Delivery(
            schedule=schedule,
            details=details,
            attempt=row.attempts + 1,
            replay=row.replay,
            term=item.owned.term,
            timeout_ms=timeout_ms,
            secrets=policy.secrets,
            tls_profile=policy.tls_profile,
            trace=schedule.trace,
        )
        return Attempt(item, policy, delivery, fault, now_ms, self._clock.boot_ms())

    def begin(self, attempt: Attempt, on_end: Callable[[Attempt, Reply], None]) -> bool:
        """Send at once, if this attempt needs no task; `on_end` is called when it has ended, unless it is
        dropped. False: nothing was done, for `make` to do it."""
        schedule = attempt.delivery.schedule
        kind = self._prompt.get(schedule.callback_type)
        if kind is None or self._may_have_span(schedule):
            return False
        drop = kind.begin(attempt.delivery, partial(on_end, attempt))
        if drop is None:
            return False
        attempt.drop = drop
        return True

    async def make(self, attempt: Attempt) -> Reply:
        """Send, and return how it ended."""
        span = self._span_of(attempt.delivery, attempt.at_ms)
        with span or nullcontext():
            if span is not None:
                attempt.delivery = replace(attempt.delivery, trace=span.trace)
            reply = await make_attempt(self._callbacks, attempt.delivery, self._is_stopping, self._guards)
            reply = attempt.shown(reply)
            if span is not None:
                _end_span(span, reply)
        return reply

    def _may_have_span(self, schedule: Schedule) -> bool:
        return self._spans is not None and (schedule.trace is not None or schedule.run is not None)

    def _span_of(self, delivery: Delivery, at_ms: int) -> Span | None:
        schedule, spans = delivery.schedule, self._spans
        if spans is None or not self._may_have_span(schedule):
            return None
        about: dict[str, str | int] = {
            APP: schedule.app_id,
            TYPE: schedule.callback_type,
            ATTEMPT: delivery.attempt,
            REPLAY: delivery.replay,
            LAG_MS: at_ms - schedule.awaited_ms,
        }
        recurring_id = None if schedule.run is None else schedule.run.recurring_id
        return spans.of_fire(schedule.trace, schedule.schedule_id, recurring_id, about)


async def make_attempt(
    callbacks: Mapping[str, CallbackType],
    delivery: Delivery,
    is_stopping: Callable[[], bool],
    guards: Deadlines,
) -> Reply:
    """Return how it ended: at the latest a moment after the delivery's time is up, and never with an error
    raised, but for the `CancelledError` of a node that stops."""
    kind = callbacks.get(delivery.schedule.callback_type)
    if kind is None:
        return Reply(
            ok=False, error=f"callback type {delivery.schedule.callback_type} is not registered here"
        )
    try:
        with guards.after(delivery.timeout_ms / 1_000 + _GRACE_S):
            reply: object = await kind.invoke(delivery)
    except TimeoutError:
        return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            if is_stopping():
                raise
            forget_cancels()  # whoever cancelled, it was not this node
        return reply_to(error)
    if isinstance(reply, Reply):
        return reply
    return Reply(ok=False, error=f"the callback type returned {type(reply).__name__}, not a Reply")


def _nothing() -> None:
    return


def _end_span(span: Span, reply: Reply) -> None:
    """Tell how an attempt ended."""
    if reply.code is not None:
        span.tell({STATUS: reply.code})
    if not reply.ok:
        span.fail(reply.error)


def _log_attempt(delivery: Delivery, reply: Reply) -> None:
    """Say how an attempt ended, for whoever follows each one."""
    schedule = delivery.schedule
    _log.debug(
        "attempt %d of %s: %s",
        delivery.attempt,
        schedule.schedule_id,
        "success" if reply.ok else reply.error,
        extra={"app_id": schedule.app_id, "schedule_id": schedule.schedule_id, "code": reply.code},
    )
