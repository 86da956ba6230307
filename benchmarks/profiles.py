"""What is measured: each profile as the steps that a server is taken through, in turn with others."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from benchmarks.deliveries import Deliveries, judge, read_filed
from benchmarks.hammer import Outcome, Sink, load
from benchmarks.kafka_topic import KafkaTopic
from benchmarks.processes import Machine
from benchmarks.servers import Target
from benchmarks.table import SHARE, US_PER_ITEM, Sample

APP, PARTITIONS = "bench", 20
_FILL_ITEMS, _FILL_CONNECTIONS = 500, 8
_CREATES_PER_S = 1_200  #: what filling is allowed to be as slow as, on a machine that is busy
_OUTCOMES_S = 2.0  #: after the last callback: its outcome is recorded, which is part of its cost
_LATE_S = 60  #: waited for callbacks that have not come; a minute more for who fires whole minutes
_DAY_S = 86_400
_PAUSE_S = 0.1


class NotOffered(Exception):
    """This server cannot do it, or not here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything."""

    seconds: float = 8.0  #: of a round of creates, gets, lists and batches
    connections: tuple[int, ...] = (32, 64, 128)
    payloads: tuple[int, ...] = (200, 1_000)
    batches: tuple[int, ...] = (10, 100, 1_000)
    ids: int = 20_000  #: to get from
    cancels: int = 10_000
    fires: int = 20_000
    herd: int = 100_000
    steady_per_s: int = 200
    steady_s: float = 40.0
    steady_lead: tuple[int, int] = (2, 6)  #: seconds from a create to its fire time
    life_s: float = 60.0
    life_kafka_per_s: int = 5_833  #: what goscheduler published, with callbacks into Kafka
    life_http_per_s: int = 1_667  #: and over HTTP
    idle_apps: int = 10
    idle_partitions: int = 1_000
    idle_s: float = 60.0
    registered: int = 3_000
    quiet_apps: int = 1_000
    wide_apps: int = 10_000
    wide_s: int = 60
    stored: tuple[int, ...] = (1_000_000, 5_000_000, 20_000_000)
    warm_s: float = 30.0  #: after which no further round is begun that warms up


QUICK = Sizes(
    seconds=1.5,
    connections=(64,),
    payloads=(200,),
    batches=(100,),
    ids=3_000,
    cancels=3_000,
    registered=300,
    fires=2_000,
    steady_s=4.0,
    steady_lead=(1, 2),
    warm_s=6.0,
)


class Arrivals(Protocol):
    """Where callbacks come to."""

    def count(self) -> int: ...
    def arrivals(self) -> dict[str, list[float]]: ...


class Bench:
    """One server under measurement, and what it was given so far."""

    def __init__(self, target: Target, sink: Sink, sizes: Sizes, folder: Path) -> None:
        self.target = target
        self.sink = sink
        self.sizes = sizes
        self.ids = folder / f"{target.name}.ids"
        self.filed = folder / f"{target.name}.filed"
        self.stored = 0  #: schedules that wait, as far as this run knows
        self.rounds = 0  #: of registrations: each has apps of its own
        self._registered: set[str] = set()
        self._instances = 0

    def load(self, do: str, **options: object) -> Outcome:
        """Make a load of app `bench` and return what came of all of it. Raises NotOffered."""
        found = load(self.target.base, do, **{"app": APP, **options})
        if found.failure.startswith(("HTTP 404", "HTTP 405")):
            raise NotOffered(f"does not offer it: {found.failure[:60]}")
        found.check()
        return found

    def register(self) -> None:
        """Have an app to create schedules of; it can be used when this returns."""
        if APP in self._registered:
            return
        self._post_app(APP, PARTITIONS)
        until_s = time.monotonic() + 30
        while load(
            self.target.base, "create", n=1, c=1, app=APP, due_from=_DAY_S, due_to=_DAY_S, whole=True
        ).failed:
            if time.monotonic() > until_s:  # goscheduler takes some seconds
                raise RuntimeError(f"{self.target.name} takes no schedules of its new app")
            time.sleep(0.5)
        self._registered.add(APP)
        self._wait_owned(PARTITIONS)

    def register_many(self, name: str, apps: int, partitions: int) -> None:
        """Have `name-0`, `name-1`, ...; return when all their poller instances have an owner."""
        if name in self._registered:
            return
        self.load("apps", n=apps, seconds=0, app=name, partitions=partitions)
        self._registered.add(name)
        self._wait_owned(apps * partitions)

    def _post_app(self, name: str, partitions: int) -> None:
        status = self.target.post("/apps", {"appId": name, "partitions": partitions, "active": True})
        if status not in (200, 201, 400, 409):  # the last two: it was registered before
            raise RuntimeError(f"{self.target.name} answered the registration of {name} by HTTP {status}")

    def _wait_owned(self, more: int) -> None:
        self._instances += more
        if self.target.owned is None:
            time.sleep(5)
            return
        until_s = time.monotonic() + 300
        while self.target.owned() < self._instances:
            if time.monotonic() > until_s:
                raise RuntimeError(f"{self.target.name} has not taken its poller instances over")
            time.sleep(0.2)

    @contextmanager
    def measuring(self, unit: str, samples: list[Sample]) -> Iterator[Measured]:
        """Add a sample of what the block sets and of the processor time it took."""
        processes = self.target.processes
        begun, machine, mine, used = time.monotonic(), Machine.now(), _own_s(), processes.used_s()
        compiling_s = processes.compiling_s()
        measured = Measured()
        yield measured
        after, seconds = processes.used_s(), time.monotonic() - begun
        compiling_s = processes.compiling_s() - compiling_s
        if measured.cpu_from:
            used = measured.cpu_from
        spent = {name: after[name] - used[name] for name in used}
        ours_s = sum(after.values()) - sum(used.values()) + _own_s() - mine
        by = measured.items / 1e6 if unit == US_PER_ITEM else seconds / 100
        samples.append(
            Sample(
                figures=measured.figures,
                cpu={name: value / max(by, 1e-9) for name, value in spent.items()},
                faults=measured.faults,
                foreign_share=Machine.now().foreign_share(machine, ours_s),
                compiling_share=compiling_s / max(sum(spent.values()), 1e-9),
            )
        )


def _own_s() -> float:
    """Return what this process and the load generators that have ended used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Measured:
    """What a block says of itself."""

    def __init__(self) -> None:
        self.items = 0
        self.figures: dict[str, float] = {}
        self.faults = ""
        self.cpu_from: dict[str, float] = {}  #: what was used when it began, if later than the block

    def answered(self, found: Outcome) -> None:
        self.items = found.done
        self.figures = {"per s": found.per_s, "p50 ms": found.p50_ms, "p99 ms": found.p99_ms}

    def delivered(self, found: Deliveries) -> None:
        self.faults = found.faults()
        self.figures |= {
            "lag p50 ms": found.lag_ms(0.5),
            "lag p99 ms": found.lag_ms(0.99),
            "lag max ms": found.lag_ms(1),
        }


