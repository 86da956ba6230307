"""promtool takes the alert rules, their tests and the queries of the dashboards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from threading import Event

import pytest
from tests.harness.monitoring import PROMETHEUS, RULE_TESTS, RULES, alert_names, queries

from ringtime_local import MissingPrerequisite
from ringtime_local.prometheus import find_prometheus

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return find_prometheus(abort=Event()).promtool
    except MissingPrerequisite as error:
        pytest.skip(str(error))


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_its_rules_are_taken(promtool: str) -> None:
    run(promtool, "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert f"{len(alert_names()) + 4} rules found" in run(
        promtool, "check", "rules", "--lint-fatal", str(RULES)
    )


@pytest.mark.slow
def test_each_alert_fires_on_its_series_and_not_on_good_ones(promtool: str) -> None:
    run(promtool, "test", "rules", str(RULE_TESTS))


def test_every_query_of_the_dashboards_is_one(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": each.expression} for n, each in enumerate(queries())]
    file = tmp_path / "panels.json"  # YAML as well
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", str(file))
