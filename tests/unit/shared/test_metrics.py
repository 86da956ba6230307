"""What is measured, and how it leaves the process: names, bounds on apps, pages in pieces, who may read."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.harness.measured import counted

from ringtime_local.ports import take_ports
from ringtime_shared.errors import SettingsError, StartupError, StoreUnavailable
from ringtime_shared.http_server.connection import Message
from ringtime_shared.http_server.exposure import require_metrics_guarded
from ringtime_shared.metrics import UNMEASURED, Metrics, names
from ringtime_shared.metrics.apps import CREATES, LAG, OTHER, SUCCESS, AppCounts
from ringtime_shared.metrics.export import MetricsApp, exported, new_metrics
from ringtime_shared.metrics.names import BUILD_INFO, FIRES, LEASE_LOST, READY, STORE, Instrument, Kind, Role
from ringtime_shared.metrics.page import app_page, page, text_of
from ringtime_shared.metrics.reference import with_instruments
from ringtime_shared.metrics.registry import Buckets
from ringtime_shared.metrics.statsd import Statsd, open_client
from ringtime_shared.metrics.store_calls import measured_store
from ringtime_shared.settings import MetricsSettings, load_settings

TOKEN = "a token of Prometheus"
TLS = {"RINGTIME_SERVER_CERT_FILE": "/a", "RINGTIME_SERVER_KEY_FILE": "/b"}
BEYOND = {"RINGTIME_METRICS_PORT": "9464", "RINGTIME_METRICS_HOST": "0.0.0.0"}


def test_every_instrument_of_the_module_is_in_its_list_and_named_by_its_kind() -> None:
    found = [each for each in vars(names).values() if isinstance(each, Instrument)]
    assert sorted(found, key=str) == sorted(names.ALL, key=str)
    assert len({each.name for each in names.ALL}) == len(names.ALL)
    for each in names.ALL:
        assert each.name.startswith("ringtime_")
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
        assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM)
        assert list(each.buckets) == sorted(each.buckets)
        assert each.help.endswith(".")
        assert each.roles


def test_the_page_has_the_table_that_is_made_from_the_names() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert page == with_instruments(page), "run: make docs"
    assert all(f"| `{each.name}` |" in page for each in names.ALL)
    with pytest.raises(ValueError, match="the page has no"):
        with_instruments("# nothing")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_series_of_apps_are_bounded_and_never_fall_whoever_comes_and_goes() -> None:
    clock, rng = Clock(), Random(1)
    apps = AppCounts(5, clock, kept=40)
    total = 0
    grown = 0.0  # as a rate sees it: a series that comes begins at 0
    before: dict[str, float] = {}
    shown_ever: set[str] = set()
    for turn in range(60):
        busy = [f"app-{(turn // 6 * 7 + n) % 200}" for n in range(8)]
        for _ in range(200):
            app_id = rng.choice(busy) if rng.random() < 0.8 else f"app-{rng.randrange(200)}"
            apps.of(app_id)[CREATES] += 1
            total += 1
        clock.now_s += 30
        series = {app_id: numbers[CREATES] for app_id, numbers in (await apps.series()).items()}
        assert len(series) <= 5 + 1
        assert apps.kept <= 40
        grown += sum(value - before.get(app_id, 0) for app_id, value in series.items())
        assert grown == total
        for app_id in series.keys() & before.keys():
            assert series[app_id] >= before[app_id], app_id
        shown_ever |= series.keys()
        before = series
    assert len(shown_ever) > 10  # they did come and go


async def test_ten_thousand_apps_take_no_more_than_their_bound() -> None:
    metrics = new_metrics(MetricsSettings(apps=20), Role.INGEST, Role.DISPATCHER)
    for n in range(10_000):
        metrics.apps.of(f"app-{n}")[SUCCESS] += 1 + (n < 20)
        metrics.apps.lagged(f"app-{n}", 0.01)
    await metrics.look()
    assert metrics.apps.kept <= 4_096
    samples = [sample for family in metrics.families() for sample in family.samples]
    assert len({each.labels["app"] for each in samples if "app" in each.labels}) == 21
    assert len(samples) < 21 * 20 + 50
    for n in range(20):  # they are busier from now on
        metrics.apps.of(f"app-{n}")[SUCCESS] += 5
    await metrics.look()
    assert counted(metrics, names.APP_FIRES, result="success") == 10_020 + 100
    assert counted(metrics, names.APP_FIRE_LAG) == 10_000


async def test_what_went_wrong_of_thousands_is_looked_at_in_slices() -> None:
    apps, turns = AppCounts(5, Clock()), 0
    for n in range(4_000):
        apps.lagged(f"app-{n}", 6.0 if n % 2 else 0.1)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    found = await apps.gone_wrong(5.0)
    task.cancel()
    assert len(found) == 2_000
    assert set(found.values()) == {(0, 0, 1)}
    assert turns >= 15


async def test_an_app_called_other_has_no_series_of_its_own() -> None:
    apps = AppCounts(5, Clock())
    apps.of(OTHER)[CREATES] += 7
    apps.of("shop")[CREATES] += 1
    assert {*await apps.series()} == {"shop", OTHER}
    assert (await apps.series())[OTHER][CREATES] + (await apps.series())["shop"][CREATES] == 8


def test_an_apps_page_names_that_app_alone() -> None:
    metrics = Metrics()
    for app_id in ("shop", "bank"):
        metrics.apps.of(app_id)[CREATES] += 3
        metrics.apps.lagged(app_id, 0.2)
    text = app_page(metrics, "shop").decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    assert {each.labels["app"] for each in samples} == {"shop"}
    assert {each.name: each.value for each in samples}["ringtime_app_creates_total"] == 3
    assert "bank" not in text
    quiet = app_page(metrics, "quiet").decode()
    assert 'ringtime_app_creates_total{app="quiet"} 0.0' in quiet


async def test_a_page_is_written_in_pieces_and_others_run_in_between() -> None:
    metrics = Metrics()
    for n in range(40):
        metrics.spread(STORE, f"call_{n}").observe(0.01)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    text = (await page(metrics)).decode()
    others.cancel()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    samples = families[STORE.name].samples
    assert len(samples) == 40 * (len(STORE.buckets) + 3)
    assert turns >= len(samples) // 25
    assert text.count(f"# TYPE {STORE.name} histogram") == 1
    assert "_created" not in text
    (family,) = [each for each in metrics.families() if each.name == STORE.name]
    assert max(piece.count(b"\n") for piece in text_of(family)) <= 27


async def never_ends() -> None:
    await asyncio.Event().wait()


async def test_where_nobody_measures_nothing_is_kept() -> None:
    UNMEASURED.count(LEASE_LOST).inc()
    UNMEASURED.spread(STORE, "x").observe(1)
    UNMEASURED.level(READY, lambda: 1)
    UNMEASURED.counts(FIRES, lambda: {("success",): 1})
    UNMEASURED.buckets(names.CREATE, Buckets(names.CREATE))
    UNMEASURED.before_reading(never_ends)
    UNMEASURED.apps.of("shop")[CREATES] += 1
    UNMEASURED.apps.lagged("shop", 1)
    assert UNMEASURED.apps.kept == 0
    assert await page(UNMEASURED) == b""
    store = object()
    assert measured_store(store, UNMEASURED) is store


async def test_a_family_without_series_is_named_all_the_same() -> None:
    metrics = Metrics()
    metrics.levels(names.COMPLETENESS_AGE, dict)
    text = (await page(metrics)).decode()
    assert names.COMPLETENESS_AGE.name in {each.name for each in text_string_to_metric_families(text)}


def test_a_kind_is_not_taken_for_another() -> None:
    with pytest.raises(TypeError, match="is a counter, not a gauge"):
        Metrics().level(LEASE_LOST, lambda: 1)
    with pytest.raises(TypeError, match="is a gauge, not a counter"):
        Metrics().count(READY)


class Store:
    """A driver of two calls."""

    name = "a driver"

    async def ping(self) -> str:
        return "pong"

    async def fail(self) -> None:
        raise StoreUnavailable("away")

    def now(self) -> int:
        return 1


async def test_calls_of_the_store_are_timed_those_that_fail_too() -> None:
    metrics = Metrics()
    store = measured_store(Store(), metrics)
    assert (await store.ping(), await store.ping(), store.now(), store.name) == (
        "pong",
        "pong",
        1,
        "a driver",
    )
    with pytest.raises(StoreUnavailable):
        await store.fail()
    assert [counted(metrics, STORE, call=call) for call in ("ping", "fail", "now")] == [2, 1, 0]


async def test_what_runs_is_told() -> None:
    metrics = new_metrics(MetricsSettings(), Role.DISPATCHER)
    assert counted(metrics, BUILD_INFO, role="dispatcher") == 1
    assert counted(metrics, BUILD_INFO) == 1


async def ask(app: MetricsApp, *given: str, method: str = "GET", path: str = "/metrics") -> tuple[int, bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    headers = [(b"authorization", each.encode()) for each in given]
    await app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_the_port_asks_for_its_token() -> None:
    metrics = Metrics()
    app = MetricsApp(metrics, TOKEN)
    status, body = await ask(app, f"Bearer {TOKEN}")
    assert (status, b"process_cpu_seconds_total" in body) == (200, True)
    for given in ((), (TOKEN,), (f"Bearer {TOKEN}x",), (f"Bearer {TOKEN}", f"Bearer {TOKEN}")):
        status, body = await ask(app, *given)
        assert (status, TOKEN.encode() in body) == (401, False)
    assert (await ask(app, f"Bearer {TOKEN}", path="/"))[0] == 404
    assert (await ask(app, f"Bearer {TOKEN}", method="POST"))[0] == 405
    assert (await ask(MetricsApp(metrics, "")))[0] == 200


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"RINGTIME_METRICS_HOST": "0.0.0.0"},
        {"RINGTIME_METRICS_PORT": "9464"},
        {**BEYOND, **TLS, "RINGTIME_METRICS_TOKEN": TOKEN.replace(" ", "-")},
        {**BEYOND, **TLS, "RINGTIME_SERVER_CLIENT_CA_FILE": "/c"},
        {**BEYOND, "RINGTIME_ACCESS_GATEWAY": "true"},
    ],
)
def test_what_is_served_where(environ: dict[str, str]) -> None:
    require_metrics_guarded(load_settings(None, environ))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, r"without a token \(metrics.token\) or .* and TLS"),
        (TLS, "without a token"),
        ({"RINGTIME_METRICS_TOKEN": TOKEN.replace(" ", "-")}, "without TLS"),
    ],
)
def test_what_is_not_served(environ: dict[str, str], says: str) -> None:
    with pytest.raises(StartupError, match=says):
        require_metrics_guarded(load_settings(None, {**BEYOND, **environ}))


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"RINGTIME_METRICS_PORT": "65535", "RINGTIME_INGEST_WORKERS": "2"}, "metrics.port"),
        ({"RINGTIME_METRICS_PORT": "8079", "RINGTIME_INGEST_WORKERS": "2"}, "metrics.port"),
        ({"RINGTIME_METRICS_TOKEN": "short"}, "METRICS_TOKEN"),
        ({"RINGTIME_METRICS_APPS": "201"}, "METRICS_APPS"),
    ],
)
def test_settings_that_do_not_fit(environ: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        load_settings(None, environ)


async def test_goscheduler_has_its_names_and_no_more_series_than_apps_shown() -> None:
    metrics = new_metrics(MetricsSettings(goscheduler=True, apps=2), Role.INGEST, Role.DISPATCHER)
    metrics.count(names.MOVES, "in").inc(3)
    metrics.spread(STORE, "fetch_rows").observe(0.02)
    metrics.spread(STORE, "put_rows").observe(0.02)
    took = Buckets(names.ATTEMPT)
    took.add(0.3)
    metrics.buckets(names.ATTEMPT, took)
    created = Buckets(names.CREATE)
    created.add(0.004, 5)
    metrics.buckets(names.CREATE, created)
    for n in range(10):
        metrics.apps.of(f"app-{n}")[SUCCESS] += n
    await metrics.look()
    for n in range(10):
        metrics.apps.of(f"app-{n}")[SUCCESS] += n
    text = (await page(metrics)).decode()
    found: dict[str, Any] = {each.name: each for each in text_string_to_metric_families(text)}
    told = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in found.values()
        for sample in family.samples
    }
    assert told["callback_status_count", ("app-9", "all", "Success")] == 9
    assert (
        sum(v for (name, of), v in told.items() if name == "callback_status_count" and "Success" in of) == 90
    )
    assert len({of[0] for (name, of) in told if name == "callback_status_count"}) == 3
    assert told["poller_life_cycle", ("all", "Start", "all")] == 3
    assert told["get_schedules_by_entity", ("all", "all")] == 1
    assert told["get_schedules_by_entity_duration_count", ()] == 1
    assert told["get_schedules_by_entity_max_query_count", ()] == 0
    assert told["callback_duration_sum", ("all", "all")] == pytest.approx(0.3)
    assert told["create_one_time_schedule_count", ("all",)] == 5
    assert "request_app_status" in found
    assert found["callback_duration"].type == "histogram"
    without = new_metrics(MetricsSettings(), Role.INGEST, Role.DISPATCHER)
    await without.look()
    assert all(each.name.startswith(("ringtime_", "process_")) for each in without.families())


def test_a_lag_is_counted_in_the_bucket_that_holds_it() -> None:
    apps = AppCounts(1, Clock())
    for lag_s in (0.0, 0.005, 0.0051, 300.0, 301.0):
        apps.lagged("shop", lag_s)
    assert list(apps.find("shop")[LAG:]) == [2, 1, 0, 0, 0, 0, 0, 1, 1]


class Wire:
    """A server of statsd on loopback."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.port: int = self.socket.getsockname()[1]

    def read(self, last: str) -> dict[str, str]:
        """Return what came, by name and tags, up to the line that begins so."""
        lines: dict[str, str] = {}
        while not any(line.startswith(last) for line in lines):
            datagram = self.socket.recv(65_536)
            assert len(datagram) <= 1_432, "it would be cut on its way"
            for line in datagram.decode().splitlines():
                name, _, rest = line.partition(":")
                value, kind, *tags = rest.split("|")
                lines[name + "".join(tags)] = f"{value}|{kind}"
        return lines


