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
    """Of one store, on one event loop. It is entered around each write, and learns what came of it."""

    def __init__(self, boot_ms: Callable[[], int]) -> None:
        self._boot_ms = boot_ms
        self._written_ms: int | None = None  # None: the last write failed, or there was none
        self._failure: StoreUnavailable | OutcomeUnknown | None = None
        self._probed_ms: int | None = None
        self._turn = asyncio.Lock()

    def __enter__(self) -> None:
        """A write begins; others may be under way."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._written_ms = self._boot_ms()
        elif issubclass(kind, (StoreUnavailable, OutcomeUnknown)):
            self._written_ms = None

    async def check(self, write: Callable[[], Awaitable[None]]) -> None:
        """Return if a write was possible just now. Raises StoreUnavailable, OutcomeUnknown.

        Args:
            write: a tiny write, around which this is entered, too.
        """
        if self._is_fresh():
            return
        async with self._turn:
            if self._is_fresh():
                return
            now_ms = self._boot_ms()
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
        return self._written_ms is not None and self._boot_ms() - self._written_ms < FRESH_MS
