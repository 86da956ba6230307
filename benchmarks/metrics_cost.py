"""What metrics cost a create and a fire, and whether somebody who reads them makes a callback late.

    PYTHONPATH=. python benchmarks/metrics_cost.py [rounds] [schedules] [seconds]

Two products run in this process on SQLite, one measured and one not, and work in turns: creates through the
API's application, 64 at once, without a socket, then these schedules fire at a callback type that answers at
once. So nothing of what a socket or a receiver costs is in the denominator, and the shares are the largest
there can be. Processor time of this process; the share is the median over the pairs of a round.

Then the measured one fires 100 a second of 200 apps, in turns with and without a reader, who asks for the
page every 5 s and, to see what 5 s may hide, every 0.5 s: lag of the callbacks at p50, p99 and the most.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from ringtime.runtime import Runtime, run
from ringtime.serve import make_http_app
from ringtime_ingest.service import NewApp, NewSchedule
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import Violation
from ringtime_shared.http_server.connection import App, Message
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.export import new_metrics
from ringtime_shared.metrics.names import Role
from ringtime_shared.metrics.page import page
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import load_settings

AT_ONCE, APPS, PER_S = 64, 200, 100
AHEAD_MS = 8_000  #: of a batch that is to fire together, so that its creates are over by then


class AtOnce(CallbackType):
    """Answers at once, and remembers how late it was asked."""

    name = "at-once"

    def __init__(self) -> None:
        self.lags_ms: list[float] = []
        self.expected = 0
        self.done = asyncio.Event()

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        self.lags_ms.append(time.time() * 1_000 - delivery.schedule.fire_ms)
        if len(self.lags_ms) >= self.expected:
            self.done.set()
        return Reply(ok=True, code=200)

    def expect(self, count: int) -> None:
        self.lags_ms, self.expected = [], count
        self.done.clear()


class Product:
    """One product in this process."""

    def __init__(self, runtime: Runtime, app: App, kind: AtOnce, metrics: Metrics) -> None:
        self.runtime, self.app, self.kind, self.metrics = runtime, app, kind, metrics

    async def create(self, bodies: list[bytes]) -> float:
        """Create these, and return the processor time of one, in us."""
        left = iter(bodies)

        async def worker() -> None:
            for body in left:
                await self._post(body)

        begun_s = time.process_time()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return (time.process_time() - begun_s) / len(bodies) * 1e6

    async def _post(self, body: bytes) -> None:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/goscheduler/schedules",
            "raw_path": b"/goscheduler/schedules",
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
            "scheme": "http",
            "server": ("127.0.0.1", 8080),
        }
        await self.app(scope, receive, send)
        if sent[0]["status"] != 200:
            raise SystemExit(f"a create was answered {sent}")


@asynccontextmanager
async def product(folder: Path, metrics: Metrics) -> AsyncIterator[Product]:
    """Run one, with its apps."""
    kind = AtOnce()
    environ = {"RINGTIME_EMBEDDED_DATA": str(folder), "RINGTIME_NODE_NAME": folder.name}
    settings = load_settings(None, environ)
    async with run(settings, callbacks={kind.name: kind}, metrics=metrics) as runtime:
        for n in range(APPS):
            new = NewApp(app_id=f"app-{n}", partitions=1, active=True, configuration=AppConfiguration())
            await runtime.service.register_app(new)
        yield Product(runtime, make_http_app(runtime, settings.server), kind, metrics)


def body_of(n: int, fire_ms: int) -> bytes:
    """Return a create; fire times have whole seconds there."""
    callback = {"type": AtOnce.name, "details": {"url": "http://127.0.0.1:1/x", "method": "POST"}}
    made = {
        "appId": f"app-{n % APPS}",
        "payload": "x" * 200,
        "scheduleTime": fire_ms // 1_000,
        "callback": callback,
    }
    return json.dumps(made).encode()


async def round_of(it: Product, count: int) -> tuple[float, float]:
    """Return the processor time of a create and of a fire, in us."""
    fire_ms = int(time.time() * 1_000) + AHEAD_MS
    it.kind.expect(count)
    create_us = await it.create([body_of(n, fire_ms) for n in range(count)])
    await asyncio.sleep(max(fire_ms // 1_000 - time.time() - 0.6, 0))  # reading ahead begins after that
    begun_s = time.process_time()
    await asyncio.wait_for(it.kind.done.wait(), 60)
    await asyncio.sleep(0.5)  # outcomes are written behind
    return create_us, (time.process_time() - begun_s) / count * 1e6


async def cost(products: Mapping[str, Product], rounds: int, count: int) -> None:
    """Print what creates and fires cost, with metrics and without, in turns."""
    for it in products.values():
        await round_of(it, count // 4)  # warm
    shares: dict[str, list[float]] = {"create": [], "fire": []}
    costs: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds):
        order = list(products) if turn % 2 else list(products)[::-1]
        found = {name: await round_of(products[name], count) for name in order}
        for n, what in enumerate(shares):
            shares[what].append(found["on"][n] / found["off"][n] - 1)
            for name, took_us in found.items():
                costs.setdefault((what, name), []).append(took_us[n])
    for what, pairs in shares.items():
        on_us, off_us = (statistics.median(costs[what, name]) for name in ("on", "off"))
        print(
            f"{what:6}: {off_us:6.1f} us without, {on_us:6.1f} with; in pairs {statistics.median(pairs):+.1%}"
            f" (from {min(pairs):+.1%} to {max(pairs):+.1%}, {rounds} pairs of {count:,})"
        )


async def lags(it: Product, seconds: float, every_s: float | None) -> list[float]:
    """Return how late callbacks were, sorted, while somebody reads every `every_s`; None: nobody does."""

    async def read() -> None:
        while every_s is not None:
            await asyncio.sleep(every_s)
            await page(it.metrics)

    reading = asyncio.create_task(read())
    it.kind.expect(int(seconds * PER_S))
    begun_ms = int(time.time() * 1_000) + 2_000
    for n in range(it.kind.expected):
        new = NewSchedule(
            app_id=f"app-{n % APPS}",
            payload="x" * 200,
            fire_ms=begun_ms + n * 1_000 // PER_S,
            callback_type=AtOnce.name,
            callback_details={"url": "http://127.0.0.1:1/x"},
        )
        await it.runtime.service.create_schedule(new)
    await asyncio.wait_for(it.kind.done.wait(), seconds + 30)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    return sorted(it.kind.lags_ms)


async def main(rounds: int, count: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            measured = new_metrics(load_settings(None, {}).metrics, *Role)
            products = {
                name: await stack.enter_async_context(product(Path(folder) / name, metrics))
                for name, metrics in (("on", measured), ("off", UNMEASURED))
            }
            await cost(products, rounds, count)
            text = await page(measured)
            begun_s, wall_s = time.process_time(), time.perf_counter()
            await page(measured)
            cpu_ms, wall_ms = (time.process_time() - begun_s) * 1e3, (time.perf_counter() - wall_s) * 1e3
            size = f"{text.count(b'{'):,} series, {len(text):,} bytes"
            print(f"page  : {size}, {cpu_ms:.1f} ms of processor time in {wall_ms:.1f} ms")
            found: dict[float | None, list[float]] = {}
            for every_s in (None, 5.0, 0.5) * 2:
                found.setdefault(every_s, []).extend(await lags(products["on"], seconds, every_s))
            for every_s, lags_ms in found.items():
                _print_lags("nobody reads" if every_s is None else f"a page every {every_s:g} s", lags_ms)


def _print_lags(about: str, lags_ms: list[float]) -> None:
    lags_ms.sort()
    p50, p99 = lags_ms[len(lags_ms) // 2], lags_ms[len(lags_ms) * 99 // 100]
    print(f"lag, {about:20}: p50 {p50:5.1f} ms, p99 {p99:5.1f}, most {lags_ms[-1]:5.1f} of {len(lags_ms):,}")


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    uvloop.run(main(*(given + [9, 2_000, 20][len(given) :])))
