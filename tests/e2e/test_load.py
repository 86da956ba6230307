"""Load runs with Locust, whole but short, against one process: callbacks over HTTP and into Kafka."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path

import msgspec
import pytest

from ringtime_load.plan import Plan, plan_of
from ringtime_load.session import run
from ringtime_local import KafkaServer
from ringtime_local.ports import take_ports
from tests.harness.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: Other tests work beside these, which are about what is kept and not about how fast.
RELAXED = {"p99_ms": 5_000.0, "lag_p99_ms": 5_000.0, "reached_share": 0.5}


def short(shape: str, base: str, *, factor: float) -> Plan:
    plan = plan_of(
        shape,
        factor=factor,
        seconds=6,
        ramp_s=2,
        lead_s=(2.0, 4.0),
        tenants=20 if shape == "wide" else None,
        **RELAXED,
    )
    return msgspec.structs.replace(plan, hosts=(base,))


def test_many_tenants_over_http_by_two_workers(tmp_path: Path) -> None:
    told: list[str] = []
    with serving(tmp_path) as server:
        plan = short("wide", server.base, factor=0.02)
        checks = run(plan, tmp_path / "run", workers=2, tell=told.append, tell_every_s=1)
    assert [check for check in checks if not check.is_kept] == []
    assert {"create: p99, ms", "create: failed, %"} <= {check.what for check in checks}
    assert any(" 0 lost" in line and " 0 called back" not in line for line in told)
    for name in ("report.html", "report.svg", "locust.html", "verdict.txt"):
        assert (tmp_path / "run" / name).stat().st_size > 100


def test_an_interrupted_server_fails_the_run(tmp_path: Path) -> None:
    """Killed in the middle and not started again: creates fail and callbacks are lost."""
    with serving(tmp_path) as server:
        plan = short("http", server.base, factor=0.02)
        criteria = msgspec.structs.replace(plan.criteria, late_ms=2_000.0)

        def kill_once(line: str) -> None:
            if " waiting" in line and server.is_running():
                server.kill()

        checks = run(
            msgspec.structs.replace(plan, criteria=criteria),
            tmp_path / "run",
            tell=kill_once,
            tell_every_s=3,
        )
    assert {"callbacks lost", "create: failed, %"} <= {each.what for each in checks if not each.is_kept}


def test_pages_while_it_runs_and_a_verdict_when_told_to_stop(tmp_path: Path) -> None:
    stop, port, seen = threading.Event(), take_ports(1)[0], []

    def look(line: str) -> None:
        if "waiting" in line and not line.startswith("0 created") and not stop.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats/requests", timeout=10) as answer:
                seen.append(json.load(answer)["stats"][0]["name"])
            stop.set()

    with serving(tmp_path) as server:
        plan = msgspec.structs.replace(short("http", server.base, factor=0.01), seconds=60.0)
        checks = run(plan, tmp_path / "run", web_port=port, stop=stop, tell=look, tell_every_s=1)
    assert seen[0] == "create"
    assert [each.what for each in checks if not each.is_kept] == ["creates acknowledged"]
    assert "<html" in (tmp_path / "run" / "locust.html").read_text()


@pytest.mark.service
def test_cancels_beside_kafka_callbacks(tmp_path: Path, kafka_server: KafkaServer) -> None:
    with serving(tmp_path, kafka_bootstrap=kafka_server.bootstrap) as server:
        plan = short("kafka-delete", server.base, factor=0.01)
        checks = run(plan, tmp_path / "run", kafka=kafka_server.bootstrap)
    assert [check for check in checks if not check.is_kept] == []
    assert "delete: p99, ms" in {check.what for check in checks}
