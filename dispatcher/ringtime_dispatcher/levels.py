"""How a node stands, as far as it takes a look at all it owns: for the metrics, before each reading."""

from __future__ import annotations

import asyncio

from ringtime_dispatcher.ownership.instance import Instances
from ringtime_shared.clock import Clock
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import MARK_AGE, OLDEST_DUE_AGE, OWNED

_AT_ONCE = 1_000  #: instances looked at without letting anybody else run: about half a millisecond


class NodeLevels:
    """What the last look has found."""

    def __init__(self, instances: Instances, clock: Clock, read_ahead_ms: int) -> None:
        self._instances = instances
        self._clock = clock
        self._read_ahead_ms = read_ahead_ms
        self.oldest_due_age_s = 0.0
        self.mark_ages_s: dict[tuple[str, ...], float] = {}

    def register(self, metrics: Metrics) -> None:
        metrics.before_reading(self.look)
        metrics.level(OWNED, lambda: len(self._instances.owned))
        metrics.level(OLDEST_DUE_AGE, lambda: self.oldest_due_age_s)
        metrics.levels(MARK_AGE, lambda: self.mark_ages_s)

    async def look(self) -> None:
        """Look at all that is owned, a slice at a time; what comes and goes meanwhile makes no difference."""
        now_ms = self._clock.now_ms()
        sealed_ms = settled_ms = front_ms = due_ms = now_ms
        for n, each in enumerate(list(self._instances.owned.values()), start=1):
            if each.sealed_ms < sealed_ms:
                sealed_ms = each.sealed_ms
            if each.settled_ms < settled_ms:
                settled_ms = each.settled_ms
            if each.has_rows:  # else there is nothing to read, and it is read up to now
                front_ms = min(front_ms, each.sealable_ms(now_ms + self._read_ahead_ms))
            if each.has_rows or each.has_open_rows:
                oldest_ms = each.oldest_ms()
                if oldest_ms is not None and oldest_ms < due_ms:
                    due_ms = oldest_ms
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self.oldest_due_age_s = (now_ms - due_ms) / 1_000
        self.mark_ages_s = {
            ("front",): (now_ms - front_ms) / 1_000,
            ("sealed",): (now_ms - sealed_ms) / 1_000,
            ("settled",): (now_ms - settled_ms) / 1_000,
        }
