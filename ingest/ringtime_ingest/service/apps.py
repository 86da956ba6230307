"""The apps as this process knows them, with the age of what it knows.

It follows the feed of changes (`ringtime_shared.apps.feed`) as far as it is asked: a look a second at most,
and none while nobody asks. So a create reads no app, however many there are; it waits for a look only if the
last one is long ago, and for a read of its app only if the feed cannot vouch for it: while changes go on and
all apps are being read again, or while the count of changes cannot be read.

The age is counted on the boot clock from before what proves it was asked for, so a process that was suspended
knows that its map is old (see `commit`).
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ringtime_shared.apps.changes import Decision, Noted, change_app, unnoted
from ringtime_shared.apps.feed import AppFeed, AppReading, FeedStore
from ringtime_shared.clock import Clock
from ringtime_shared.errors import NotFound, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.stores.protocol import AppCounts

_log = logging.getLogger(__name__)
_LOOK_MS = 1_000  #: between two looks, while somebody asks
_FRESH_MS = 2_000  #: a change by another process is seen after this, well under the map age of `commit`
_FOLLOWED_MS = 5_000  #: and what the log did not name while others changed, after this
_MOST_KEPT = 20_000  #: readings; one more, and all are made anew
_KNOWN_MS = 10_000  #: and that an app is gone, by those who only read its schedules, after this


@dataclass(frozen=True, slots=True)
class AppsAsked:
    """Which apps somebody wants to see."""

    contains: str = (
        ""  #: what their ids have in them, in upper or lower case; those that begin with it come first
    )
    after: str = ""  #: those behind this id, which an earlier page ended with
    size: int = 100


@dataclass(frozen=True, slots=True)
class AppsPage:
    """Some apps, and how many there are of these on all pages."""

    apps: Sequence[App]
    count: int


class AppMaps:
    """A cache of all apps. Bounded by the number of registered apps."""

    def __init__(
        self, store: FeedStore, clock: Clock, *, spread: float = 0.0, noted: Noted = unnoted
    ) -> None:
        """
        Args:
            spread: see `apps.feed.spread_of`.
            noted: notes each change; see `change_app`.
        """
        self._store = store
        self._clock = clock
        self._noted = noted
        self._feed = AppFeed(store, clock, spread=spread)
        self._refreshing: asyncio.Task[None] | None = None
        self._all: tuple[int, Sequence[App]] | None = None  # with the turn of the feed that they are of
        self._kept: dict[str, tuple[AppReading, int, int]] = {}  # until when each is good, and in which turn
        #: an app as this process has last heard of it, by its id; it may be gone by now. None: it has not
        self.known: Callable[[str], App | None] = self._feed.apps.get
        #: the id of the app of a number, in the same way
        self.known_id = self._feed.id_of

    async def load(self) -> None:
        """Read all apps. Raises StoreUnavailable."""
        await self._feed.read_all()

    async def close(self) -> None:
        """Stop what goes on in the background."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    def counts(self) -> AppCounts:
        """Return how much is registered, as far as is known."""
        return self._feed.counts()

    async def count(self) -> AppCounts:
        """Return how much is registered now. Raises StoreUnavailable.

        As a rule a look at what has changed tells. Where it leaves that open, all apps are read; and if they
        were a moment ago, the store counts, which costs it the same.
        """
        await self._feed.refresh()
        return self._feed.counts() if self._feed.is_proved() else await self._store.count_apps()

    async def get(self, app_id: str) -> AppReading:
        """Return the app as it was two seconds ago or later. Raises NotFound, Damaged."""
        kept = self._kept.get(app_id)
        if kept is not None:
            reading, until_ms, turn = kept
            if self._clock.boot_ms() < until_ms and turn == self._feed.turn:
                return reading  # as nearly always, where there are requests
        return await self._get(app_id)

    async def _get(self, app_id: str) -> AppReading:
        reading = self._fresh(app_id)
        if reading is None and self._feed.is_loaded and app_id in self._feed.apps:
            with suppress(StoreUnavailable, OutcomeUnknown):  # its own read will say so, or succeed
                await self._feed.look()
            reading = self._fresh(app_id)
        looked_ms = self._feed.looked_ms_ago()
        if self._feed.is_loaded and (looked_ms is None or looked_ms >= _LOOK_MS or self._feed.is_full_due()):
            self._refresh()
        if reading is None:
            return await self.reread(app_id)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        until_ms = min(self._feed.next_ms(_LOOK_MS), reading.read_boot_ms + _FOLLOWED_MS)
        self._kept[app_id] = reading, until_ms, self._feed.turn
        return reading

    async def recent(self, app_id: str, most_ms: int) -> AppReading:
        """Return the app as it was so long ago or later: as it is known, without waiting, if that is young
        enough. Raises NotFound, Damaged, StoreUnavailable."""
        reading = self._feed.reading(app_id)
        if reading is None or self._clock.boot_ms() - reading.read_boot_ms >= most_ms:
            return await self.get(app_id)
        if (looked_ms := self._feed.looked_ms_ago()) is None or looked_ms >= _LOOK_MS:
            self._refresh()
        return reading

    def _fresh(self, app_id: str) -> AppReading | None:
        """Return what is known of the app if it may be used."""
        reading = self._feed.reading(app_id)
        if reading is None:
            return None
        looked_ms = self._feed.looked_ms_ago()
        is_followed = looked_ms is not None and looked_ms < _FRESH_MS
        most_ms = _FOLLOWED_MS if is_followed else _FRESH_MS
        return reading if self._clock.boot_ms() - reading.read_boot_ms < most_ms else None

    async def reread(self, app_id: str) -> AppReading:
        """Return the app as it is in the store now. Raises NotFound, Damaged."""
        begun_ms = self._clock.boot_ms()
        app = await self._store.fetch_app(app_id)
        self._feed.learn(app_id, app, begun_ms)
        if app is None:
            raise NotFound("app", app_id)
        return AppReading(app, begun_ms)

    async def change(self, app_id: str, decide: Decision) -> App:
        """Change the app in the store (see `change_app`), and remember it as it is then."""
        begun_ms = self._clock.boot_ms()
        try:
            app = await change_app(self._store, app_id, decide, self._noted)
        except NotFound:
            self._feed.learn(app_id, None, begun_ms)
            raise
        self.keep(app, begun_ms)
        return app

    def keep(self, app: App, begun_ms: int) -> None:
        """Remember what this process itself has written.

        Args:
            begun_ms: boot time before the write was sent.
        """
        self._feed.learn(app.app_id, app, begun_ms)

    async def all(self) -> Sequence[App]:
        """Return all apps by id, as they were five seconds ago or later; the same sequence while nothing has
        changed. 10,000 apps cost one small read a second at most. Raises StoreUnavailable."""
        looked_ms = self._feed.looked_ms_ago()
        if looked_ms is None or looked_ms >= _LOOK_MS or self._feed.is_full_due():
            await self._feed.refresh()
        if self._all is None or self._all[0] != self._feed.turn:
            self._all = self._feed.turn, self._feed.all()
        return self._all[1]

    async def page(self, asked: AppsAsked, among: Collection[str] | None) -> AppsPage:
        """Return a page of all apps, or of those among these. Raises StoreUnavailable."""
        every = await self.all()
        if among is not None:
            every = [app for app in every if app.app_id in among]
        text = asked.contains.lower()
        if text:
            every = [app for app in every if text in app.app_id.lower()]
            every.sort(key=lambda app: _place(app.app_id, text))  # by id already: it stays so among equals
        first = bisect_right(every, _place(asked.after, text), key=lambda app: _place(app.app_id, text))
        return AppsPage(every[first if asked.after else 0 :][: asked.size], len(every))

    async def follow(self) -> None:
        """Look at what has changed: what was registered a while ago is known then.

        Raises StoreUnavailable.
        """
        await self._feed.refresh()

    def sure_id(self, number: int) -> str | None:
        """Return what `app_id_of` does, if that is known without asking anybody; else None."""
        app_id = self._feed.id_of(number)
        if app_id is None:
            return None
        known_ms = self._feed.known_ms(app_id)  # None: its record is damaged, and its schedules can be read
        return app_id if known_ms is None or self._clock.boot_ms() - known_ms < _KNOWN_MS else None

    async def app_id_of(self, number: int) -> str | None:
        """Return the id of the app with this number, or None if there is none.

        An unknown number has the count of changes read, since it may be another process's new app; and all
        apps, if there were changes and the log does not name it. There is one such read at a time, and it
        serves all who asked before it began. A known one is looked at again every ten seconds, since its app
        may be gone.
        """
        if (sure := self.sure_id(number)) is not None:
            return sure
        app_id = self._feed.id_of(number)
        if app_id is None:
            if self._feed.is_loaded:
                await self._feed.look()
                app_id = self._feed.id_of(number)
            if app_id is None and not self._feed.is_proved():
                await self._feed.read_all()
                app_id = self._feed.id_of(number)
            return app_id
        try:
            app = (await self.get(app_id)).app
        except NotFound:
            return None
        except StoreUnavailable:
            return app_id  # what was known is better than nothing: the caller reads the row itself
        return app_id if app.number == number else None

    def _refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._follow(), name="app feed")

    async def _follow(self) -> None:
        try:
            await self._feed.refresh()
        except (StoreUnavailable, OutcomeUnknown) as error:
            _log.info("the apps are not up to date: %s", error)
        except Exception:  # noqa: BLE001 - nobody awaits this task; who asks next tries again
            _log.exception("the apps are not up to date: a bug")
        finally:
            self._refreshing = None


def _place(app_id: str, text: str) -> tuple[bool, str]:
    """Return what the apps with a text in their ids are ordered by."""
    return not app_id.lower().startswith(text), app_id
