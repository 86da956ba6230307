"""A circuit breaker for each app and destination, and where the rows go that it holds up.

| state | what comes due |
|---|---|
| closed | is sent |
| open, for `open_ms` after the failure that opened it | is parked: filed for later, no attempt made |
| half open, after that | one row is sent as a probe, the others are parked until it is answered |

It opens after a number of failures in a row that blame the destination (no answer, 5xx, 429);
any other answer closes it. A probe that is never answered, because its row turned out to be cancelled
or its instance left, makes way for the next after the time an answer may take.

Parked rows are given slots one after the other, `1 / park_per_s` apart, from the end of the open time
on: however many there are, a destination that has healed gets them at that rate, and one that has not
costs no more than that many rows a second to file again.

The same holds of one receiver at a destination, an URL, that answered 410 (`GoneReceivers`), as Standard
Webhooks asks of senders: one answer opens it, and one replay at a time is sent while it is open.

Source: M. Nygard, "Release It!", 2007, chapter 5 (circuit breaker).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

from ringtime_shared.callbacks.protocol import OutageRules, Reply
from ringtime_shared.settings import DispatchSettings

_PARK_MARGIN_MS = 1_000  #: a parked row's slot is at least this far ahead: time for it to become durable
_MOST = 10_000  #: breakers remembered; beyond that the one not used for longest is forgotten


_GONE = Reply(ok=False, error="gone")  #: as a failure that counts against the receiver


class Breaker:
    """One destination of one app, as this node sees it. Pure: `now_ms` is passed in."""

    __slots__ = (
        "_failures",
        "_most",
        "_next_slot_ms",
        "_open_until_ms",
        "_probe_until_ms",
        "_rules",
        "error",
        "failed_ms",
    )

    def __init__(self, most_failures: int, rules: OutageRules) -> None:
        """`most_failures`: as many in a row open it; 0: it never opens."""
        self._most = most_failures
        self._rules = rules
        self.error = ""  #: of the last failure
        self.failed_ms: int | None = None  #: when that was
        self._failures = 0
        self._open_until_ms: int | None = None  # None: closed
        self._probe_until_ms: int | None = None  # a probe is under way, to be answered by then
        self._next_slot_ms = 0.0

    @property
    def is_closed(self) -> bool:
        return self._open_until_ms is None

    @property
    def failures(self) -> int:
        """How many in a row blamed the destination."""
        return self._failures

    def opens_in_ms(self, now_ms: int) -> int:
        """Return for how long nothing is sent but what is asked for; 0: a probe is, or all."""
        return max((self._open_until_ms or 0) - now_ms, 0)

    def parked(self, now_ms: int) -> int:
        """Return about how many rows were given slots that are still to come."""
        ahead_ms = self._next_slot_ms - max(now_ms, self._open_until_ms or 0)
        return max(round(ahead_ms * self._rules.park_per_s / 1_000), 0)

    def is_idle(self, now_ms: int) -> bool:
        """Whether it may be forgotten: closed, no failures, and nothing parked that is still to come."""
        return self.is_closed and not self._failures and self._next_slot_ms <= now_ms

    def admits(self, now_ms: int, timeout_ms: int, *, is_asked_for: bool = False) -> bool:
        """Whether a row may be sent now; in the half-open state the answer yes makes it the probe.

        Args:
            timeout_ms: the longest the attempt may take.
            is_asked_for: somebody wants to know: it may be the probe before its time.
        """
        if self._open_until_ms is None:
            return True
        if now_ms < self._open_until_ms and not is_asked_for:
            return False
        if self._probe_until_ms is not None and now_ms < self._probe_until_ms:
            return False
        self._probe_until_ms = now_ms + timeout_ms + _PARK_MARGIN_MS
        return True

    def note(self, reply: Reply, now_ms: int) -> bool:
        """Take in how an attempt ended; return whether that opened the breaker or kept it open."""
        if not reply.blames_destination:
            self._failures = 0
            self._open_until_ms = self._probe_until_ms = None
            return False
        self._failures += 1
        self.error, self.failed_ms = reply.error or "", now_ms
        if not self._most or (self.is_closed and self._failures < self._most):
            return False
        if self._open_until_ms is None or self._open_until_ms <= now_ms:
            wait_ms = max(self._rules.open_ms, min(reply.retry_after_ms or 0, 3_600_000))
            self._open_until_ms = now_ms + wait_ms
            self._probe_until_ms = None
        return True

    def park_slot(self, now_ms: int) -> int:
        """Return the slot for the next row that is parked."""
        earliest_ms = max(now_ms + _PARK_MARGIN_MS, self._open_until_ms or 0)
        slot_ms = max(self._next_slot_ms, earliest_ms)
        self._next_slot_ms = slot_ms + 1_000 / self._rules.park_per_s
        return int(slot_ms)


class Destinations:
    """Breakers by app and destination. One in good order takes no memory and no time.

    `rules`: how its callback type wants a destination in trouble treated; None: as the settings say.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._most_failures = settings.breaker_failures
        self._rules = OutageRules(open_ms=settings.breaker_open_ms, park_per_s=settings.park_per_s)
        #: by app and destination: those that failed lately, or that rows are parked for; mostly none
        self.known: OrderedDict[tuple[str, str], Breaker] = OrderedDict()

    def find(self, app_id: str, destination: str) -> Breaker | None:
        """Return the breaker of a destination that failed lately, or that rows are parked for."""
        key = (app_id, destination)
        breaker = self.known.pop(key, None)
        if breaker is not None:
            self.known[key] = breaker  # what is asked for moves to the end: the first goes first
        return breaker

    def each(self) -> Iterator[tuple[str, str, Breaker]]:
        """Yield app, destination and breaker of those that failed lately, or that rows are parked for. Others
        may have their turn in between."""
        for (app_id, destination), breaker in tuple(self.known.items()):
            yield app_id, destination, breaker

    def note(
        self, app_id: str, destination: str, reply: Reply, now_ms: int, rules: OutageRules | None = None
    ) -> bool:
        """Take in how an attempt ended; return whether the destination is to be left alone now."""
        key = (app_id, destination)
        breaker = self.find(app_id, destination)
        if breaker is None:
            if not reply.blames_destination:
                return False
            breaker = self._add(key, rules)
        is_open = breaker.note(reply, now_ms)
        if breaker.is_idle(now_ms):
            del self.known[key]
        return is_open

    def park_slot(self, app_id: str, destination: str, now_ms: int, rules: OutageRules | None = None) -> int:
        """Return the slot under which the next row for this destination is to wait."""
        key = (app_id, destination)
        return (self.find(app_id, destination) or self._add(key, rules)).park_slot(now_ms)

    def _add(self, key: tuple[str, str], rules: OutageRules | None) -> Breaker:
        if len(self.known) >= _MOST:
            self.known.popitem(last=False)
        breaker = self.known[key] = Breaker(self._most_failures, rules or self._rules)
        return breaker


