"""Operations of `MetaStore`, the counters, and what time it is on the hosts.

`meta`. Its single rows are changed by LWTs. An LWT that gets no answer may have been applied. Who sent it
reads at SERIAL, which also finishes what is under way, and decides anew. A number of a counter that was
perhaps taken is skipped.

Time. Each host is asked by itself: `current_timestamp()` is the coordinator's wall clock at that moment.
(`now()` is not: a time-based UUID never goes back, and so goes on from a false time.)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from ringtime_shared.clock import ServerTime
from ringtime_shared.errors import Damaged, StoreUnavailable
from ringtime_shared.ids import MAX_NONCES
from ringtime_shared.stores.cassandra.lwt import ROUNDS, back_off
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared

PROBES = 16
_NUMBERS_PASSED = 1_000
_SENT_UNTIL = "sent_until_ms"
_HOLDER_TTL_S = 90 * 86_400

_GET = "SELECT number, note FROM $meta WHERE name = ?"
_PUT = "UPDATE $meta SET number = ?, note = ? WHERE name = ? IF number = ?"
_PUT_PROBE = "UPDATE $meta SET number = ? WHERE name = ?"
_PUT_HOLDER = (
    f"INSERT INTO $nonce_holders (nonce, holder, claimed_ms) VALUES (?, ?, ?) USING TTL {_HOLDER_TTL_S}"
)


class MetaTable:
    """`MetaStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get, self._put, self._put_holder, self._put_probe = statements
        self._now_ms = now_ms
        self._turn = asyncio.Lock()  # our own calls need not get in front of each other
        self._last: dict[str, int] = {}  # counters as they were when a number of them was last taken here

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        return cls(session, await session.prepare(_GET, _PUT, _PUT_HOLDER, _PUT_PROBE), now_ms)

    async def claim_nonce(self, holder: str) -> int:
        """Numbers rise, so one comes round again after 2**18 claims; `nonce_holders` is for people."""
        nonce = await self.take_number("nonces") % MAX_NONCES
        await self._session.write([self._put_holder.bind(nonce, holder, self._now_ms())])
        return nonce

    async def take_number(self, counter: str) -> int:
        """Return the counter's next number, from 0. Raises StoreUnavailable."""
        return (await self.take_numbers(counter, 1))[0]

    async def take_numbers(self, counter: str, count: int) -> range:
        """Return the counter's next `count` numbers, all higher than any that was taken before the call.

        One LWT if nobody else has taken any since this process did. Raises StoreUnavailable.
        """
        async with self._turn:
            for n in range(ROUNDS):
                stored = self._last.pop(counter, None) if n == 0 else None
                if stored is None:
                    stored, _ = await self._fetch(counter)
                number = stored or 0
                if number < 0:
                    raise Damaged("meta", counter, f"number: {number}, less than 0")
                if await self._put_if(counter, number + count, None, stored):
                    self._last[counter] = number + count
                    return range(number, number + count)
                if n:
                    await back_off(n)
        raise StoreUnavailable(f"Cassandra: too many others take numbers of {counter!r}")

    async def note_restore(self, sent_until_ms: int, nonces: int) -> None:
        await self.take_numbers("nonces", nonces)
        await self.take_numbers(
            "app_numbers", _NUMBERS_PASSED
        )  # its table may have been copied before `apps`
        async with self._turn:
            for n in range(ROUNDS):
                stored, _ = await self._fetch(_SENT_UNTIL)
                if stored == sent_until_ms or await self._put_if(_SENT_UNTIL, sent_until_ms, None, stored):
                    return
                await back_off(n)
        raise StoreUnavailable("Cassandra: too many others note a restore")

    async def fetch_sent_until(self) -> int:
        stored, _ = await self._fetch(_SENT_UNTIL)
        return stored or 0

    async def raise_era(self, identity: str) -> int:
        async with self._turn:
            for n in range(ROUNDS):
                stored, recorded = await self._fetch("era")
                if stored is not None and recorded == identity:
                    return stored
                era = (stored or 0) + 1
                if await self._put_if("era", era, identity, stored):
                    return era
                await back_off(n)
        raise StoreUnavailable("Cassandra: too many others raise the era")

    async def ping(self) -> None:
        await self._session.ping(self._get.bind("era"))

    async def check_ready(self) -> None:
        await self.ping()
        await self._session.writes.check(self._probe)

    async def _probe(self) -> None:
        """Write one of few rows of its own, not always the same: they lie on different replicas."""
        await self._session.write([self._put_probe.bind(self._now_ms(), f"probe-{random.randrange(PROBES)}")])

    async def _fetch(self, name: str) -> tuple[int | None, str | None]:
        records = await self._session.read(self._get.bind(name), is_serial=True)
        return records[0] if records else (None, None)

    async def _put_if(self, name: str, number: int, note: str | None, stored: int | None) -> bool:
        record = await self._session.write_if(self._put.bind(number, note, name, stored))
        return record is not None and bool(record[0])


HOSTS_AT_ONCE = 5  #: enough for a majority that one host cannot turn
_GET_TIME = "SELECT current_timestamp() FROM system.local"
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
        (statement,) = await session.prepare(_GET_TIME)
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
