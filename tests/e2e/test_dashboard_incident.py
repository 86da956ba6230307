"""An incident with four causes, and somebody who finds each by the links of the dashboard's first page.

One destination is slow, one is dead, one app has more ahead than its quota carries, and one dispatcher is
killed. Nobody is told where to look: the walk clicks what the overview offers.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails, NewSchedule
from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster
from ringtime_shared.clock import SystemClock
from ringtime_shared.settings import WebSettings
from ringtime_web.api import OverNetwork
from ringtime_web.app import Dashboard
from tests.e2e.conftest import clustered, count_owned, wait_blocking
from tests.unit.ingest.rig import Client

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]

DISPATCHERS = ("dispatcher-1", "dispatcher-2", "dispatcher-3")
SETTINGS: dict[str, object] = {
    "dispatch": {"destination_in_flight": 2, "slow_after_ms": 60_000, "forecast_s": 2},
    "node": {"status_ms": 1_000},
}
SLOW_S = 1.5
PATIENCE_S = 240.0
MOST_CLICKS = 3
_LINK = re.compile(r'<a[^>]*\shref="([^"]+)"[^>]*>(.*?)</a>', re.DOTALL)
_PROBLEM = re.compile(r"<li[^>]*>(.*?)</li>", re.DOTALL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("incident")
    with clustered(folder, own_servers, pod_settings=dict.fromkeys(DISPATCHERS, SETTINGS)) as running:
        yield running


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


class Walker:
    """Somebody at the dashboard, who reads and clicks."""

    def __init__(self, base: str) -> None:
        carrier = OverNetwork(base.removesuffix("/goscheduler"))
        self.carrier = carrier
        dashboard = Dashboard(
            WebSettings(), carrier, has_keys=False, is_secure=False, boot_ms=SystemClock().boot_ms
        )
        self._client = Client(dashboard.app)
        self.clicks = 0

    async def open(self, address: str) -> str:
        reply = await self._client.call(
            "GET", address, headers=[("accept", "text/html"), ("host", "localhost")]
        )
        assert reply.status == 200, (address, reply.body[:2_000])
        return reply.body.decode()

    async def problem(self, *words: str) -> str:
        """Return the entry of the overview that has all these words in it, once there is one."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            html = await self.open("/")
            entries = [
                each for each in _PROBLEM.findall(html) if all(word in text_of(each) for word in words)
            ]
            if entries:
                return str(entries[0])
            assert time.monotonic() < until_s, f"no problem tells of {words}: {text_of(html)}"
            await asyncio.sleep(0.5)

    async def click(self, html: str, holds: Callable[[str], bool] = lambda _: True) -> str:
        """Follow the first link of which this holds."""
        address = next(unescape(href) for href, shown in _LINK.findall(html) if holds(f"{href} {shown}"))
        self.clicks += 1
        return await self.open(address)


@asynccontextmanager
async def slow_receiver() -> AsyncIterator[int]:
    """Serve 200 to everybody, after a while; return the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # its loop ends
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
                await asyncio.sleep(SLOW_S)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def free_port() -> int:
    """Return a port on which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


def schedules(app_id: str, port: int, count: int, first: timedelta, apart: timedelta) -> list[Any]:
    callback = HttpCallbackDetails(url=f"http://127.0.0.1:{port}/hook", method="POST")
    return [
        NewSchedule(app_id=app_id, payload="{}", callback=callback, delay=first + n * apart)
        for n in range(count)
    ]


async def test_each_cause_of_an_incident_is_found_within_three_clicks(cluster: Cluster) -> None:
    apps = {"slow-shop": 8, "dead-shop": 8, "crowded-shop": 1}
    async with (
        slow_receiver() as slow_port,
        AsyncRingtimeClient(cluster.base.removesuffix("/goscheduler")) as client,
    ):
        dead_port = await free_port()
        for app_id, partitions in apps.items():
            await client.register_app(app_id, partitions=partitions)
        total = sum(apps.values())
        await asyncio.to_thread(wait_blocking, lambda: sum(count_owned(cluster).values()) == total, 120)
        second = timedelta(seconds=1)
        await client.create_schedules(schedules("slow-shop", slow_port, 900, 5 * second, 0.02 * second))
        await client.create_schedules(schedules("dead-shop", dead_port, 300, 5 * second, 0.2 * second))
        for _ in range(2):  # more in one minute than one partition carries
            await client.create_schedules(
                schedules("crowded-shop", slow_port, 700, timedelta(minutes=20), timedelta(0))
            )
        killed = cluster.pods[DISPATCHERS[1]]
        killed.process.kill()

        walker = Walker(cluster.base)
        try:
            for words, cause in (
                (
                    ("dead-shop", f"127.0.0.1:{dead_port}", "open"),
                    (f"127.0.0.1:{dead_port}", "nothing is sent"),
                ),
                (("slow-shop", f"127.0.0.1:{slow_port}"), (f"127.0.0.1:{slow_port}", "slow")),
                (("crowded-shop", "quota"), ("more is due than the quota", "ringctl resize crowded-shop")),
                ((DISPATCHERS[1], "nothing for"), (DISPATCHERS[1], "silent", "ended without a word")),
            ):
                entry, walker.clicks = await walker.problem(*words), 0
                page = await walker.click(entry)
                assert all(word in text_of(page) for word in cause), (words, text_of(page))
                assert walker.clicks <= MOST_CLICKS
        finally:
            await walker.carrier.close()
