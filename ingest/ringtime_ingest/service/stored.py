"""How many one-time schedules an app has in the store, for a bound on that.

An exact count would cost a round trip at each create. So each process counts what it files, by the day on
which it expires, writes its counts every ten seconds, and reads those of the others as often. Nothing filed
is ever taken off: a row is gone when the store forgets it, and so is its count, with its day.

| what is not exact | by how much |
|---|---|
| processes that create at the same time | they pass the bound by what they file in 10 s |
| a process that dies, or ends while the store is away | what it filed in its last 10 s is not counted |
| schedules of before there was a bound | are not counted, nor runs of recurring schedules |
| a row that has expired | counts until its day, UTC, is over |
| a create that failed for want of the store | counts |

An app without a bound costs a look at its configuration. With one, its first create in a process reads the
counts, which is one round trip; later ones are judged by what was read at most 10 s ago and wait for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from ringtime_shared.clock import Clock
from ringtime_shared.errors import OutcomeUnknown, RateLimited, StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.models.tally import DAY_MS, Tally
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import TallyStore

FRESH_S = 10
_CLOSING_S = 5.0  #: a process that ends must not wait for a store that is away, once for each app
_WAIT_S = 3_600  #: for a refused client: what is stored goes by the day
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Counts:
    """Those of one app."""

    own: Counter[int] = field(default_factory=Counter)  #: what this process filed, by day of expiry
    written: dict[int, int] = field(default_factory=dict)  #: of that, what the store has
    others: Counter[int] = field(default_factory=Counter)  #: what all others did, as it was last read
    is_used: bool = True  #: since the last exchange

    def total(self, today: int) -> int:
        return sum(rows for part in (self.own, self.others) for day, rows in part.items() if day >= today)


class Stored:
    """The counts of one process. Bounded by the apps that have a bound and create."""

    def __init__(self, store: TallyStore, clock: Clock, limits: AppLimits, holder: int) -> None:
        """`holder`: a nonce of this process."""
        self._store = store
        self._clock = clock
        self._most = limits.stored_schedules
        self._holder = holder
        self._counts: dict[int, _Counts] = {}  # by the app's number
        self._reading = defaultdict[int, asyncio.Lock](asyncio.Lock)
        self._exchanging: asyncio.Task[None] | None = None

    async def admit(self, app: App, expires_ms: list[int]) -> None:
        """Count schedules that are about to be filed, by when they expire. Raises RateLimited,
        StoreUnavailable."""
        most = app.configuration.stored_schedules or self._most
        if most is None:
            return
        counts = self._counts.get(app.number) or await self._begin(app.number)
        counts.is_used = True
        stored = counts.total(self._clock.now_ms() // DAY_MS)
        if stored + len(expires_ms) > most:
            raise RateLimited(
                "app-stored",
                _WAIT_S,
                f"app {app.app_id} has {stored:,} schedules in the store and may have {most:,}; they are"
                " forgotten by the day, when they cannot be read any more",
            )
        counts.own.update(each // DAY_MS for each in expires_ms)
        if self._exchanging is None:
            self._exchanging = asyncio.create_task(self._exchange_for_ever(), name="counts of what is stored")

    def take_back(self, app: App, expires_ms: int) -> None:
        """Count a schedule no more that was admitted and not filed, since it was there already."""
        counts, day = self._counts.get(app.number), expires_ms // DAY_MS
        if counts is not None and counts.own[day] > 0:
            counts.own[day] -= 1

    async def close(self) -> None:
        """Write what was counted, as far as the store takes it soon."""
        if self._exchanging is not None:
            self._exchanging.cancel()
            await asyncio.wait([self._exchanging])
            try:
                async with asyncio.timeout(_CLOSING_S):
                    await self.exchange()
            except TimeoutError:
                _log.warning("what apps have stored was not written down to the end: the store is slow")

    async def _begin(self, number: int) -> _Counts:
        async with self._reading[number]:
            if number not in self._counts:
                counts = _Counts()
                await self._read(number, counts)
                self._counts[number] = counts
            counts = self._counts[number]
        self._reading.pop(number, None)
        return counts

    async def _read(self, number: int, counts: _Counts) -> None:
        """Read the counts of others; and, of an app that this process had forgotten, its own."""
        others = Counter[int]()
        for tally in await self._store.fetch_tallies(number, self._clock.now_ms() // DAY_MS):
            if tally.holder != self._holder:
                others[tally.day] += tally.rows
            elif tally.day not in counts.own:
                counts.own[tally.day] = counts.written[tally.day] = tally.rows
        counts.others = others

    async def exchange(self) -> None:
        """Write the counts that have changed, and read those of others, of each app that was at work; forget
        those of the rest, which are read when they are at work again."""
        today = self._clock.now_ms() // DAY_MS
        for number, counts in list(self._counts.items()):
            changed = {day: rows for day, rows in counts.own.items() if counts.written.get(day, 0) != rows}
            if not changed and not counts.is_used:
                del self._counts[number]
                continue
            counts.is_used = False
            try:
                if changed:
                    await self._store.put_tallies(
                        [Tally(number, day, self._holder, rows) for day, rows in changed.items()]
                    )
                    counts.written.update(changed)
                await self._read(number, counts)
            except (StoreUnavailable, OutcomeUnknown) as error:
                _log.info("what app number %d has stored is not up to date: %s", number, error)
            for day in [day for day in counts.own if day < today]:
                del counts.own[day]
                counts.written.pop(day, None)

    async def _exchange_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FRESH_S)
            try:
                await self.exchange()
            except Exception:  # noqa: BLE001 - nobody awaits this task; the next round tries again
                _log.exception("the counts of what is stored are not up to date: a bug")
