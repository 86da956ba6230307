"""A run whose receiver answers 202 and says later that it is done, on `ringtime serve`, over a crash."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from ringtime_client import (
    AsyncRingtimeClient,
    HttpCallbackDetails,
    RecurringTimes,
    ScheduleView,
    Status,
)
from tests.harness.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_URL = re.compile(rb"\r\nRingtime-Completion-Url: (\S+)\r\n")


@asynccontextmanager
async def accepting() -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """A receiver that answers 202; yields its URL, and where it puts the completion URLs it is given."""
    given: asyncio.Queue[str] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = _URL.search(head)
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await given.put("" if found is None else found[1].decode())

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/", given


async def until(client: AsyncRingtimeClient, run: ScheduleView, has: str) -> ScheduleView:
    """Return the run once it has this."""
    async with asyncio.timeout(60):
        while True:
            shown = await client.get_schedule(run.schedule_id)
            if getattr(shown, has):
                return shown
            await asyncio.sleep(0.05)


async def test_a_run_is_running_until_its_receiver_says_more(tmp_path: Path) -> None:
    settings = {"completion_base_url": "https://ringtime.example", "completion_secret": "x" * 32}
    async with accepting() as (url, given):
        with serving(tmp_path, **settings) as server:
            async with AsyncRingtimeClient(server.base, deadline=timedelta(seconds=20)) as client:
                await client.register_app("shop", partitions=2)
                await client.put_recurring(
                    "shop",
                    "report",
                    times=RecurringTimes(cron="0 0 1 1 *", zone="UTC"),
                    payload="{}",
                    callback=HttpCallbackDetails(url=url),
                    completion=timedelta(minutes=5),
                )
                done, failed = [await client.trigger_recurring("shop", "report") for _ in range(2)]
                urls = [await given.get() for _ in range(2)]
                assert all(each.startswith("https://ringtime.example/goscheduler/") for each in urls)
                shown = await until(client, done, "accepted_at")
                assert (shown.status, shown.completed_at) == (Status.SCHEDULED, None)
                assert (await until(client, failed, "accepted_at")).completes_by is not None
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                for number, each in enumerate(urls):
                    ended = await client.complete_run(each, error="disk full" if number else None)
                    shown = await until(client, await client.get_schedule(ended.schedule_id), "completed_at")
                    assert shown.status is ended.status
                    assert shown.error == ("disk full" if number else "")
                    assert shown.http_code == 202
                assert given.empty()