async def test_statsd_is_sent_what_counts_grew_by_and_how_levels_stand() -> None:
    wire, metrics, level = Wire(), Metrics(), 7.0
    lost, calls = metrics.count(LEASE_LOST), metrics.spread(STORE, "ping")
    metrics.level(READY, lambda: level)
    statsd = Statsd(metrics, open_client("127.0.0.1", wire.port))
    with wire.socket:
        lost.inc(3)
        calls.observe(0.5)
        await statsd.send()
        first = wire.read("ringtime_ready")
        assert first["ringtime_lease_lost_total"] == "3|c"
        assert first["ringtime_store_seconds_count#call:ping"] == "1|c"
        assert first["ringtime_store_seconds_sum#call:ping"] == "0.5|c"
        assert first["ringtime_ready"] == "7|g"
        assert not any("_bucket" in line or "_created" in line for line in first)
        lost.inc()
        level = 8
        await statsd.send()
        second = wire.read("ringtime_ready")
        assert second["ringtime_lease_lost_total"] == "1|c"
        assert second["ringtime_ready"] == "8|g"
        assert not any(line.startswith("ringtime_store_seconds") for line in second), "nothing new"
    statsd.close()


async def test_a_process_sends_to_statsd_once_more_when_it_ends() -> None:
    wire, metrics = Wire(), Metrics()
    environ = {"RINGTIME_METRICS_STATSD_HOST": "localhost", "RINGTIME_METRICS_STATSD_PORT": str(wire.port)}
    settings = load_settings(None, environ)
    with wire.socket:
        if socket.getaddrinfo("localhost", 1)[0][0] is not socket.AF_INET:
            settings = load_settings(None, {**environ, "RINGTIME_METRICS_STATSD_HOST": "127.0.0.1"})
        async with exported(settings, metrics):
            metrics.count(LEASE_LOST).inc(2)
        assert wire.read("ringtime_lease_lost_total")["ringtime_lease_lost_total"] == "2|c"


async def test_a_statsd_host_that_there_is_not_stops_the_start() -> None:
    settings = load_settings(None, {"RINGTIME_METRICS_STATSD_HOST": "a..b"})
    with pytest.raises(StartupError, match=r"metrics.statsd_host = a\.\.b is not known here"):
        async with exported(settings, Metrics()):
            pass


async def test_the_port_is_served_until_the_block_ends_and_taken_by_one() -> None:
    (port,) = take_ports(1)
    settings = load_settings(None, {"RINGTIME_METRICS_PORT": str(port)})
    metrics = Metrics()
    metrics.count(LEASE_LOST).inc(4)
    async with exported(settings, metrics):
        url = f"http://127.0.0.1:{port}/metrics"
        with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
            assert b"ringtime_lease_lost_total 4.0" in answer.read()
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with exported(settings, metrics):
                pass
    async with exported(settings, metrics):
        pass
