"""The files of `infra/prometheus` and `infra/grafana`, as tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
RULES = PROMETHEUS / "ringtime.rules.yml"
RULE_TESTS = PROMETHEUS / "ringtime.rules.test.yml"
DASHBOARDS = ROOT / "infra" / "grafana" / "dashboards"


def alert_names() -> list[str]:
    """Return the alerts, in the order of the file."""
    return re.findall(r"- alert: (\w+)", RULES.read_text())


class Query(NamedTuple):
    """One query of a panel."""

    panel: str
    expression: str


def panels(dashboard: Path) -> list[Mapping[str, Any]]:
    """Return the panels of a dashboard, its rows among them."""
    found: list[Mapping[str, Any]] = json.loads(dashboard.read_text())["panels"]
    return found


def queries(*, job: str = "ringtime", interval: str = "1m") -> Iterator[Query]:
    """Yield the queries of all dashboards, with Grafana's variables filled in."""
    for dashboard in sorted(DASHBOARDS.glob("*.json")):
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                expression = target["expr"].replace("$__rate_interval", interval).replace("$job", job)
                yield Query(f"{dashboard.stem}: {panel['title']}", expression)
