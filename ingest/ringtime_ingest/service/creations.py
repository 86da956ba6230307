"""What a pod counts of the creates that it has acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from time import perf_counter as now_s

from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.apps import CREATES
from ringtime_shared.metrics.names import CREATE
from ringtime_shared.metrics.registry import Buckets

__all__ = ["Creations", "now_s"]


class Creations:
    """Counts creates, each where it is acknowledged."""

    def __init__(self, metrics: Metrics) -> None:
        self._took = Buckets(CREATE)
        self._apps = metrics.apps
        metrics.buckets(CREATE, self._took)

    def note(self, app_id: str, begun_s: float, count: int = 1) -> None:
        """So many schedules of this app will fire; their create was begun at this time of `now_s`."""
        self._took.add(now_s() - begun_s, count)
        self._apps.of(app_id)[CREATES] += count

    def note_many(self, app_ids: Iterable[str], begun_s: float) -> None:
        """Schedules of these apps will fire, which were asked for together."""
        for app_id, count in Counter(app_ids).items():
            self.note(app_id, begun_s, count)
