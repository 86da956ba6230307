"""The destinations in trouble, as this node sees them: a breaker for each app and destination."""

from __future__ import annotations

from ringtime_dispatcher.delivery.breaker import Breaker
from ringtime_shared.callbacks.protocol import OutageRules, Reply
from ringtime_shared.settings import DispatchSettings

_MOST = 10_000  #: breakers remembered; beyond that the one not used for longest is forgotten


class Destinations:
    """Breakers by app and destination. One in good order takes no memory and no time.

    `rules`: how its callback type wants a destination in trouble treated; None: as the settings say.
    """

    def __init__(self, settings: DispatchSettings) -> None:
        self._most_failures = settings.breaker_failures
        self._rules = OutageRules(open_ms=settings.breaker_open_ms, park_per_s=settings.park_per_s)
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def admits(self, app_id: str, destination: str, now_ms: int, timeout_ms: int) -> bool:
        """Whether a row for this destination may be sent now; see `Breaker.admits`."""
        breaker = self._find((app_id, destination))
        return breaker is None or breaker.admits(now_ms, timeout_ms)

    def note(
        self, app_id: str, destination: str, reply: Reply, now_ms: int, rules: OutageRules | None = None
    ) -> bool:
        """Take in how an attempt ended; return whether the destination is to be left alone now."""
        key = (app_id, destination)
        breaker = self._find(key)
        if breaker is None:
            if not reply.blames_destination:
                return False
            breaker = self._add(key, rules)
        is_open = breaker.note(reply, now_ms)
        if breaker.is_idle(now_ms):
            del self._breakers[key]
        return is_open

    def park_slot(self, app_id: str, destination: str, now_ms: int, rules: OutageRules | None = None) -> int:
        """Return the slot under which the next row for this destination is to wait."""
        key = (app_id, destination)
        return (self._find(key) or self._add(key, rules)).park_slot(now_ms)

    def _find(self, key: tuple[str, str]) -> Breaker | None:
        breaker = self._breakers.pop(key, None)
        if breaker is not None:
            self._breakers[key] = breaker  # what is asked for moves to the end: the first goes first
        return breaker

    def _add(self, key: tuple[str, str], rules: OutageRules | None) -> Breaker:
        if len(self._breakers) >= _MOST:
            del self._breakers[next(iter(self._breakers))]
        breaker = self._breakers[key] = Breaker(self._most_failures, rules or self._rules)
        return breaker