class Step(NamedTuple):
    """One thing that is measured, round by round."""

    name: str
    unit: str
    measure: Callable[[Bench, list[Sample]], None]  #: adds a sample. Raises NotOffered
    prepare: Callable[[Bench], None] = Bench.register
    warms_up: bool = True  #: played once before it counts


def create(connections: int, payload: int) -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(
                bench.load("create", c=connections, payload=payload, seconds=bench.sizes.seconds, whole=True)
            )

    return Step(f"create, {connections} connections, {payload} B", US_PER_ITEM, measure)


def create_wide() -> Step:
    """One schedule a request, of each app in turn."""

    def measure(bench: Bench, samples: list[Sample]) -> None:
        sizes = bench.sizes
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(
                bench.load("create", app="wide", apps=sizes.wide_apps, seconds=sizes.seconds, whole=True)
            )

    def prepare(bench: Bench) -> None:
        bench.register_many("wide", bench.sizes.wide_apps, 1)

    return Step("create of many apps in turn, 64 connections", US_PER_ITEM, measure, prepare)


def register() -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        bench.rounds += 1
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(
                bench.load("apps", n=bench.sizes.registered, seconds=0, app=f"new-{bench.rounds}")
            )

    return Step("register apps, 64 connections", US_PER_ITEM, measure, lambda _: None)


