"""What one HTTP callback costs the process that sends it: Ringtime's own client, pyreqwest and aiohttp.

    PYTHONPATH=. python benchmarks/http_clients.py [--requests N] [--rounds N]

A receiver process on the loopback interface notes each request in a file before it answers; this process
keeps 100 requests with a body of 300 bytes in flight. Every client connects to an address that was looked up
and checked before, for a name that no name server knows. Rounds alternate between the clients, so that a
busy machine is unfair to none; the median round counts. `cpu us` is the processor time of this process a
request, user and system, threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from socket import AF_INET, AddressFamily
from statistics import median
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import uvloop
from aiohttp.abc import AbstractResolver, ResolveResult
from pyreqwest.client import Client, ClientBuilder
from tests.harness.receiver import running_receiver

from ringtime_dispatcher.callbacks.http.answer import AnswerReader
from ringtime_dispatcher.callbacks.http.callback import HttpCallback, parse_route, request_bytes
from ringtime_dispatcher.callbacks.http.connections import Connections
from ringtime_dispatcher.callbacks.http.trust import Trust
from ringtime_shared.callbacks.address_rules import parse_address
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.settings import CallbackSettings, EgressSettings

HOST, ADDRESS = "callback.test", "127.0.0.1"
IN_FLIGHT = 100
BODY = "x" * 300
HEADERS = {"content-type": "application/json", "schedule-id": str(UUID(int=1)), "ringtime-attempt": "1"}
TIMEOUT_S = 10

Send = Callable[[], Awaitable[object]]


class Pinned(AbstractResolver):
    """What aiohttp asks instead of a name server."""

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        assert host == HOST
        return [
            ResolveResult(hostname=host, host=ADDRESS, port=port, family=AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        return


def delivery_to(url: str) -> Delivery:
    return Delivery(
        schedule=Schedule(
            schedule_id=UUID(int=1),
            app_id="bench",
            fire_ms=1_800_000_000_000,
            payload=BODY,
            callback_type="http",
            callback_details=b"{}",
            created_ms=0,
            expires_ms=0,
        ),
        details={"url": url, "method": "POST"},
        attempt=1,
        term=1,
        timeout_ms=TIMEOUT_S * 1_000,
    )


def ringtime(url: str) -> tuple[Send, HttpCallback]:
    """The whole callback type: reading the URL, the cached lookup, the check, headers, the request."""
    settings = EgressSettings()
    policy = EgressPolicy.of(settings, loopback=True)
    http = HttpCallback(policy, Resolver(settings, lookup=lambda _: [ADDRESS]), max_connections=IN_FLIGHT)
    delivery = delivery_to(url)

    async def send() -> None:
        reply = await http.invoke(delivery)
        assert reply.ok, reply

    return send, http


def own_client(url: str) -> tuple[Send, Connections]:
    """The client by itself, with the bytes of the request made before."""
    connections = Connections(most=IN_FLIGHT, trust=Trust(CallbackSettings()))
    route, address = parse_route(url), parse_address(ADDRESS)
    assert route is not None
    assert address is not None
    request = request_bytes(route, delivery_to(url), 0)

    async def send() -> None:
        until_s = asyncio.get_running_loop().time() + TIMEOUT_S
        connection = await connections.open(route.target, [address], until_s)
        answer = AnswerReader()
        await connection.exchange(request, answer, until_s)
        connections.give_back(connection, answer)
        assert answer.status == 200

    return send, connections


def with_pyreqwest(url: str) -> tuple[Send, Client]:
    """pyreqwest by itself, with three headers."""
    builder = ClientBuilder().follow_redirects(False).no_proxy().gzip(False).deflate(False).brotli(False)
    builder = (
        builder.zstd(False).tcp_nodelay(True).max_connections(IN_FLIGHT).pool_max_idle_per_host(IN_FLIGHT)
    )
    client = builder.danger_accept_invalid_certs(True).resolve(HOST, ADDRESS, 0).build()

    async def send() -> None:
        request = client.request("POST", url).headers(HEADERS).body_text(BODY)
        request = request.timeout(timedelta(seconds=TIMEOUT_S)).streamed_read_buffer_limit(16_384)
        async with request.build_streamed() as response:
            assert response.status == 200

    return send, client


def with_aiohttp(url: str) -> tuple[Send, aiohttp.ClientSession]:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=Pinned(), limit=IN_FLIGHT),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )

    async def send() -> None:
        body = BODY.encode()
        async with session.post(url, data=body, headers=HEADERS, allow_redirects=False) as response:
            await response.content.read(16_384)
            assert response.status == 200

    return send, session


async def one_round(send: Send, requests: int) -> tuple[float, float]:
    """Return cpu us a request and requests a second."""
    numbers = iter(range(requests))

    async def worker() -> None:
        for _ in numbers:
            await send()

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    used_s, took_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
    return used_s / requests * 1e6, requests / took_s


async def run(requests: int, rounds: int, folder: Path) -> None:
    with running_receiver(folder) as receiver:
        url = f"http://{HOST}:{urlsplit(receiver.url).port}/callback"
        candidates = {
            "Ringtime's http callback type": ringtime(url),
            "Ringtime's own client alone": own_client(url),
            "pyreqwest alone, pinned": with_pyreqwest(url),
            "aiohttp alone, pinned": with_aiohttp(url),
        }
        for send, _ in candidates.values():
            await one_round(send, IN_FLIGHT * 5)  # connections, caches
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, (send, _closed) in candidates.items():
                found[name].append(await one_round(send, requests))
        for _send, client in candidates.values():
            await client.close()
    print(f"{'client':32}{'cpu us':>8}{'requests/s':>12}   {rounds} rounds of {requests:,}")
    for name, results in found.items():
        cpu_us, rate = (median(column) for column in zip(*results, strict=True))
        print(f"{name:32}{cpu_us:8.0f}{rate:12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(given.requests, given.rounds, Path(folder)))


if __name__ == "__main__":
    main()
