"""The completeness mark of all apps, for the metrics and, by `kafka.completeness_topic`, for a topic.

One node looks, the first by name of those that have a share of the ring, so that no two tell the same; what
the mark is, and why it is right, stands in `ringtime_shared.schedules.completeness`.

A record is a mark that has moved: its key the app's id, `*` of all active apps. Told of are apps that had
something due in the minutes which the mark of all has passed, or stands before, at most `MOST_TOLD` a round;
the others come later. So an app that has nothing due costs nothing, and is as complete as its last record or
that of all, whichever is later. At least once, and in order for a key while one node looks: who reads keeps
the latest `through`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import orjson

from ringtime_dispatcher.callbacks.build import MarkTopic
from ringtime_dispatcher.rounds import rounds
from ringtime_shared.api.fires import completeness_to_json
from ringtime_shared.api.instants import to_iso
from ringtime_shared.clock import Clock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import COMPLETENESS_AGE
from ringtime_shared.models.app import App
from ringtime_shared.models.fires import Completeness
from ringtime_shared.schedules.completeness import CompletenessMarks, MarkedStore

MOST_TOLD = 200  #: apps that are told of in one round
OF_ALL = "*"  #: key of the mark of all apps; no app is called so
_FIRST_S = 10.0
_TOLD = 20_000  #: apps of which it is remembered what was told last


class CompletenessWatch:
    """Looks at the mark, a round at a time."""

    def __init__(
        self,
        store: MarkedStore,
        clock: Clock,
        apps: Mapping[str, App],
        is_mine: Callable[[], bool],
        topic: MarkTopic | None = None,
    ) -> None:
        """`apps`: as this node has read them; `is_mine`: whether it is this node that looks."""
        self._clock = clock
        self._apps = apps
        self._is_mine = is_mine
        self._topic = topic
        self._marks = CompletenessMarks(store, clock, apps.get)
        self._found: Completeness | None = None
        self._due: OrderedDict[str, None] = OrderedDict()  # apps that are to be told of
        self._told: OrderedDict[str, int] = OrderedDict()  # up to when

    def register(self, metrics: Metrics) -> None:
        """Let it be measured how far the mark lies in the past, by the node that looks."""
        metrics.levels(COMPLETENESS_AGE, self._ages)

    def _ages(self) -> Mapping[tuple[str, ...], float]:
        if self._found is None:
            return {}
        return {(): max(self._clock.now_ms() - self._found.through_ms, 0) / 1_000}

    @asynccontextmanager
    async def looking(self, every_s: float) -> AsyncIterator[None]:
        """Make a round every so often meanwhile."""
        try:
            async with rounds("the completeness mark", self.round, first_s=_FIRST_S, every_s=every_s):
                yield
        finally:
            if self._topic is not None:
                await self._topic.close()

    async def round(self) -> None:
        """Look once, and tell what has moved. Raises ClockInDoubt, StoreUnavailable."""
        if not self._is_mine():
            self._found = None
            self._due.clear()
            self._told.clear()
            return
        self._found = await self._marks.of_all()
        touched = self._marks.take_touched()
        if self._topic is None:
            return
        self._due.update(dict.fromkeys(touched))
        marks = {OF_ALL: self._found}
        while self._due and len(marks) <= MOST_TOLD:
            app_id, _ = self._due.popitem(last=False)
            if (app := self._apps.get(app_id)) is not None:
                marks[app_id] = await self._marks.of_app(app)
        news = {key: mark for key, mark in marks.items() if self._told.get(key) != mark.through_ms}
        try:
            await self._topic.send([_record(key, mark) for key, mark in news.items()])
        except RingtimeError:
            self._due.update(dict.fromkeys(key for key in news if key != OF_ALL))
            raise
        for key, mark in news.items():
            self._told[key] = mark.through_ms
            self._told.move_to_end(key)
        while len(self._told) > _TOLD:
            self._told.popitem(last=False)


def _record(key: str, mark: Completeness) -> tuple[bytes, bytes]:
    shown = completeness_to_json(mark)
    named = {} if key == OF_ALL else {"appId": key}
    return key.encode(), orjson.dumps(shown | named | {"at": to_iso(mark.at_ms)})