def batch(items: int) -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(
                bench.load(
                    "batch", c=max(64 // items, 4), items=items, seconds=bench.sizes.seconds, whole=True
                )
            )

    return Step(f"create in batches of {items}", US_PER_ITEM, measure)


def _prepare_ids(bench: Bench) -> None:
    bench.register()
    if not bench.ids.exists():
        bench.load(
            "create",
            n=bench.sizes.ids,
            seconds=0,
            due_from=1_800,
            due_to=5_400,
            write_ids=bench.ids,
            whole=True,
        )


def get() -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(bench.load("get", ids=bench.ids, seconds=bench.sizes.seconds))

    return Step("get by id, 64 connections", US_PER_ITEM, measure, _prepare_ids)


def cancel() -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        bench.load("create", n=bench.sizes.cancels, seconds=0, write_ids=bench.filed, whole=True)
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(bench.load("cancel", ids=bench.filed, seconds=0))

    return Step("cancel, 64 connections", US_PER_ITEM, measure)


def listing() -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        now_s = time.time()
        start, end = (
            quote(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now_s + offset_s)))
            for offset_s in (1_800, 5_400)
        )
        path = f"/apps/{APP}/schedules?start_time={start}&end_time={end}&size=100"
        with bench.measuring(US_PER_ITEM, samples) as measured:
            measured.answered(bench.load("path", path=path, c=16, seconds=bench.sizes.seconds))

    return Step("list, a page of 100, 16 connections", US_PER_ITEM, measure, _prepare_ids)


@contextmanager
def _callbacks(bench: Bench, into_kafka: bool) -> Iterator[tuple[Arrivals, dict[str, object]]]:
    """Return what counts callbacks, and the options of a load that asks for them."""
    if not into_kafka:
        bench.sink.reset()
        yield bench.sink, {"callback": bench.sink.url}
        return
    if not bench.target.kafka:
        raise NotOffered("has no Kafka here")
    with KafkaTopic(bench.target.kafka, f"bench.{bench.target.name}") as topic:
        yield topic, {"topic": topic.name}


