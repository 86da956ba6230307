"""Real pods as an operator sees them: spans from the create to its fire, and log lines."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster, Pod
from tests.conftest import NOT_OF_CLUSTERS
from tests.e2e.conftest import wait_blocking
from tests.harness.collector import Collector, Spoken, collecting
from tests.harness.server import fetch_ready, serving
from tests.unit.shared.test_traces import PARENT, SPAN, TRACE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_S = 8.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def pods(
    tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers, collector: Collector
) -> Iterator[Cluster]:
    """One pod of each kind, with spans."""
    folder = tmp_path_factory.mktemp("observed")
    settings: dict[str, object] = {
        "cassandra": {"keyspace": folder.name},
        "coordination": {"prefix": f"/{folder.name}"},
        "tracing": {"enabled": True, "endpoint": collector.url, "share": 0},
    }
    own_servers.start(but=NOT_OF_CLUSTERS)
    cluster = Cluster(folder, ingest=1, dispatchers=1, settings=settings, servers=own_servers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        try:
            cluster.start()
            ask(cluster.base, "POST", "/apps", {"appId": "shop", "partitions": 1, "active": True})
            yield cluster
        finally:
            cluster.stop()


def ask(base: str, method: str, path: str, body: object, headers: Mapping[str, str] = {}) -> Any:
    request = urllib.request.Request(
        f"{base}{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json", **headers},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def create(base: str, url: str, headers: Mapping[str, str]) -> str:
    callback = {"type": "http", "details": {"url": url, "method": "POST"}}
    body = {"appId": "shop", "payload": "kanarie-7", "delaySeconds": 1, "callback": callback}
    made: str = ask(base, "POST", "/schedules", body, headers)["schedule"]["scheduleId"]
    return made


def lines_of(pod: Pod) -> list[dict[str, Any]]:
    """Return the log lines of a pod; what it says on stdout, which is in the same file, is none."""
    text = pod.log.read_text()
    assert "Traceback" not in "".join(line for line in text.splitlines() if not line.startswith("{"))
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _named(spans: list[Spoken], schedule_id: str) -> dict[str, Spoken]:
    found = [each for each in spans if each.attributes.get("ringtime.schedule_id") == schedule_id]
    return {each.span.name: each for each in found}


def test_a_create_and_its_fire_are_linked_and_the_receiver_goes_on(
    pods: Cluster, collector: Collector
) -> None:
    told = {"traceparent": PARENT, "tracestate": "a=1"}
    with collecting() as receiver:
        schedule_id = create(pods.base, receiver.url, told)
        silent = create(pods.base, receiver.url, {"traceparent": f"{PARENT[:-1]}0"})
        plain = create(pods.base, receiver.url, {})
        receiver.wait(lambda: len(receiver.heard) == 3)
        collector.wait(lambda: len(_named(collector.spans, schedule_id)) == 2)
    spans = _named(collector.spans, schedule_id)
    made, fired = spans["ringtime.create"], spans["ringtime.fire"]
    assert (made.service, fired.service) == ("ringtime-ingest", "ringtime-dispatcher")
    assert (made.span.trace_id.hex(), made.span.parent_span_id.hex()) == (TRACE, SPAN)
    assert [(link.trace_id, link.span_id) for link in fired.span.links] == [
        (made.span.trace_id, made.span.span_id)
    ]
    assert (fired.span.trace_id, fired.span.parent_span_id) == (made.span.trace_id, made.span.span_id)
    assert fired.span.start_time_unix_nano - made.span.end_time_unix_nano > 500_000_000
    assert fired.attributes["http.response.status_code"] == 200

    headers = {each.headers["schedule-id"]: each.headers for each in receiver.heard}
    assert headers[schedule_id]["traceparent"] == f"00-{TRACE}-{fired.span.span_id.hex()}-01"
    assert headers[schedule_id]["tracestate"] == "a=1"
    assert headers[silent]["traceparent"] == f"{PARENT[:-1]}0"
    assert "traceparent" not in headers[plain]
    assert {each.attributes["ringtime.schedule_id"] for each in collector.spans} == {schedule_id}
    assert b"kanarie" not in b"".join(each.body for each in collector.heard)


def test_a_store_that_is_away_is_a_line_and_not_a_stream(pods: Cluster, own_servers: LocalServers) -> None:
    before = {name: len(lines_of(pod)) for name, pod in pods.pods.items()}
    own_servers.cassandra.pause()
    try:
        refused, until_s = 0, time.monotonic() + AWAY_S
        while time.monotonic() < until_s or refused < 3:
            refused += not _is_ready(pods.pods["ingest-1"])
            time.sleep(0.2)
    finally:
        own_servers.cassandra.resume()
    for pod in pods.pods.values():
        wait_blocking(lambda pod=pod: _is_ready(pod), 60)  # type: ignore[misc]
    for name, pod in pods.pods.items():
        lines = lines_of(pod)[before[name] :]
        assert all("exception" not in line for line in lines)
        kinds = Counter(
            (line["logger"], line["level"], line["event"].split(": ")[0])
            for line in lines
            if "repeated" not in line
        )
        ours = {kind: count for kind, count in kinds.items() if kind[0].startswith("ringtime")}
        assert set(ours.values()) <= {1, 2}, f"a line for each class of error, {name}: {ours}"
        assert sum(kinds.values()) < 25, f"{name}: {kinds}"
    said = [line for line in lines_of(pods.pods["ingest-1"]) if line["event"].startswith("not ready")]
    assert 1 <= len(said) <= 2 < refused


def _is_ready(pod: Pod) -> bool:
    try:
        with urllib.request.urlopen(f"{pod.root}/health/ready", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_a_pod_says_more_while_somebody_looks(pods: Cluster) -> None:
    pod = pods.pods["ingest-1"]

    def said(what: str) -> list[dict[str, Any]]:
        return [line for line in lines_of(pod) if what in line["event"]]

    def ask_for_none(request_id: str) -> None:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(pods.base, "GET", f"/schedules/{uuid4()}", {}, {"x-request-id": request_id})

    assert all(line["level"] != "debug" for line in lines_of(pod))
    pod.process.signal(signal.SIGUSR1)
    wait_blocking(lambda: bool(said("debug from now on")), 30)
    ask_for_none("looked-for")
    wait_blocking(lambda: bool(said("ScheduleRoutes.fetch")), 30)
    (line,) = said("ScheduleRoutes.fetch")
    assert (line["event"], line["status"]) == ("GET ScheduleRoutes.fetch: 404", 404)
    assert line["request_id"] == "looked-for"
    pod.process.signal(signal.SIGUSR2)
    wait_blocking(lambda: bool(said("info from now on")), 30)
    ask_for_none("passed-over")
    assert len(said("ScheduleRoutes.fetch")) == 1


def test_every_line_of_a_server_on_stderr_parses(tmp_path: Path) -> None:
    with (
        collecting() as collector,
        serving(
            tmp_path,
            logs_level="debug",
            tracing_enabled="true",
            tracing_endpoint=collector.url,
            tracing_share=1,
        ) as server,
    ):
        ask(server.base, "POST", "/apps", {"appId": "shop", "partitions": 1, "active": True})
        with collecting() as receiver:
            schedule_id = create(server.base, receiver.url, {})
            receiver.wait(lambda: len(receiver.heard) == 1)
        assert fetch_ready(server) == 200
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
        names = sorted(_named(collector.spans, schedule_id))
    assert names == ["ringtime.create", "ringtime.fire"], "spans that wait are sent at the end"
    assert {line["service"] for line in lines} == {"ringtime"}
    events = {line["event"]: line for line in lines}
    assert events[f"attempt 1 of {schedule_id}: success"]["schedule_id"] == schedule_id
    assert "POST ScheduleRoutes.create: 200" in events
    assert "kanarie" not in server.log()


def test_a_collector_that_is_away_costs_a_line_and_no_callback(tmp_path: Path) -> None:
    with serving(
        tmp_path, tracing_enabled="true", tracing_endpoint="http://127.0.0.1:9/v1/traces", tracing_share=1
    ) as server:
        ask(server.base, "POST", "/apps", {"appId": "shop", "partitions": 1, "active": True})
        with collecting() as receiver:
            for _ in range(20):
                create(server.base, receiver.url, {})
            receiver.wait(lambda: len(receiver.heard) == 20)
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
    away = [line for line in lines if line["logger"].startswith("opentelemetry")]
    assert len({line["event"] for line in away}) == len(away) <= 4
    assert all("exception" not in line for line in away)
