"""Creates and cancels over HTTP, written down in a client ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random

from tests.harness.client import TOO_LATE, LoadClient
from tests.harness.ledger import Create
from tests.harness.receiver import Receiver


class Load:
    """One client's creates, against any number of servers."""

    def __init__(self, receiver: Receiver, *, apps: Sequence[str], rng: Random) -> None:
        self.creates: list[Create] = []
        self.is_over = False  #: set it to end a run before its time
        self._receiver = receiver
        self._apps = apps
        self._rng = rng

    async def create(self, client: LoadClient, fire_ms: int) -> Create:
        """Create one schedule; the entry has no id if no answer, or a refusal, came."""
        entry = Create(len(self.creates), fire_ms)
        self.creates.append(entry)
        details = {"url": f"{self._receiver.url}?n={entry.number}", "method": "POST", "headers": {}}
        body = {
            "appId": self._rng.choice(self._apps),
            "payload": "{}",
            "scheduleTime": fire_ms / 1000,
            "callback": {"type": "http", "details": details},
        }
        answer = await client.request("POST", "/schedules", body)
        is_late = answer.status == 400 and time.time() * 1000 > fire_ms  # a busy machine's, not the server's
        entry.status = TOO_LATE if is_late else answer.status
        if answer.status == 200:
            entry.schedule_id = answer.data["schedule"]["scheduleId"]
            entry.acked_ms = time.time() * 1000
        return entry

    async def cancel(self, client: LoadClient, entry: Create) -> None:
        """Cancel; the promise counts from the moment the answer is here."""
        entry.cancel_tried = True
        answer = await client.request("DELETE", f"/schedules/{entry.schedule_id}")
        if answer.status == 200:
            entry.cancel_promised_ms = time.time() * 1000

    async def run(
        self,
        client: LoadClient,
        *,
        per_s: float,
        seconds: float,
        lead_s: tuple[float, float],
        cancels: float = 0.0,
    ) -> None:
        """Create at a fixed rate, whatever the answers, until `is_over`; cancel a share soon after."""
        begun_s = time.monotonic()
        tasks = []
        for number in range(int(per_s * seconds)):
            if self.is_over:
                break
            wait_s = begun_s + number / per_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)  # the timetable of an open-loop load
            tasks.append(asyncio.create_task(self._one(client, lead_s, cancels)))
        await asyncio.gather(*tasks)

    async def _one(self, client: LoadClient, lead_s: tuple[float, float], cancels: float) -> None:
        fire_ms = int((time.time() + self._rng.uniform(*lead_s)) * 1000)
        entry = await self.create(client, fire_ms)
        if entry.schedule_id is not None and self._rng.random() < cancels:
            await self.cancel(client, entry)


async def wait_for_deliveries(receiver: Receiver, creates: Sequence[Create], *, timeout_s: float) -> None:
    """Return when every acknowledged, never cancelled create has arrived, or time is up."""
    wanted = {entry.schedule_id for entry in creates if entry.schedule_id and not entry.cancel_tried}
    await wait_until(lambda: wanted <= receiver.arrivals().keys(), timeout_s=timeout_s)


async def wait_until(holds: Callable[[], bool], *, timeout_s: float) -> None:
    """Return when `holds` does, or time is up. For what other processes do: nothing here could wake us."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s and not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.1)