def _due_in(bench: Bench, seconds: float) -> int:
    """Return a moment at least so far ahead: a whole second, or minute for who fires those."""
    due_s = math.ceil(time.time() + seconds)
    return -(-due_s // 60) * 60 if bench.target.fires_minutes else due_s


def fire(name: str, *, into_kafka: bool, is_herd: bool = False) -> Step:
    """Many due at one moment; the processor time is that from the first callback on."""

    def measure(bench: Bench, samples: list[Sample]) -> None:
        count = bench.sizes.herd if is_herd else bench.sizes.fires
        how: dict[str, object] = {"do": "create", "n": count, "whole": True}
        if is_herd:
            how = {"do": "batch", "n": count // 100, "items": 100, "c": 4, "spread": 1}
        with _callbacks(bench, into_kafka) as (arrivals, options):
            per_s = _CREATES_PER_S * (8 if is_herd else 1)
            due_s = _due_in(bench, 3 + count / per_s)
            bench.load(**how, due_at=due_s, seconds=0, write_ids=bench.filed, **options)  # type: ignore[arg-type]
            if time.time() > due_s - 1:
                raise RuntimeError("filing took too long: they were due before")
            with bench.measuring(US_PER_ITEM, samples) as measured:
                measured.cpu_from = _watch(bench, arrivals, count, due_s)
                measured.items = count
                time.sleep(_OUTCOMES_S)
            found = judge(read_filed(bench.filed), arrivals.arrivals())
        sample = samples[-1]
        measured.figures = {"per s": found.per_s}
        measured.delivered(found)
        samples[-1] = replace(sample, figures=measured.figures, faults=measured.faults)

    return Step(name, US_PER_ITEM, measure)


def _watch(bench: Bench, arrivals: Arrivals, count: int, due_s: float) -> dict[str, float]:
    """Wait until all came, or time is up; return the processor time used before the first."""
    used = bench.target.processes.used_s()
    until_s = due_s + _LATE_S * (3 if bench.target.fires_minutes else 1)
    while (came := arrivals.count()) < count and time.time() < until_s:
        if not came:
            used = bench.target.processes.used_s()
        time.sleep(_PAUSE_S)
    return used


def _wait_all(arrivals: Arrivals, count: int, until_s: float) -> None:
    while arrivals.count() < count and time.time() < until_s:
        time.sleep(_PAUSE_S)


def steady() -> Step:
    def measure(bench: Bench, samples: list[Sample]) -> None:
        if bench.target.fires_minutes:
            raise NotOffered("fires whole minutes: its lag is that of its poller's interval")
        sizes = bench.sizes
        with (
            _callbacks(bench, False) as (arrivals, options),
            bench.measuring(US_PER_ITEM, samples) as measured,
        ):
            count = int(sizes.steady_per_s * sizes.steady_s)
            found = bench.load(
                "create",
                n=count,
                seconds=0,
                rate=sizes.steady_per_s,
                due_from=sizes.steady_lead[0],
                due_to=sizes.steady_lead[1],
                write_ids=bench.filed,
                **options,
            )
            _wait_all(arrivals, count, time.time() + sizes.steady_lead[1] + 10)
            measured.items = count
            measured.figures = {"create p99 ms": found.p99_ms}
            measured.delivered(judge(read_filed(bench.filed), arrivals.arrivals()))

    return Step("create and call back, a steady rate", US_PER_ITEM, measure)


def life(name: str, *, into_kafka: bool) -> Step:
    """Creates in batches of ten at a rate that was published, each called back some seconds later."""

    def measure(bench: Bench, samples: list[Sample]) -> None:
        sizes = bench.sizes
        rate = (sizes.life_kafka_per_s if into_kafka else sizes.life_http_per_s) / 10
        requests = int(rate * sizes.life_s)
        with _callbacks(bench, into_kafka) as (arrivals, options):
            with bench.measuring(US_PER_ITEM, samples) as measured:
                found = bench.load(
                    "batch",
                    n=requests,
                    items=10,
                    seconds=0,
                    rate=rate,
                    due_from=5,
                    due_to=10,
                    write_ids=bench.filed,
                    **options,
                )
                _wait_all(arrivals, found.done, time.time() + 10 + _LATE_S)
                measured.items = found.done
                measured.figures = {"creates per s": found.per_s, "create p99 ms": found.p99_ms}
            measured.delivered(judge(read_filed(bench.filed), arrivals.arrivals()))
        samples[-1] = replace(samples[-1], figures=measured.figures, faults=measured.faults)

    return Step(name, US_PER_ITEM, measure, warms_up=False)


def idle() -> Step:
    def prepare(bench: Bench) -> None:
        bench.register_many("idle", bench.sizes.idle_apps, bench.sizes.idle_partitions)
        time.sleep(5)  # the first seals

    def measure(bench: Bench, samples: list[Sample]) -> None:
        with bench.measuring(SHARE, samples) as measured:
            time.sleep(bench.sizes.idle_s)
            memory = bench.target.processes.resident_mib()
            measured.figures = {f"{name} MiB": value for name, value in memory.items() if name not in _OTHERS}

    return Step("idle", SHARE, measure, prepare, warms_up=False)


_OTHERS = ("cassandra", "kafka")  #: whose memory is a setting


def wide() -> Step:
    """Many quiet apps, one schedule a minute each, spread over it and filed before it begins."""

    def prepare(bench: Bench) -> None:
        bench.register_many("wide", bench.sizes.wide_apps, 1)
        time.sleep(5)

    def measure(bench: Bench, samples: list[Sample]) -> None:
        apps, seconds = bench.sizes.wide_apps, bench.sizes.wide_s
        due_s = _due_in(bench, 6 + apps / _CREATES_PER_S)
        with _callbacks(bench, False) as (arrivals, options):
            bench.load(
                "create",
                n=apps,
                app="wide",
                apps=apps,
                seconds=0,
                due_at=due_s,
                spread=seconds,
                write_ids=bench.filed,
                **options,
            )
            time.sleep(max(due_s - time.time(), 0))
            with bench.measuring(SHARE, samples) as measured:
                time.sleep(max(due_s + seconds - time.time(), 0))
            _wait_all(arrivals, apps, time.time() + 15)
            measured.delivered(judge(read_filed(bench.filed), arrivals.arrivals()))
        samples[-1] = replace(samples[-1], figures=measured.figures, faults=measured.faults)

    return Step("wide: many apps, one callback a minute each", SHARE, measure, prepare, warms_up=False)


def beside_burst() -> Step:
    """What others feel of a burst: many quiet apps, and one of 64 partitions that is called back evenly."""

    def prepare(bench: Bench) -> None:
        bench.register()
        bench.register_many("quiet", bench.sizes.quiet_apps, 1)
        bench.register_many("even", 1, 64)
        time.sleep(5)

    def measure(bench: Bench, samples: list[Sample]) -> None:
        sizes, seconds = bench.sizes, 60
        quiet, even = (bench.filed.with_suffix(f".{name}") for name in ("quiet", "even"))
        due_s = _due_in(bench, 6 + (sizes.fires + sizes.quiet_apps) / _CREATES_PER_S)
        with _callbacks(bench, False) as (arrivals, options):
            burst: dict[str, object] = {"n": sizes.fires, "due_at": due_s + seconds // 2}
            bench.load("create", seconds=0, write_ids=bench.filed, **burst, **options)
            apps = sizes.quiet_apps
            many: dict[str, object] = {"n": apps, "apps": apps, "app": "quiet", "due_at": due_s}
            bench.load("create", seconds=0, spread=seconds, write_ids=quiet, **many, **options)
            time.sleep(max(due_s - time.time(), 0))
            with bench.measuring(SHARE, samples) as measured:
                one: dict[str, object] = {"rate": 20, "app": "even-0", "due_from": 2, "due_to": 4}
                bench.load("create", n=20 * seconds, seconds=0, write_ids=even, **one, **options)
            count = sizes.fires + apps + 20 * seconds
            _wait_all(arrivals, count, time.time() + _LATE_S)
            came = arrivals.arrivals()
        of_burst = judge(read_filed(bench.filed), came)
        measured.figures = {"burst per s": of_burst.per_s}
        faults = [of_burst.faults()]
        for name, file in (("quiet", quiet), ("64 partitions", even)):
            found = judge(read_filed(file), came)
            faults.append(found.faults())
            measured.figures |= {
                f"{name} lag p50 ms": found.lag_ms(0.5),
                f"{name} lag p99 ms": found.lag_ms(0.99),
            }
        measured.faults = "; ".join(filter(None, faults))
        samples[-1] = replace(samples[-1], figures=measured.figures, faults=measured.faults)

    return Step("others beside a burst", SHARE, measure, prepare, warms_up=False)


def growth(stored: Sequence[int]) -> list[Step]:
    """Create, get and steady lag again, with so many schedules waiting that are due in weeks."""

    def fill(count: int, bench: Bench) -> None:
        _prepare_ids(bench)
        if (more := count - bench.stored) > 0:
            requests = -(-more // _FILL_ITEMS)
            bench.load(
                "batch",
                n=requests,
                items=_FILL_ITEMS,
                c=_FILL_CONNECTIONS,
                seconds=0,
                due_from=2 * _DAY_S,
                due_to=28 * _DAY_S,
                whole=True,
            )
            bench.stored += requests * _FILL_ITEMS

    return [
        step._replace(name=f"{count / 1e6:g} million stored: {step.name}", prepare=partial(fill, count))
        for count in stored
        for step in (create(64, 200), get(), steady())
    ]


#: Every profile, by name, with what it does.
PROFILES: dict[str, tuple[str, Callable[[Sizes], list[Step]]]] = {
    "create": (
        "POST of one schedule: by connections and size of the payload",
        lambda sizes: [create(each, payload) for each in sizes.connections for payload in sizes.payloads],
    ),
    "create-wide": ("POST of one schedule, of 10,000 apps in turn", lambda _: [create_wide()]),
    "register": ("POST of an app", lambda _: [register()]),
    "batch": ("POST of many: by how many", lambda sizes: [batch(each) for each in sizes.batches]),
    "get": ("GET by id", lambda _: [get()]),
    "cancel": ("DELETE by id", lambda _: [cancel()]),
    "list": ("a page of an app's schedules", lambda _: [listing()]),
    "fire-http": ("many due at one moment, over HTTP", lambda _: [fire("fire HTTP", into_kafka=False)]),
    "fire-kafka": ("the same into a Kafka topic", lambda _: [fire("fire Kafka", into_kafka=True)]),
    "herd": (
        "100,000 due in one second, over HTTP",
        lambda _: [fire("herd", into_kafka=False, is_herd=True)],
    ),
    "steady": ("creates at a fixed rate, each called back 2 to 6 s later", lambda _: [steady()]),
    "life-kafka": (
        "goscheduler's published 5,833 a second",
        lambda _: [life("whole life, Kafka", into_kafka=True)],
    ),
    "life-http": ("its published 1,667 a second", lambda _: [life("whole life, HTTP", into_kafka=False)]),
    "idle": ("10,000 poller instances and nothing to do", lambda _: [idle()]),
    "wide": ("10,000 apps, one callback a minute each", lambda _: [wide()]),
    "beside-burst": (
        "20,000 due at one moment beside 1,000 quiet apps and one of 64 partitions",
        lambda _: [beside_burst()],
    ),
    "growth": ("create, get and steady at 1, 5 and 20 million stored", lambda sizes: growth(sizes.stored)),
}
QUICK_PROFILES = ("create", "batch", "get", "cancel", "fire-http", "steady")
