"""What time it is on the hosts, each asked by itself.

`current_timestamp()` is the coordinator's wall clock at that moment. (`now()` is not: a time-based UUID
never goes back, and so goes on from a false time.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from ringtime_shared.clock import ServerTime
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared

HOSTS_AT_ONCE = 5  #: enough for a majority that one host cannot turn
_GET = "SELECT current_timestamp() FROM system.local"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HostTimes:
    """Asks up to `HOSTS_AT_ONCE` hosts, others each time where there are more."""

    def __init__(self, session: CqlSession, statement: Prepared, boot_ms: Callable[[], int]) -> None:
        """Use `prepare`."""
        self._session = session
        self._statement = statement
        self._boot_ms = boot_ms
        self._first = 0

    @classmethod
    async def prepare(cls, session: CqlSession, boot_ms: Callable[[], int]) -> Self:
        (statement,) = await session.prepare(_GET)
        return cls(session, statement, boot_ms)

    async def fetch(self) -> Sequence[ServerTime]:
        """Raises StoreUnavailable when none answers."""
        hosts = self._session.hosts()
        first = self._first % max(len(hosts), 1)
        self._first = first + HOSTS_AT_ONCE
        asked = (hosts[first:] + hosts[:first])[:HOSTS_AT_ONCE]
        answers = await asyncio.gather(*map(self._ask, asked), return_exceptions=True)
        times = [answer for answer in answers if isinstance(answer, ServerTime)]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailable):
                raise answer
        if not times:
            raise StoreUnavailable("no host of Cassandra told the time")
        return times

    async def _ask(self, host: Any) -> ServerTime:
        asked_ms = self._boot_ms()
        ((told,),) = await self._session.ask_host(self._statement.bind(), host)
        answered_ms = self._boot_ms()
        wall_ms = (told.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
        return ServerTime(
            server=f"Cassandra host {host.address}",
            offset_ms=wall_ms - (asked_ms + answered_ms) // 2,
            doubt_ms=(answered_ms - asked_ms) // 2 + 1,
        )
