"""What an API key costs a request, and whether how long a refusal takes tells anything.

    PYTHONPATH=. python benchmarks/api_keys.py [requests] [tries]

The first part sends requests through the gate and a guarded method that answers at once, with keys and
without, in turns: the difference is what keys cost when they are known already, for a key of all apps, and
for one of some on a path with an app or an id. Processor time of this process.

The second part lets `KeyChecks` refuse keys that are wrong in different ways, in random order, `tries` of
each: an id that nobody has, a secret whose digest differs in its first byte, and one whose digest is that of
the real key for two bytes. It prints the median of each, and how far apart the means are in standard errors
of their difference (Welch's t): less than 4.5 is what leakage tests take for no difference.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ringtime_ingest.http.envelope import Answer
from ringtime_ingest.http.gate import Gate, Room, Shortcut
from ringtime_ingest.http.guard import Declared, Guard
from ringtime_ingest.http.meter import Meter
from ringtime_ingest.service import IngestParts, IngestService, NewApp
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import ApiKey, make_key, read_key
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import Unauthenticated
from ringtime_shared.http_server import TAKE
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.memory import MemoryStore

ROUNDS, SCOPES = 7, [Scope.SCHEDULES_READ]
HEADERS = [
    (b"host", b"127.0.0.1:8080"),
    (b"user-agent", b"bench"),
    (b"accept", b"application/json"),
    (b"content-type", b"application/json"),
    (b"content-length", b"0"),
]
Endpoint = Callable[[Request], Awaitable[Response]]


async def _answer(request: Request) -> Response:  # noqa: ARG001
    return Answer(b"{}", 200)


async def _never(*_: Any) -> None:
    raise AssertionError


def _gate(keys: KeyChecks | None, service: IngestService, named: dict[str, str]) -> Gate:
    meter = Meter(AppLimits(), 1, service)
    endpoint: Endpoint = _answer
    if keys is not None:
        declared = Declared("/x", _answer, ["GET"], SCOPES[0])
        endpoint = Guard(service, meter.about).over([declared])[0].endpoint

    short = _Straight(endpoint, named)
    return Gate(_never, Room(10), lambda *_: None, short, meter=meter, keys=keys, most_of_key=100)


class _Straight(Shortcut):
    """Leads every request to one method."""

    def __init__(self, endpoint: Endpoint, named: dict[str, str]) -> None:
        super().__init__([])
        self._endpoint = endpoint
        self._named = named

    def find(self, scope: Any) -> Endpoint:
        scope["path_params"] = self._named
        scope["endpoint"] = self._endpoint
        return self._endpoint


async def _cpu_us(gate: Gate, headers: list[tuple[bytes, bytes]], count: int) -> float:
    """Return the processor time of a request, in microseconds."""
    begun = time.process_time()
    for _ in range(count):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/x",
            "headers": headers,
            TAKE: (_never, lambda *_: None),
        }
        await gate(scope, _never, _never)  # type: ignore[arg-type]
    return (time.process_time() - begun) / count * 1e6


async def cost(requests: int) -> None:
    """Print what keys cost a request."""
    clock = SystemClock()
    store = MemoryStore(clock.now_ms)
    service = await IngestService.start(
        IngestParts(
            store=store,
            clock=clock,
            settings=IngestSettings(),
            limits=AppLimits(),
            callbacks={},
            holder="bench",
        )
    )
    configuration = AppConfiguration()
    app = await service.register_app(
        NewApp(app_id="shop", partitions=1, active=True, configuration=configuration)
    )
    now_ms, number = clock.now_ms(), app.number
    schedule_id = IdMint(1).mint(slot_ms=now_ms, kind=Kind.ONE_TIME, partition=0, app_number=number)
    ways = []
    for name, apps, named in (
        ("a key of all apps", None, {}),
        ("a key of an app, app in the path", ["shop"], {"app_id": "shop"}),
        ("a key of an app, id in the path", ["shop"], {"schedule_id": str(schedule_id)}),
    ):
        text, key = make_key(SCOPES, apps, label="bench", now_ms=clock.now_ms())
        await store.put_key(key)
        keys = KeyChecks(store, clock)
        said = [*HEADERS, (b"authorization", b"Bearer " + text.encode())]
        ways.append((name, _gate(keys, service, named), said))
    plain = _gate(None, service, {})
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, gate, said in ways:
            without = await _cpu_us(plain, HEADERS, requests)
            took.setdefault(name, []).append(await _cpu_us(gate, said, requests) - without)
    await service.close()
    print(f"cpu us a request more than without keys, median of {ROUNDS} pairs of {requests:,} requests")
    for name, each in took.items():
        print(f"  {name}: {statistics.median(each):.2f} (from {min(each):.2f} to {max(each):.2f})")


def _alike(real: ApiKey, begin: bytes, *, same: int) -> bytes:
    """Return a well-formed key of the same id whose digest has its first `same` bytes, and no more, in common
    with the real one's."""
    while True:
        made = make_key(SCOPES, None, label="x", now_ms=1)[0].encode()
        text = begin + made[16:]
        parts = read_key(_summed(text[:-6]))
        assert parts is not None
        if parts.digest[:same] == real.digest[:same] and parts.digest[same] != real.digest[same]:
            return b"Bearer " + _summed(text[:-6])


def _summed(begin: bytes) -> bytes:
    from ringtime_shared.access.keys import _checksum

    return begin + _checksum(begin)


async def timing(tries: int) -> None:
    """Print how long refusals take, by what is wrong."""
    clock = SystemClock()
    store = MemoryStore(clock.now_ms)
    text, real = make_key(SCOPES, None, label="bench", now_ms=clock.now_ms())
    await store.put_key(real)
    keys = KeyChecks(store, clock)
    begin = text[:16].encode()
    kinds = {
        "no such id": b"Bearer " + make_key(SCOPES, None, label="x", now_ms=1)[0].encode(),
        "digest differs at once": _alike(real, begin, same=0),
        "digest is right for two bytes": _alike(real, begin, same=2),
    }
    took: dict[str, list[int]] = {name: [] for name in kinds}
    order = [name for name in kinds for _ in range(tries)]
    random.shuffle(order)
    for name in order:
        said = kinds[name]
        begun = time.perf_counter_ns()
        if keys.recall(said) is None:
            with suppress(Unauthenticated):
                await keys.check(said)
        took[name].append(time.perf_counter_ns() - begun)
    print(f"ns a refusal, {tries:,} tries of each in random order")
    for name, each in took.items():
        print(f"  {name}: median {statistics.median(each):,.0f}")
    most = statistics.quantiles([one for each in took.values() for one in each], n=100)[98]
    names = list(kinds)
    for first, second in ((names[1], names[2]), (names[0], names[1])):
        a, b = ([one for one in took[name] if one < most] for name in (first, second))
        error = (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
        t = (statistics.fmean(a) - statistics.fmean(b)) / error
        print(f"  {first} less {second}: {statistics.fmean(a) - statistics.fmean(b):+.0f} ns, t = {t:+.2f}")
    await keys.close()


if __name__ == "__main__":
    asyncio.run(cost(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000))
    asyncio.run(timing(int(sys.argv[2]) if len(sys.argv) > 2 else 100_000))
