"""What the Python programs share: which jobs to create, and what doing one means.

Runs in each peer's own environment, beside its library alone; so nothing of Ringtime is imported here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DATA = "x" * 150
DATABASE = os.environ.get("PEER_DATABASE", "")
RECEIVER = os.environ.get("PEER_RECEIVER", "")


@dataclass(frozen=True, slots=True)
class Load:
    """The order to create jobs."""

    first: int
    count: int
    due_ms: int
    spread_ms: int
    per_s: int
    lead_ms: int
    lead_spread_ms: int
    limit_s: int
    at_once: int
    batch: int

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Return the jobs that fall due as `due_ms` says, until the time for creating them is over."""
        until_s = time.monotonic() + self.limit_s
        for begin in range(0, self.count, self.batch):
            if time.monotonic() > until_s:
                return
            numbers = range(begin, min(begin + self.batch, self.count))
            yield [make_job(self.first + n, self.due_ms + n * self.spread_ms // self.count) for n in numbers]

    def paced(self, number: int) -> dict[str, Any]:
        """Return a job that is created now."""
        lead_ms = self.lead_ms + number * 7919 % self.lead_spread_ms
        return make_job(self.first + number, int(time.time() * 1000) + lead_ms)


def ordered() -> Load:
    return Load(**json.loads(sys.argv[2]))


def make_job(number: int, due_ms: int) -> dict[str, Any]:
    return {"id": number, "due": due_ms, "data": DATA}


def due(job: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(job["due"] / 1000, UTC)


def url(number: int, due_ms: int) -> str:
    return f"{RECEIVER}/{number}/{due_ms}"


class Poster:
    """Does jobs over kept connections; make it on a running event loop."""

    def __init__(self) -> None:
        import aiohttp

        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))

    async def post(self, job: dict[str, Any]) -> None:
        async with self._session.post(url(job["id"], job["due"]), data=json.dumps(job)) as answer:
            await answer.read()
            answer.raise_for_status()


async def create(batch: Callable[[list[dict[str, Any]]], Awaitable[Any]]) -> None:
    """Create the jobs that were ordered and print how many were made."""
    load = ordered()
    made = 0
    if load.per_s:
        began_s = time.monotonic()
        tasks = []
        for number in range(load.count):
            await asyncio.sleep(max(began_s + number / load.per_s - time.monotonic(), 0))
            tasks.append(asyncio.ensure_future(batch([load.paced(number)])))
        await asyncio.gather(*tasks)
        made = load.count
    else:
        batches = load.batches()

        async def in_turn() -> None:
            nonlocal made
            for jobs in batches:
                await batch(jobs)
                made += len(jobs)

        await asyncio.gather(*(in_turn() for _ in range(load.at_once)))
    print(made)
