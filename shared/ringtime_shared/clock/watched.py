"""The clock that services run on: the machine's, watched by a `ClockJudge`.

Invariant. `now_ms` never follows a jump of the machine's wall clock: it goes on as the boot clock does
until the judge relies on the new time, and from the jump until then `doubt` says so, at the very first
call. Whoever would do something by the false time asks `doubt` first, with no await between the question
and the deed:

| who | while the clock is in doubt |
|---|---|
| dispatcher: attempts, reading, sealing | are not begun; what is in flight ends and is recorded |
| dispatcher: ownership | gives its poller instances and its lease back; takes over no marks |
| ingest | refuses creates, replays and new apps: 503, nothing was written; promises no cancel |
| purge | deletes nothing |
| readiness | not ready, and says why |

All else that reads the time (slots of retries, TTLs, write timestamps, retention, log lines) goes by
`now_ms`, which is then the time as it was relied on last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from ringtime_shared.clock import Clock, ServerTime
from ringtime_shared.clock.judge import ClockJudge
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import ClockSettings

_log = logging.getLogger(__name__)

FetchTimes = Callable[[], Awaitable[Sequence[ServerTime]]]


class WatchedClock:
    """A clock that says when it is in doubt. Not for threads.

    Until the first `look` it is.
    """

    def __init__(self, machine: Clock, settings: ClockSettings) -> None:
        self._machine = machine
        self._settings = settings
        self._judge = ClockJudge(max_skew_ms=settings.max_skew_ms, hold_ms=round(settings.hold_s * 1_000))
        self._told: str | None = None  # the doubt that was logged last
        self._steps_told = 0

    def now_ms(self) -> int:
        boot_ms = self._machine.boot_ms()
        return self._judge.steady_offset_ms(self._machine.now_ms() - boot_ms) + boot_ms

    def boot_ms(self) -> int:
        return self._machine.boot_ms()

    def doubt(self) -> str | None:
        boot_ms = self._machine.boot_ms()
        return self._judge.doubt(self._machine.now_ms() - boot_ms, boot_ms)

    def steps(self) -> int:
        return self._judge.steps

    async def look(self, fetch_times: FetchTimes) -> None:
        """Ask the store what time it is, and judge. One that does not answer leaves things as they are."""
        try:
            servers = await fetch_times()
        except (StoreUnavailable, OutcomeUnknown):
            servers = None
        boot_ms = self._machine.boot_ms()
        self._judge.look(self._machine.now_ms() - boot_ms, boot_ms, servers)
        self._tell()

    @asynccontextmanager
    async def watched(
        self, fetch_times: FetchTimes, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[None]:
        """Look, and go on looking until the way out. `pause` passes about so many seconds."""
        await self.look(fetch_times)
        watching = asyncio.create_task(self._watch(fetch_times, pause), name="clock watch")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self, fetch_times: FetchTimes, pause: Callable[[float], Awaitable[None]]) -> None:
        while True:
            await pause(self._settings.look_ms / 1_000)
            try:
                await self.look(fetch_times)
            except Exception:  # noqa: BLE001 - a bug in one look must not end the watch
                _log.exception("a look at the clock failed: a bug; going on")

    def _tell(self) -> None:
        doubt = self.doubt()
        if self._judge.steps != self._steps_told:
            self._steps_told = self._judge.steps
            _log.error("the wall clock was set to another time; from now on that is relied on")
        if (doubt is None) != (self._told is None):
            if doubt is None:
                _log.warning("the wall clock is relied on again")
            else:
                _log.error("the wall clock is not relied on, so nothing is fired or accepted: %s", doubt)
        self._told = doubt
