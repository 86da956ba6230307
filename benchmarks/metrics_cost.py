"""What metrics cost a create and a fire, and whether somebody who reads them makes a callback late.

    PYTHONPATH=. python benchmarks/metrics_cost.py [rounds] [fires] [seconds]

Two products run in this process on SQLite, one measured and one not. Creates go through the API's
application, 64 at once and without a socket, 128 with metrics, 128 without, and so on. Then some hundred
schedules come due in one second with metrics, in the next without, and so on, for a callback type that
answers at once. So nothing of what a socket or a receiver costs is in the denominator, and the shares are the
largest there can be. Processor time of this process; the share is the median over the pairs. What counting
takes by itself is measured as well, as a busy machine blurs pairs; and how long a page holds the loop at a
time.

Then the measured one fires 100 a second of 200 apps while somebody reads the page twice a second, ten times
as often as Prometheus does: how late callbacks were that came due while a page was written, and the others.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from ringtime.runtime import Runtime, run
from ringtime.serve import make_http_app
from ringtime_dispatcher.delivery.counts import DeliveryCounts
from ringtime_ingest.service import NewApp, NewSchedule
from ringtime_ingest.service.creations import Creations
from ringtime_ingest.service.creations import now_s as creating_since
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import Violation
from ringtime_shared.http_server.connection import App, Message
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.metrics import UNMEASURED, Metrics, names
from ringtime_shared.metrics.export import new_metrics
from ringtime_shared.metrics.names import Role
from ringtime_shared.metrics.page import page
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.process.service import settle_memory
from ringtime_shared.settings import load_settings

AT_ONCE, APPS, PER_S, PAGE_EVERY_S = 64, 200, 100, 0.5


class AtOnce(CallbackType):
    """Answers at once, and remembers how late it was asked."""

    name = "at-once"

    def __init__(self) -> None:
        self.lags: list[tuple[float, float]] = []  #: fire time and how late, in ms
        self.expected = 0
        self.done = asyncio.Event()

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        fire_ms = delivery.schedule.fire_ms
        self.lags.append((fire_ms, time.time() * 1_000 - fire_ms))
        if len(self.lags) >= self.expected:
            self.done.set()
        return Reply(ok=True, code=200)

    def expect(self, count: int) -> None:
        self.lags, self.expected = [], count
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


async def creates(products: Mapping[str, Product], rounds: int) -> None:
    """Print what a create costs: a few at a time with metrics, as many without, and so on."""
    fire_ms = int(time.time() * 1_000) + 86_400_000
    bodies = [body_of(n, fire_ms) for n in range(2 * AT_ONCE)]
    found: dict[str, list[float]] = {name: [] for name in products}
    for turn in range(rounds + 5):
        for name in sorted(products, reverse=bool(turn % 2)):
            took_us = await products[name].create(bodies)
            if turn >= 5:  # warm by then
                found[name].append(took_us)
    _print_pairs("create", found, len(bodies))


async def fires(products: Mapping[str, Product], rounds: int, count: int) -> None:
    """Print what a fire costs: so many come due in a second with metrics, in the next without, and so on."""
    first_s = int(time.time()) + 10 + rounds * count // 1_000
    names_in_turn = sorted(products) * rounds
    for n, name in enumerate(names_in_turn):
        products[name].kind.expect(rounds * count)
        await products[name].create([body_of(k, (first_s + n) * 1_000) for k in range(count)])
    found: dict[str, list[float]] = {name: [] for name in products}
    await asyncio.sleep(first_s - 0.5 - time.time())  # reading ahead begins after that
    before_s = time.process_time()
    for n, name in enumerate(names_in_turn):
        await asyncio.sleep(first_s + n + 0.5 - time.time())  # by then outcomes are written
        now_s = time.process_time()
        found[name].append((now_s - before_s) / count * 1e6)
        before_s = now_s
    _print_pairs("fire", found, count)


def _print_pairs(what: str, found: Mapping[str, list[float]], count: int) -> None:
    on, off = found["on"], found["off"]
    shares = sorted(one / other - 1 for one, other in zip(on, off, strict=True))
    low, middle, high = statistics.quantiles(shares, n=4)
    costs = f"{statistics.median(off):6.1f} us without, {statistics.median(on):6.1f} with"
    spread = f"half of them from {low:+.1%} to {high:+.1%}; {len(on)} pairs of {count:,}"
    print(f"{what:6}: {costs}; in pairs {middle:+.1%} ({spread})")


async def print_pieces(it: Product) -> None:
    """Print how long a page holds the loop between two turns of others, in processor time of this thread."""
    pieces: list[float] = []
    is_over = False

    async def take_turns() -> None:
        before_s = time.thread_time()
        while not is_over:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            pieces.append((now_s - before_s) * 1e3)
            before_s = now_s

    turns = asyncio.create_task(take_turns())
    await asyncio.sleep(0)
    for _ in range(20):
        text = await page(it.metrics)
    is_over = True
    await turns
    pieces.sort()
    size = f"{text.count(b'{'):,} series, {len(text):,} bytes, {sum(pieces) / 20:.1f} ms of processor time"
    held = f"p99 {pieces[len(pieces) * 99 // 100]:.2f} ms, at most {pieces[-1]:.2f}"
    print(f"page  : {size}; others wait for a piece of it, {held}")


def print_counting() -> None:
    """Print what counting takes by itself, in us: what each create and each fire adds, and a call of the
    store, which many share."""
    metrics = new_metrics(load_settings(None, {}).metrics, *Role)
    deliveries, creations = DeliveryCounts(metrics), Creations(metrics)
    row, reply = _a_row(), Reply(ok=True, code=200)
    observe = metrics.spread(names.STORE, "put_rows").observe

    def fire() -> None:
        deliveries.began(row, row.place.slot_ms + 3)
        deliveries.attempted(row, reply, "success", 5)
        deliveries.succeeded(row.place.app_id)

    def create() -> None:
        creations.note(row.place.app_id, creating_since())

    for what, count in (
        ("a create", create),
        ("a fire", fire),
        ("a call of the store", lambda: observe(0.01)),
    ):
        took = timeit.repeat(count, number=50_000, repeat=5, timer=time.process_time)
        print(f"counting {what:19}: {min(took) / 50_000 * 1e6:.2f} us")


def _a_row() -> Row:
    now_ms = int(time.time() * 1_000)
    schedule_id = IdMint(1).mint(slot_ms=now_ms, kind=Kind.ONE_TIME, partition=0, app_number=1)
    schedule = Schedule(
        schedule_id=schedule_id,
        app_id="app-1",
        fire_ms=now_ms,
        payload="x",
        callback_type=AtOnce.name,
        callback_details=b"{}",
        created_ms=now_ms - 60_000,
        expires_ms=now_ms + 60_000,
    )
    return Row(schedule=schedule, place=Place("app-1", 0, now_ms))


async def lags(it: Product, seconds: float, every_s: float) -> dict[str, list[float]]:
    """Return how late callbacks were that came due while a page was written, and the others."""
    pages: list[tuple[float, float]] = []

    async def read() -> None:
        while True:
            await asyncio.sleep(every_s)
            begun_ms = time.time() * 1_000
            await page(it.metrics)
            pages.append((begun_ms, time.time() * 1_000))

    count = int(seconds * PER_S)
    it.kind.expect(count)
    begun_ms = int(time.time() * 1_000) + 5_000
    news = [
        NewSchedule(
            app_id=f"app-{n % APPS}",
            payload="x" * 200,
            fire_ms=begun_ms + n * 1_000 // PER_S,
            callback_type=AtOnce.name,
            callback_details={"url": "http://127.0.0.1:1/x"},
        )
        for n in range(count)
    ]
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*map(it.runtime.service.create_schedule, news[start : start + AT_ONCE]))
    reading = asyncio.create_task(read())
    await asyncio.wait_for(it.kind.done.wait(), seconds + 30)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    found: dict[str, list[float]] = {"while a page is written": [], "at other times": []}
    for fire_ms, lag_ms in it.kind.lags:
        is_read = any(begin_ms - 1 <= fire_ms <= end_ms for begin_ms, end_ms in pages)
        found["while a page is written" if is_read else "at other times"].append(lag_ms)
    return found


async def main(rounds: int, count: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            measured = new_metrics(load_settings(None, {}).metrics, *Role)
            products = {
                name: await stack.enter_async_context(product(Path(folder) / name, metrics))
                for name, metrics in (("on", measured), ("off", UNMEASURED))
            }
            settle_memory()  # as a service does, or collections would be longer than pieces of a page
            print_counting()
            await creates(products, 10 * rounds)
            await fires(products, rounds, count)
            await print_pieces(products["on"])
            for about, lags_ms in (await lags(products["on"], seconds, PAGE_EVERY_S)).items():
                lags_ms.sort()
                p50, p99 = lags_ms[len(lags_ms) // 2], lags_ms[len(lags_ms) * 99 // 100]
                most = f"most {lags_ms[-1]:5.1f} of {len(lags_ms):,}"
                print(f"lag {about:24}: p50 {p50:5.1f} ms, p99 {p99:5.1f}, {most}")


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    uvloop.run(main(*(given + [15, 300, 60][len(given) :])))
