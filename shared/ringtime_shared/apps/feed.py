"""All apps in memory, as fresh as one small read can prove: dispatchers and ingest follow the same feed.

A look reads the count of app changes (`AppFeedStore`). While it stands where it stood before all apps were
last read, nothing has changed since, and what is known is as fresh as that look: 10,000 apps cost one cell
a second. If it has moved, the apps that the log names are read at once. When these account for all that the
count has risen by, that was all that has changed, and what is known is as fresh as the look again. If not,
all apps are read, at most every `SETTLE_MS`: 10,000 take this process and the store 0.2 s each. All are read
every minute in any case: what was written by hand, or by a version of Ringtime that does not count, is seen
then.

Invariant. What `reading` returns with a time shows every change of that app which had returned before that
time. The time is on the boot clock of this process, so one that was suspended knows that its map is old.

Proof sketch. A driver counts a change after it is durable and before its call returns. Let C be the count up
to which the map is complete, which begins as the one that was read before a full read began, and let a look
that began at T read C again. A change that had returned before T was in the count at T, hence among those
that C counts (the count only rises), hence durable before the full read began: that read has seen it, or a
newer one. What was learned of one app later began later and is newer still.

Let the look read D more than C, and then the log, and then the apps that it names. Each change raises the
count by its weight, 32 bits of a hash of its entry in the log. If entries that C does not have weigh D
together, they are those that were counted since. Their changes were durable before the count was read, and
their apps were read after that, by this very look: one that read them earlier may have missed a second change
that has the same entry, being of another maker in the same millisecond. So the map is complete up to C + D,
unless something put an older read over these: a look beside a full read vouches for nothing, nor for apps of
which something newer is known, and other reads of an app get in only if they began in a later millisecond.

An entry is written before it is counted, so a look may see some that its count has not; and so may what was
told when a full read began: the last few of then may be counted in C or not. Which are left out at either end
is looked for among those few, by their stamps (`weighing`); if nothing makes up D, all apps are read. The
stamps only say where to look. Whatever set is found, each entry in it was read by this look, and that it
weighs D is what proves that nothing else was counted since; where an entry is missing, another set weighs as
much one time in a million. No wall clock takes part, and no name alone: one that comes late, twice or never
fits no sum.

| what happens | what follows |
|---|---|
| a maker dies before his change is counted | whoever waits for it to be known counts it himself first |
| a change is counted twice, or by a version without weights | no sum fits; all apps are read once more |
| the log loses a name, or stamps it long ago | the same: the full read sees the change, some seconds later |
| changes all the time | as a rule every look accounts for them, 450 a second of ten pods as 5 of one |
| clocks of makers that differ by 10 ms and more, and changes all the time | a full read every `SETTLE_MS` |
| the count cannot be read | ages grow; what needs a fresh app reads it by itself, or waits |
| an app's record is damaged | the app as it was last read stays, and is marked |
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from ringtime_shared.apps.weighing import NOTHING_OPEN, find_counted, open_since
from ringtime_shared.clock import Clock
from ringtime_shared.models.app import App
from ringtime_shared.once import OnceLog
from ringtime_shared.stores.codec.apps import NO_NUMBER
from ringtime_shared.stores.protocol import AppChange, AppCounts, AppFeedStore, AppStore

_log = logging.getLogger(__name__)

FULL_MS = 60_000  #: all apps are read this often, come what may
SETTLE_MS = 3_000  #: and no more often than this while changes go on
LOOK_BACK_MS = 5_000  #: how late a name in the log may become visible, clocks included, and be read promptly
MOST_NAMED = 1_000  #: apps that one look reads by name; the others are left to the full read
_MERGED_AT_ONCE = 1_000  #: apps, without letting anybody else run: about a millisecond


class FeedStore(AppStore, AppFeedStore, Protocol):
    """What following the apps needs of a store."""


class AppReading(NamedTuple):
    """An app, and the boot time, in ms, up to which it shows every change that had returned."""

    app: App
    read_boot_ms: int


def spread_of(process: str) -> float:
    """Return a number from 0 to 1, another for each process, so that they do not all read at once."""
    return zlib.crc32(process.encode()) / (1 << 32)


class Proof:
    """What the count of changes proves of a map that holds all apps. Pure; times are boot times, in ms."""

    def __init__(self, spread: float = 0.0) -> None:
        """
        Args:
            spread: see `spread_of`.
        """
        self.full_ms = -1  #: when the last full read began; -1: there was none
        self.proved_ms = -1  #: the map shows every change that had returned by then
        self.due_ms = -1  #: when all apps are to be read (again)
        self._every_ms = round(FULL_MS * (1 - spread / 4))
        self._base = -1  # the count up to which the map is complete
        self._has: set[AppChange] = set()  # entries of late that are counted in it
        self._open_ms = NOTHING_OPEN  # entries stamped from here on may be counted in it, too
        self._counted = (-1, -1)  # the last read of the count: when it began, and what it was

    def note_count(self, count: int, begun_ms: int) -> None:
        """The count was read by a call that began at `begun_ms`."""
        self._counted = max(self._counted, (begun_ms, count))  # of two in one millisecond, the higher
        if count == self._base:
            self.proved_ms = max(self.proved_ms, begun_ms)
        if self.full_ms >= 0:
            self.due_ms = self.full_ms + (self._every_ms if self.is_proved else SETTLE_MS)

    def news(self, told: Collection[AppChange]) -> list[AppChange]:
        """Return those of these entries that may be counted since, by their stamps."""
        return sorted(change for change in told if change not in self._has)

    def note_told(
        self, count: int, begun_ms: int, told: Collection[AppChange], read: Sequence[AppChange]
    ) -> None:
        """The count was read by a call that began at `begun_ms`, then the log, and then some apps.

        Args:
            told: what the log has of late.
            read: those of the `news` whose apps are in the map as they were read after that, or newer.
        """
        if self._base >= 0 and self._account(count, read):
            self._has.intersection_update(told)
            self.note_count(count, begun_ms)

    def note_full(self, count: int, begun_ms: int, told: Collection[AppChange]) -> None:
        """All apps are in the map; the count was read before, by a call that began at `begun_ms`, and then
        the log: it told this, up to that call, by the stamps."""
        self.full_ms = begun_ms
        if self._base < 0 or not self._account(count, self.news(told)):
            self._base, self._open_ms = count, open_since(told)
            self._has = {change for change in told if change.changed_ms < self._open_ms}
        self.note_count(count, begun_ms)

    def _account(self, count: int, read: Sequence[AppChange]) -> bool:
        """Let the map be complete up to this count, if some of these entries make up for its rise."""
        if count == self._base:
            return True
        counted = find_counted(count - self._base, read, self._open_ms)
        if counted is None:
            return False
        self._base, self._open_ms = count, NOTHING_OPEN
        self._has.update(counted)
        return True

    @property
    def is_proved(self) -> bool:
        """Whether the last count that was read is that of the map."""
        return self._counted[1] == self._base


class AppFeed:
    """All apps of one store, for one event loop. Both kinds of reads are one at a time, and serve all who
    asked before they began."""

    def __init__(self, store: FeedStore, clock: Clock, *, spread: float = 0.0) -> None:
        """`spread`: see `spread_of`."""
        self.apps: dict[str, App] = {}  #: the same dict always; of one that is damaged, what was last read
        self.turn = 0  #: rises when `apps` may have changed
        self._store = store
        self._clock = clock
        self._proof = Proof(spread)
        self._polled = 0
        self._ids: dict[int, str] = {}  # by number; the same dict always
        #: the id of the app that has a number, as far as is known
        self.id_of: Callable[[int], str | None] = self._ids.get
        self._damaged: dict[str, App] = {}  # as they were read
        self._alone_ms: dict[str, int] = {}  # apps that were read alone since the last full read, and when
        self._merging_ms = -1  # when the full read began that is in the map, or is on its way into it
        self._named_ms: dict[str, int] = {}  # those that looks have read by name since then, and when
        self._look, self._read_all = _Shared(self._look_once), _Shared(self._read_all_once)
        self._looked_ms = -1
        self._asked_ms: int | None = None  # when the log was last asked, by the wall clock
        self._said = OnceLog(_log)

    @property
    def is_loaded(self) -> bool:
        """Whether all apps were ever read."""
        return self._proof.full_ms >= 0

    def counts(self) -> AppCounts:
        """Return how much is known to be registered."""
        return AppCounts(len(self.apps), self._polled)

    def all(self) -> list[App]:
        """Return all as they were read last, by id; also those that are damaged now, which say so."""
        return [app for _, app in sorted({**self.apps, **self._damaged}.items())]

    def age_ms(self) -> int:
        """Return how long ago everything known was proved to be so; 0 before the first read."""
        return self._clock.boot_ms() - self._proof.proved_ms if self.is_loaded else 0

    def is_proved(self) -> bool:
        """Whether nothing had changed since all apps were read, when that was last looked at."""
        return self._proof.is_proved

    def looked_ms_ago(self) -> int | None:
        """Return how long ago the last look began that was answered; None: there was none."""
        return None if self._looked_ms < 0 else self._clock.boot_ms() - self._looked_ms

    def is_full_due(self) -> bool:
        """Whether all apps are to be read (again)."""
        return self._clock.boot_ms() >= self._proof.due_ms

    def next_ms(self, pause_ms: int) -> int:
        """Return when something is to be read again: so long after the last look began, or all apps."""
        return -1 if self._looked_ms < 0 else min(self._looked_ms + pause_ms, self._proof.due_ms)

    def reading(self, app_id: str) -> AppReading | None:
        """Return what is known of an app; None: nothing, or its record is damaged."""
        known_ms = self.known_ms(app_id)
        return None if known_ms is None else AppReading(self.apps[app_id], known_ms)

    def known_ms(self, app_id: str) -> int | None:
        """Return the boot time up to which what is known of an app was proved; None: as of `reading`."""
        if app_id not in self.apps or app_id in self._damaged:
            return None
        return max(self._proof.proved_ms, self._alone_ms.get(app_id, -1))

    async def look(self) -> None:
        """Read the count, and the apps that the log names if it has moved. Raises StoreUnavailable."""
        await self._look()

    async def read_all(self) -> None:
        """Read the count and all apps. Raises StoreUnavailable."""
        await self._read_all()

    async def refresh(self) -> None:
        """Look, and read all apps if that is due. Raises StoreUnavailable."""
        if self.is_loaded:
            await self.look()
        if self.is_full_due():
            await self.read_all()

    def learn(self, app_id: str, app: App | None, begun_ms: int) -> None:
        """Take note of what a read, or a write, of one app has shown.

        Args:
            app: None: there is none of this id.
            begun_ms: boot time before the call was sent. Others may have changed the app since, and this
                process may have slept: counted from its answer, an old map would pass for a new one.
        """
        if begun_ms > self._named_ms.get(app_id, -1):
            self._take(app_id, app, begun_ms)
        elif app is not None and app_id in self.apps:
            self._put(app_id, app)

    def _take(self, app_id: str, app: App | None, begun_ms: int) -> bool:
        """Take note of a read of one app; return whether it is what is known from now on."""
        is_known = app_id in self.apps
        if begun_ms > self._merging_ms and begun_ms >= self._alone_ms.get(app_id, -1):
            if is_known or app is not None:  # else anybody could fill the memory with names
                self._alone_ms[app_id] = begun_ms
            self._put(app_id, app)
            return True
        if is_known and app is not None:  # it began before what is known was read
            self._put(app_id, app)
        return False

    async def _look_once(self) -> None:
        begun_ms = self._clock.boot_ms()
        count = await self._store.count_app_changes()
        self._proof.note_count(count, begun_ms)
        if not self._proof.is_proved:
            is_alone, full_reads = not self._read_all.is_under_way, self._read_all.begun
            told = await self._fetch_told()
            read = await self._read_named(self._proof.news(told))
            if is_alone and full_reads == self._read_all.begun:
                self._proof.note_told(count, begun_ms, told, read)
        self._looked_ms = begun_ms

    async def _fetch_told(self) -> set[AppChange]:
        """Return what the log has since it was asked last, and of a while before."""
        now_ms = self._clock.now_ms()
        asked_ms = now_ms if self._asked_ms is None else min(self._asked_ms, now_ms)
        after_ms = max(asked_ms, now_ms - FULL_MS) - LOOK_BACK_MS
        told = set(await self._store.fetch_app_changes(after_ms))
        self._asked_ms = now_ms
        return told

    async def _read_named(self, news: Sequence[AppChange]) -> list[AppChange]:
        """Read the apps that these entries name; return those of whose apps this is known now."""
        named = list(dict.fromkeys(change.app_id for change in news))[:MOST_NAMED]
        if not named:
            return []
        begun_ms = self._clock.boot_ms()
        found = {app.app_id: app for app in await self._store.fetch_some_apps(named)}
        taken = {app_id for app_id in named if self._take(app_id, found.get(app_id), begun_ms)}
        self._named_ms.update(dict.fromkeys(taken, begun_ms))
        return [change for change in news if change.app_id in taken]

    async def _read_all_once(self) -> None:
        begun_ms, now_ms = self._clock.boot_ms(), self._clock.now_ms()
        count = await self._store.count_app_changes()
        told = [change for change in await self._fetch_told() if change.changed_ms < now_ms]
        read_ms = self._clock.boot_ms()
        found = {app.app_id: app for app in await self._store.fetch_apps()}
        # From here on what was read before this does not get in any more, though the old proof holds yet.
        # What was read alone since has seen all that the count has, too.
        self._merging_ms = read_ms
        ids = [*found, *(app_id for app_id in self.apps if app_id not in found)]
        for start in range(0, len(ids), _MERGED_AT_ONCE):
            for app_id in ids[start : start + _MERGED_AT_ONCE]:
                if self._alone_ms.get(app_id, -1) <= read_ms:
                    self._put(app_id, found.get(app_id))
            await asyncio.sleep(0)
        self._alone_ms = {app_id: ms for app_id, ms in self._alone_ms.items() if ms > read_ms}
        self._named_ms = {app_id: ms for app_id, ms in self._named_ms.items() if ms > read_ms}
        self._proof.note_full(count, begun_ms, told)

    def _put(self, app_id: str, app: App | None) -> None:
        """Let this be what is known of an app, unless something newer is: numbers and versions only rise."""
        known = self.apps.get(app_id)
        if app is not None and app.damage:
            self.turn += self._damaged.get(app_id) != app
            self._damaged[app_id] = app
            self._said.warn((app_id, app.damage), "app %s cannot be read: %s", app_id, app.damage)
            if known is not None:
                return
        else:
            if app is not None and known is not None and not known.damage and _order(app) < _order(known):
                return
            self.turn += self._damaged.pop(app_id, None) is not None
        if app == known:
            return
        self.turn += 1
        if known is not None:
            self._polled -= known.polled
            if self._ids.get(known.number) == app_id:
                del self._ids[known.number]
        if app is None:
            del self.apps[app_id]
            return
        self.apps[app_id] = app
        self._polled += app.polled
        if app.number != NO_NUMBER:
            self._ids[app.number] = app_id


def _order(app: App) -> tuple[int, int]:
    return app.number, app.version


class _Shared:
    """A call that is made one at a time, each for all who have asked before it began."""

    def __init__(self, call: Callable[[], Awaitable[None]]) -> None:
        self._call = call
        self._turn = asyncio.Lock()
        self.begun = 0  #: how many were begun
        self._answered = 0  # number of the last one that did not fail: such a one is nobody's answer

    @property
    def is_under_way(self) -> bool:
        return self._turn.locked()

    async def __call__(self) -> None:
        begun_before = self.begun
        async with self._turn:
            if self._answered <= begun_before:
                self.begun += 1
                this = self.begun
                await self._call()
                self._answered = this
