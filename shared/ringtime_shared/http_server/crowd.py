"""All open connections: how many there may be, which one has to go, and what was refused.

A descriptor is the scarcest thing a client can take: a thousand connections that say nothing cost no
processor time and shut everybody else out. So there is room for so many, and whoever comes when it is full
is let in for another: first the oldest of those that never sent a whole request, then the one whose last
request is longest ago. A client at work is neither. Requests in progress are never cut.

What arrives of requests that are not whole yet is bounded over all connections in the same way.

Refusals are counted, and logged at most once a minute, because whoever is refused tends to come again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

from ringtime_shared.settings import ServerSettings

_log = logging.getLogger(__name__)

_LOG_EACH_S = 60.0
_MOST_REASONS = 100


class Guest(Protocol):
    """A connection, as seen from here."""

    peer: str  #: the address it comes from
    deadline_s: float  #: on the loop's clock; when it passes, `expire` is called
    held_bytes: int  #: of a request that is not whole; kept by the crowd

    def expire(self) -> None:
        """End what took too long."""
        ...

    def evict(self) -> None:
        """Make room for another."""
        ...


class Crowd:
    """The connections of one server."""

    def __init__(self, settings: ServerSettings, descriptors: int) -> None:
        """`descriptors`: the clients' share of those that the process may open."""
        self.most = min(settings.max_connections, descriptors)
        self._most_bytes = settings.max_reading_bytes
        self._strangers: dict[Guest, None] = {}  # no whole request so far; oldest first
        self._known: dict[Guest, None] = {}  # between two requests; longest ago first
        self._busy: set[Guest] = set()  # a request in progress
        self._leaving: dict[Guest, None] = {}  # sent away, not gone yet
        self._held_bytes = 0
        self._refused: dict[str, tuple[int, str]] = {}  # by reason: how often, who came last
        self._next_log_s = 0.0

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known) + len(self._busy)

    def enter(self, guest: Guest) -> None:
        """Take in a new connection; for one too many another has to go, or this one if all are at work."""
        self._strangers[guest] = None
        if len(self) > self.most:
            waiting = self._by_patience()
            victim = next((each for each in waiting if each is not guest), guest)
            self._evict(victim, f"more than {self.most} connections")

    def begin(self, guest: Guest) -> None:
        """A whole request has arrived on it."""
        self._forget(guest)
        self._busy.add(guest)

    def rest(self, guest: Guest) -> None:
        """Its request was answered."""
        self._busy.discard(guest)
        self._known[guest] = None

    def leave(self, guest: Guest) -> None:
        """It is closed."""
        self._forget(guest)
        self._busy.discard(guest)
        self._leaving.pop(guest, None)

    def hold(self, guest: Guest, size: int) -> None:
        """So many bytes of a request that is not whole are kept for it."""
        self._held_bytes += size - guest.held_bytes
        guest.held_bytes = size
        while self._held_bytes > self._most_bytes:
            victim = next(each for each in self._by_patience() if each.held_bytes)
            self._evict(victim, "too many bytes of requests that are not whole")

    def sweep(self, now_s: float) -> None:
        """End what took too long; log what was refused, if it is time."""
        for guest in [*self._by_patience(), *self._leaving]:
            if guest.deadline_s <= now_s:
                guest.expire()
        if self._refused and now_s >= self._next_log_s:
            self._next_log_s = now_s + _LOG_EACH_S
            self.log_refused()

    def note(self, reason: str, peer: str) -> None:
        """Count a refusal."""
        if reason not in self._refused and len(self._refused) >= _MOST_REASONS:
            reason = "other reasons"
        count, _ = self._refused.get(reason, (0, ""))
        self._refused[reason] = count + 1, peer

    def log_refused(self) -> None:
        """Write one line for each reason, and begin to count anew."""
        for reason, (count, peer) in self._refused.items():
            _log.warning("refused %d times, last from %s: %s", count, peer, reason)
        self._refused.clear()

    def _by_patience(self) -> Iterator[Guest]:
        yield from self._strangers
        yield from self._known

    def _evict(self, guest: Guest, reason: str) -> None:
        self._forget(guest)
        self._leaving[guest] = None
        self.note(reason, guest.peer)
        guest.evict()

    def _forget(self, guest: Guest) -> None:
        self._strangers.pop(guest, None)
        self._known.pop(guest, None)
        if guest.held_bytes:
            self._held_bytes -= guest.held_bytes
            guest.held_bytes = 0