class GoneReceivers:
    """Receivers of an app that said they are gone. Those of others at the same destination are not meant.

    `receiver`: what names it, among all destinations.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._is_on = settings.gone_pause_ms > 0
        self._pauses = Destinations(
            replace(settings, breaker_failures=1, breaker_open_ms=settings.gone_pause_ms)
        )

    def pause(self, app_id: str, receiver: str, now_ms: int) -> bool:
        """Take in that it is gone; return whether that is news."""
        breaker = self._pauses.find(app_id, receiver)
        is_news = breaker is None or breaker.is_closed
        return self._is_on and self._pauses.note(app_id, receiver, _GONE, now_ms) and is_news

    def admits(self, app_id: str, receiver: str, now_ms: int, timeout_ms: int, *, is_asked_for: bool) -> bool:
        """Whether a row may be sent to it now, as of a `Breaker`."""
        breaker = self._pauses.find(app_id, receiver)
        return breaker is None or breaker.admits(now_ms, timeout_ms, is_asked_for=is_asked_for)

    def note(self, app_id: str, receiver: str, reply: Reply, now_ms: int) -> None:
        """Take in an answer, which ends the pause unless it is no answer or a server's error."""
        if self._pauses.find(app_id, receiver) is not None:
            self._pauses.note(app_id, receiver, reply, now_ms)

    def park_slot(self, app_id: str, receiver: str, now_ms: int) -> int | None:
        """Return the slot under which the next row for it is to wait; None: it is not paused."""
        breaker = self._pauses.find(app_id, receiver)
        return None if breaker is None or breaker.is_closed else breaker.park_slot(now_ms)
