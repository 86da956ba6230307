"""Whether a write was possible just now, at no cost while writes come by themselves.

A store that answers reads may refuse every write: a full disk, a quorum that is away. So readiness asks for
a write. One that succeeded within the last seconds tells; only where there was none, or the last one failed,
a tiny one is made, and at most one a second, whoever asks how often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable

FRESH_MS = 5_000
PROBE_EVERY_MS = 1_000


class WriteProbe:
    """Of one store, on one event loop. The store notes in `written_ms` what came of each write."""

    def __init__(self, boot_ms: Callable[[], int]) -> None:
        self.boot_ms = boot_ms
        #: when the last write ended, by `boot_ms`; None: the store did not take it, or there was none
        self.written_ms: int | None = None
        self._failure: StoreUnavailable | OutcomeUnknown | None = None
        self._probed_ms: int | None = None
        self._turn = asyncio.Lock()

    async def check(self, write: Callable[[], Awaitable[None]]) -> None:
        """Return if a write was possible just now. Raises StoreUnavailable, OutcomeUnknown.

        Args:
            write: a tiny write, which is noted like others.
        """
        if self._is_fresh():
            return
        async with self._turn:
            if self._is_fresh():
                return
            now_ms = self.boot_ms()
            if self._failure is None or self._probed_ms is None or now_ms - self._probed_ms >= PROBE_EVERY_MS:
                self._probed_ms = now_ms
                self._failure = None
                try:
                    await write()
                except (StoreUnavailable, OutcomeUnknown) as error:
                    self._failure = error
            if self._failure is not None:
                raise type(self._failure)(*self._failure.args)

    def _is_fresh(self) -> bool:
        return self.written_ms is not None and self.boot_ms() - self.written_ms < FRESH_MS
