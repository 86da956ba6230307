"""What nodes answer, and what happens when they do not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.unit.ringctl.rig import make_health

from ringtime_ringctl.deployment.api import read_answer
from ringtime_ringctl.deployment.http_calls import Answer, check_url, get_all, send
from ringtime_ringctl.deployment.probes import (
    fetch_fronts,
    fetch_health,
    read_fronts,
    read_health,
    relative_skews,
)
from ringtime_ringctl.schedules.deadletters import replay_ids, replay_range
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import Conflict, InvalidRequest, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance

BASE = "http://127.0.0.1:1/goscheduler"


class Node:
    """A server whose answers are set by path; a callable may look at the body."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = json.loads(body) if body else None
                node.asked.append((self.path, asked))
                status, answer = node.answers.get(self.path, (404, {}))
                text = json.dumps(answer(asked) if callable(answer) else answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def node() -> Iterator[Node]:
    running = Node()
    yield running
    running.close()


def answered(status: int | None, body: dict[str, Any] | None = None, error: str = "") -> Answer:
    return Answer(status=status, body=body or {}, error=error, asked_ms=1_000, answered_ms=1_100)


async def test_health_fronts_and_a_node_that_is_away(node: Node) -> None:
    now_ms = time.time_ns() // 1_000_000
    node.answers["/health/ready"] = (200, {"status": "ready", "nowMs": now_ms + 5_000})
    node.answers["/health/fronts"] = (200, {"nowMs": now_ms, "fronts": {"pay.3": 7, "x": 1, "pay.4": "no"}})
    members = {
        "n1": Member(node="n1", address=node.address),
        "n2": Member(node="n2", address="127.0.0.1:1"),
        "n3": Member(node="n3"),
        "n4": Member(node="n4", address="not an address:x"),
    }
    n1, n2, n4 = await fetch_health(members)
    assert n1.is_ready
    assert n1.skew_ms is not None
    assert 4_000 < n1.skew_ms < 6_000
    assert (n2.node, n2.is_reached, n2.is_ready) == ("n2", False, False)
    assert "refused" in n2.reason
    assert (n4.node, n4.is_reached) == ("n4", False)
    assert await fetch_fronts(members) == {Instance("pay", 3): 7}


async def test_nobody_to_ask() -> None:
    assert await get_all([], timeout_s=1) == []
    assert await fetch_fronts({}) == {}


def test_a_node_that_is_not_ready_says_why_and_what_time_it_is() -> None:
    health = read_health("n1", answered(503, {"reason": "no trusted lease", "nowMs": 1_050}))
    assert (health.is_reached, health.is_ready, health.reason) == (True, False, "no trusted lease")
    assert (health.skew_ms, health.doubt_ms) == (0, 51)


def test_a_node_that_is_drained_is_as_it_was_told_to_be() -> None:
    told = {"status": "drained", "reason": "it is drained", "nowMs": 1_050}
    health = read_health("n1", answered(503, told))
    assert (health.is_reached, health.is_ready, health.reason) == (True, True, "")


def test_an_older_node_tells_no_time() -> None:
    assert read_health("n1", answered(200, {"status": "ready"})).skew_ms is None
    assert read_fronts(answered(404)) == {}
    assert read_fronts(answered(200, {"fronts": [1]})) == {}


def test_skews_are_counted_from_the_middle_clock() -> None:
    healths = [make_health("a", 10), make_health("b", 30), make_health("c", 5_000), make_health("d", None)]
    assert relative_skews(healths) == {"a": -10, "b": 10, "c": 4_980, "here": -20}


async def test_replays_by_id(node: Node) -> None:
    skip = {"scheduleId": "b", "reason": "it is SUCCESS"}
    data = {"replayed": 1, "skipped": [skip], "continuationToken": ""}
    node.answers["/api/apps/pay/dead-letters/replay"] = (200, {"status": {}, "data": data})
    report = await replay_ids(f"http://{node.address}/api", "pay", ["a", "b"])
    assert (report.replayed, report.skipped) == (1, [skip])
    assert node.asked == [("/api/apps/pay/dead-letters/replay", {"scheduleIds": ["a", "b"]})]


async def test_replays_of_a_range_go_on_to_its_end(node: Node) -> None:
    def answer(asked: dict[str, object]) -> object:
        token = {None: "one", "one": "two", "two": ""}[asked.get("continuationToken")]  # type: ignore[index]
        return {"data": {"replayed": 500 if token else 3, "skipped": [], "continuationToken": token}}

    node.answers["/api/apps/pay/dead-letters/replay"] = (200, answer)
    seen: list[int] = []
    asked = {"startTime": "x", "endTime": "y"}
    report = await replay_range(f"http://{node.address}/api", "pay", asked, seen.append)
    assert report.replayed == 1_003
    assert seen == [500, 1_000, 1_003]
    assert all(body["startTime"] == "x" and body["endTime"] == "y" for _, body in node.asked)


async def test_an_api_that_is_away_has_done_nothing() -> None:
    with pytest.raises(StoreUnavailable, match=r"nobody answers at .* see --api"):
        await replay_ids(BASE, "pay", ["a"])


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (answered(None, error="timed out"), OutcomeUnknown, "timed out"),
        (answered(503, {"status": {"statusMessage": "no store"}}), OutcomeUnknown, "503: no store"),
        (
            answered(503, {"status": {"statusMessage": "no store", "error": "STORE_UNAVAILABLE"}}),
            StoreUnavailable,
            "503: no store",
        ),
        (answered(400, {"status": {"statusMessage": "deactivated"}}), Conflict, "400: deactivated"),
        (answered(200), Conflict, "nothing that can be read"),
    ],
)
def test_other_answers(answer: Answer, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read_answer(BASE, answer, 0)
    with pytest.raises(error, match="7 were filed again, then"):
        read_answer(BASE, answer, 7)


async def test_post_sends_json(node: Node) -> None:
    node.answers["/x?a=1"] = (201, {"b": 2})
    answer = await send("POST", f"http://{node.address}/x?a=1", {"c": 3}, timeout_s=5)
    assert (answer.status, answer.body) == (201, {"b": 2})
    assert node.asked == [("/x?a=1", {"c": 3})]


def test_urls() -> None:
    assert check_url("--api", f"{BASE}/") == BASE
    for wrong in ("", "127.0.0.1:8080", "ftp://a/b", "http:///x", "http://a?b=c"):
        with pytest.raises(InvalidRequest, match="--api"):
            check_url("--api", wrong)
