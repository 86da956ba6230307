"""What a node does once in a while, beside its work and for as long as it runs; and when it is cheapest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from ringtime_shared.errors import RingtimeError

_log = logging.getLogger(__name__)
ALONG_SHARE = 0.3  #: of a pause, at its end, in which a beat ends it


class Beat:
    """Tells when the node asks the store in any case, so that what is in no hurry goes along.

    A statement that comes alone wakes threads of Cassandra, which then spin for longer than it takes.
    """

    def __init__(self) -> None:
        self._pauses: dict[asyncio.Timeout, float] = {}  # and from when on a beat ends it

    def strike(self) -> None:
        """The store is about to be asked."""
        now_s = asyncio.get_running_loop().time()
        for pause, along_s in self._pauses.items():
            if along_s <= now_s and not pause.expired():
                pause.reschedule(now_s)

    @asynccontextmanager
    async def pause(self, most_s: float) -> AsyncIterator[None]:
        """Cut what is waited for meanwhile off at the first beat in the last part of this time, or when it is
        over, with TimeoutError. It takes no task of its own, as an owner pauses after each of its steps."""
        async with asyncio.timeout(most_s) as pause:
            self._pauses[pause] = asyncio.get_running_loop().time() + (1 - ALONG_SHARE) * most_s
            try:
                yield
            finally:
                del self._pauses[pause]

    async def wait(self, most_s: float) -> None:
        """Return at the first beat in the last part of this time, or when it is over."""
        with suppress(TimeoutError):
            async with self.pause(most_s):
                await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def rounds(
    what: str, make_round: Callable[[], Awaitable[None]], *, first_s: float, every_s: float
) -> AsyncIterator[None]:
    """Make a round every so often meanwhile; one that fails is told in the log, and the next may do better.

    Args:
        what: begins the sentences in the log.
        first_s: when the first is made at the latest: soon, but not while the process starts.
    """
    task = asyncio.create_task(_go_round(what, make_round, min(first_s, every_s), every_s), name=what)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _go_round(
    what: str, make_round: Callable[[], Awaitable[None]], first_s: float, every_s: float
) -> None:
    await asyncio.sleep(first_s)
    while True:
        try:
            await make_round()
        except RingtimeError as error:
            _log.warning("%s waits: %s", what, error)
        except Exception:  # noqa: BLE001 - a bug of a round is not the end of what is made in it
            _log.exception("%s: a bug; going on", what)
        await asyncio.sleep(every_s)
