"""Load runs with Locust against one process: one of a minute, with every promise judged, and shorter ones.

Other tests work beside these, on the same cores. So they hold a run to what is kept and to what was asked
for, at a rate that leaves most of a core; what an answer and a callback may take is relaxed here, and judged
as published by `make load`.
"""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec
import pytest

from ringtime_load.plan import Plan, plan_of
from ringtime_load.session import run
from ringtime_local import KafkaServer
from ringtime_local.ports import take_ports
from tests.harness.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELAXED = {"p99_ms": 5_000.0, "lag_p99_ms": 5_000.0}


def short(
    shape: str, base: str, *, factor: float, seconds: float = 6, ramp_s: float = 2, warm_up_s: float = 0
) -> Plan:
    plan = plan_of(
        shape,
        factor=factor,
        seconds=seconds,
        ramp_s=ramp_s,
        warm_up_s=warm_up_s,
        lead_s=(2.0, 4.0),
        tenants=20 if shape == "wide" else None,
        reached_share=0.5 if seconds < 60 else 0.9,  # the start of a process is a part of few seconds
        **RELAXED,
    )
    return msgspec.structs.replace(plan, hosts=(base,))


def test_many_tenants_over_http_by_two_workers(tmp_path: Path) -> None:
    told: list[str] = []
    with serving(tmp_path) as server:
        plan = short("wide", server.base, factor=0.02, seconds=4, warm_up_s=2)
        checks = run(plan, tmp_path / "run", workers=2, tell=told.append, tell_every_s=1)
    assert [check for check in checks if not check.is_kept] == []
    assert {"create: p99, ms", "create: failed, %", "create (warming up): p99, ms"} <= {
        check.what for check in checks
    }
    assert any(" 0 lost" in line and " 0 called back" not in line for line in told)
    for name in ("report.html", "report.svg", "locust.html", "verdict.txt"):
        assert (tmp_path / "run" / name).stat().st_size > 100


def test_an_interrupted_server_fails_the_run(tmp_path: Path) -> None:
    """Killed in the middle and not started again: creates fail and callbacks are lost."""
    with serving(tmp_path) as server:
        plan = short("http", server.base, factor=0.02)
        criteria = msgspec.structs.replace(plan.criteria, late_ms=2_000.0)

        def kill_once(line: str) -> None:
            is_begun = " waiting" in line and not line.strip().startswith("0 created")
            if is_begun and server.is_running():
                server.kill()

        checks = run(
            msgspec.structs.replace(plan, criteria=criteria),
            tmp_path / "run",
            tell=kill_once,
            tell_every_s=3,
        )
    assert {"callbacks lost", "create: failed, %"} <= {each.what for each in checks if not each.is_kept}


def test_pages_by_which_it_is_stopped_started_again_and_read(tmp_path: Path) -> None:
    stop, port = threading.Event(), take_ports(1)[0]
    done: list[str] = []

    def ask(path: str, form: dict[str, object] | None = None) -> bytes:
        body = None if form is None else urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def look(line: str) -> None:
        """What a person does at the pages, a step each second."""
        if "waiting" not in line or line.startswith("0 created") or stop.is_set():
            return
        told = json.loads(ask("/stats/requests"))
        if not done:
            assert told["state"] == "running"
            assert b"<html" in ask("/")
            assert json.loads(ask("/stop", {}))["success"]
            done.append("stopped")
        elif done == ["stopped"] and told["state"] == "stopped":
            assert json.loads(ask("/swarm", {"user_count": 1, "spawn_rate": 1}))["success"]
            done.append("started")
        elif done[-1] == "started" and told["state"] == "running":
            assert told["stats"][0]["name"] == "create"
            stop.set()

    with serving(tmp_path) as server:
        plan = short("http", server.base, factor=0.01, seconds=60)
        checks = run(plan, tmp_path / "run", web_port=port, stop=stop, tell=look, tell_every_s=1)
    assert done == ["stopped", "started"]
    assert [each.what for each in checks if not each.is_kept] == ["creates acknowledged"]
    assert "<html" in (tmp_path / "run" / "locust.html").read_text()


@pytest.mark.service
def test_a_minute_of_creates_and_cancels_with_kafka_callbacks(
    tmp_path: Path, kafka_server: KafkaServer
) -> None:
    with serving(tmp_path, kafka_bootstrap=kafka_server.bootstrap) as server:
        plan = short("kafka-delete", server.base, factor=0.01, seconds=60, ramp_s=5)
        checks = run(plan, tmp_path / "run", kafka=kafka_server.bootstrap)
    assert [check for check in checks if not check.is_kept] == []
    assert {"callbacks lost", "callbacks early", "callbacks after a promised cancel"} <= {
        check.what for check in checks
    }
    assert {"delete: p99, ms", "delete: failed, %"} <= {check.what for check in checks}
    acknowledged = next(check for check in checks if check.what == "creates acknowledged")
    assert int(acknowledged.found.replace(",", "")) > 2_000
