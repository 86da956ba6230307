"""Grafana's dashboards: `python -m ringtime_local.dashboards` writes them into `infra/grafana/dashboards`.

A panel is a line or two here and forty in Grafana's JSON; names of metrics are those of
`ringtime_shared.metrics.names`. A test holds the files against what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ringtime_shared.metrics import names
from ringtime_shared.metrics.names import Instrument

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_STAT = {
    "reduceOptions": {"calcs": ["lastNotNull"]},
    "colorMode": "value",
    "graphMode": "area",
    "justifyMode": "auto",
    "textMode": "auto",
    "wideLayout": True,
    "showPercentChange": False,
    "percentChangeColorMode": "standard",
    "orientation": "auto",
}
_LINK = {
    "type": "dashboards",
    "title": "Ringtime",
    "tags": ["ringtime"],
    "icon": "external link",
    "tooltip": "",
    "asDropdown": False,
    "targetBlank": False,
    "includeVars": True,
    "keepTime": True,
}
_UNSET = {"text": "", "value": ""}  #: Grafana takes the first there is
_HERE = '{job="$job"}'
_RANGE = "[$__rate_interval]"


class Series(NamedTuple):
    """What one query draws."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One drawing, or one number."""

    title: str
    about: str
    unit: str
    series: Sequence[Series]
    kind: str = "timeseries"  #: or `stat`
    width: int = 8
    height: int = 8
    bad_from: float | None = None  #: red from here on; of a number only
    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


def _rate(instrument: Instrument, labels: str = "", by: str = "") -> str:
    inner = f"rate({instrument.name}{_where(labels)}{_RANGE})"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def _where(labels: str) -> str:
    return f'{{job="$job", {labels}}}' if labels else _HERE


def _quantile(share: float, instrument: Instrument, by: str = "") -> str:
    keys = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({keys}) (rate({instrument.name}_bucket{_HERE}{_RANGE})))"


def _quantiles(instrument: Instrument) -> tuple[Series, ...]:
    return tuple(Series(_quantile(share, instrument), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def _most(instrument: Instrument, labels: str = "", by: str = "") -> str:
    return f"max by ({by}) ({instrument.name}{_where(labels)})" if by else f"max({instrument.name}{_HERE})"


def _total(instrument: Instrument, by: str = "") -> str:
    return f"sum by ({by}) ({instrument.name}{_HERE})" if by else f"sum({instrument.name}{_HERE})"


def _one(expression: str, legend: str = "") -> tuple[Series, ...]:
    return (Series(expression, legend),)


CALLBACKS = (
    Section(
        title="Now",
        panels=(
            Panel(
                title="Ready dispatchers",
                about="In the ring, with a lease and a clock to rely on. 0: nothing fires.",
                unit="short",
                series=_one(_total(names.READY)),
                kind="stat",
                width=4,
                height=4,
            ),
            Panel(
                title="Overdue",
                about="How long the oldest row waits that is due and has no outcome.",
                unit="s",
                series=_one(_most(names.OLDEST_DUE_AGE)),
                kind="stat",
                width=4,
                height=4,
                bad_from=120,
            ),
            Panel(
                title="Lag p99",
                about="From the fire time to the first attempt; the README promises 0.3 s.",
                unit="s",
                series=_one(_quantile(0.99, names.FIRE_LAG)),
                kind="stat",
                width=4,
                height=4,
                bad_from=0.3,
            ),
            Panel(
                title="Missed in the last hour",
                about="Recorded MISS and not sent.",
                unit="short",
                series=_one(f"sum(increase({names.MISSED.name}{_HERE}[1h]))"),
                kind="stat",
                width=4,
                height=4,
                bad_from=1,
            ),
            Panel(
                title="Given up in the last hour",
                about="New dead letters.",
                unit="short",
                series=_one(f"sum(increase({names.DEAD_LETTERS.name}{_HERE}[1h]))"),
                kind="stat",
                width=4,
                height=4,
                bad_from=1,
            ),
            Panel(
                title="Apps over quota ahead",
                about="With a minute in the next 24 hours that their quota does not carry.",
                unit="short",
                series=_one(_most(names.FORECAST_OVER_QUOTA)),
                kind="stat",
                width=4,
                height=4,
                bad_from=1,
            ),
        ),
    ),
    Section(
        title="Callbacks",
        panels=(
            Panel(
                title="Fires a second",
                about="Schedules and runs that ended, by how.",
                unit="ops",
                series=_one(_rate(names.FIRES, by="result"), "{{result}}"),
                stacked=True,
            ),
            Panel(
                title="Lag",
                about="From the fire time to the first attempt.",
                unit="s",
                series=_quantiles(names.FIRE_LAG),
            ),
            Panel(
                title="Late",
                about="Share of first attempts more than 0.3 s after their fire time: of it alerts are made.",
                unit="percentunit",
                series=(
                    Series(f"ringtime:fire_lag_late:ratio_rate5m{_HERE}", "5 min"),
                    Series(f"ringtime:fire_lag_late:ratio_rate1h{_HERE}", "1 h"),
                    Series(f"ringtime:fire_lag_late:ratio_rate6h{_HERE}", "6 h"),
                ),
            ),
            Panel(
                title="Attempts a second",
                about="By the class of the receiver's code; none: no answer.",
                unit="ops",
                series=_one(_rate(names.ATTEMPTS, by="result, code_class"), "{{result}} {{code_class}}"),
                stacked=True,
            ),
            Panel(
                title="Attempts take",
                about="From the request to the answer: how quick receivers are.",
                unit="s",
                series=_quantiles(names.ATTEMPT),
            ),
            Panel(
                title="Breakers",
                about="Destinations of apps that are left alone.",
                unit="short",
                series=_one(_total(names.BREAKER_STATE, by="state"), "{{state}}"),
                stacked=True,
            ),
            Panel(
                title="Parked",
                about="Rows filed for later, as their destination is in trouble or too slow.",
                unit="short",
                series=_one(_total(names.PARKED), "parked"),
            ),
            Panel(
                title="Missed and given up a second",
                about="Each is somebody's callback.",
                unit="ops",
                series=(
                    Series(_rate(names.MISSED, by="reason"), "missed: {{reason}}"),
                    Series(_rate(names.DEAD_LETTERS), "given up"),
                ),
            ),
            Panel(
                title="Waiting",
                about="Rows in memory that are due and wait for their turn.",
                unit="short",
                series=_one(_total(names.DUE_BACKLOG), "due"),
            ),
        ),
    ),
    Section(
        title="Apps",
        panels=(
            Panel(
                title="Ended by app",
                about="Of the busiest; all others are `other`.",
                unit="ops",
                series=_one(_rate(names.APP_FIRES, by="app, result"), "{{app}} {{result}}"),
                stacked=True,
            ),
            Panel(
                title="Lag by app, p99",
                about="Of the busiest; all others are `other`.",
                unit="s",
                series=_one(_quantile(0.99, names.APP_FIRE_LAG, by="app"), "{{app}}"),
            ),
            Panel(
                title="Retries by app",
                about="Attempts that failed and are made again; of the busiest.",
                unit="ops",
                series=_one(_rate(names.APP_RETRIES, by="app"), "{{app}}"),
                stacked=True,
            ),
            Panel(
                title="Creates by app",
                about="Acknowledged; of the busiest.",
                unit="ops",
                series=_one(_rate(names.APP_CREATES, by="app"), "{{app}}"),
                stacked=True,
            ),
        ),
    ),
    Section(
        title="Creates",
        panels=(
            Panel(
                title="Creates a second",
                about="Acknowledged.",
                unit="ops",
                series=_one(f"sum(rate({names.CREATE.name}_count{_HERE}{_RANGE}))", "creates"),
            ),
            Panel(
                title="Creates take",
                about="From the parsed request to the acknowledgement.",
                unit="s",
                series=_quantiles(names.CREATE),
            ),
            Panel(
                title="Rows a commit",
                about="Made durable together.",
                unit="short",
                series=_quantiles(names.COMMIT_BATCH_ROWS),
            ),
        ),
    ),
)

NODES = (
    Section(
        title="Dispatchers",
        panels=(
            Panel(
                title="Ready",
                about="1: in the ring, with a lease and a clock to rely on.",
                unit="short",
                series=_one(_most(names.READY, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="Poller instances",
                about="Owned; and those that nobody may own.",
                unit="short",
                series=(
                    Series(_total(names.OWNED, by="instance"), "{{instance}}"),
                    Series(_most(names.LEFT_OUT), "without an owner"),
                ),
            ),
            Panel(
                title="Imbalance",
                about="What the ring gives a node, over what is even; 1: just its part.",
                unit="short",
                series=_one(_most(names.RING_IMBALANCE, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="Moves",
                about="Poller instances that came to a node or left it, a minute.",
                unit="short",
                series=_one(
                    f"60 * {_rate(names.MOVES, by='instance, direction')}", "{{instance}} {{direction}}"
                ),
            ),
            Panel(
                title="Leases lost, terms ended",
                about="In five minutes; each lease lost is a wait for some callbacks.",
                unit="short",
                series=(
                    Series(
                        f"sum by (instance) (increase({names.LEASE_LOST.name}{_HERE}[5m]))",
                        "{{instance}} lease",
                    ),
                    Series(
                        f"sum by (instance) (increase({names.TERM_REJECTED.name}{_HERE}[5m]))",
                        "{{instance}} terms",
                    ),
                ),
            ),
            Panel(
                title="Marks",
                about="How far the one furthest behind is: front, sealed (2 min when idle), settled (4 min).",
                unit="s",
                series=_one(_most(names.MARK_AGE, by="instance, mark"), "{{instance}} {{mark}}"),
            ),
            Panel(
                title="Lag by node, p99",
                about="From the fire time to the first attempt.",
                unit="s",
                series=_one(_quantile(0.99, names.FIRE_LAG, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="In flight by node",
                about="Attempts under way; `dispatch.max_in_flight` is the most.",
                unit="short",
                series=_one(_total(names.IN_FLIGHT, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="Waiting and overdue by node",
                about="Rows in memory that are due; and the age of the oldest, in seconds.",
                unit="short",
                series=(
                    Series(_total(names.DUE_BACKLOG, by="instance"), "{{instance}} rows"),
                    Series(_most(names.OLDEST_DUE_AGE, by="instance"), "{{instance}} oldest, s"),
                ),
            ),
            Panel(
                title="Parkings a second",
                about="Rows filed for later without an attempt; one may be again and again.",
                unit="ops",
                series=_one(_rate(names.PARKINGS, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="Found late a second",
                about="Rows that only the final read of their minute found: their write took too long.",
                unit="ops",
                series=_one(_rate(names.FOUND_LATE, by="instance"), "{{instance}}"),
            ),
            Panel(
                title="Fullest minute ahead",
                about="Rows due in the fullest of the next minutes: what dispatchers are added for.",
                unit="short",
                series=_one(_most(names.FORECAST_DUE, by="minutes"), "{{minutes}} minutes"),
            ),
            Panel(
                title="Apps over quota ahead, by who looks",
                about="One node looks for all.",
                unit="short",
                series=_one(_most(names.FORECAST_OVER_QUOTA, by="instance"), "{{instance}}"),
            ),
        ),
    ),
    Section(
        title="Store and processes",
        panels=(
            Panel(
                title="Store calls take, p99",
                about="By method, also those that failed.",
                unit="s",
                series=_one(_quantile(0.99, names.STORE, by="call"), "{{call}}"),
            ),
            Panel(
                title="Store calls a second",
                about="By method.",
                unit="ops",
                series=_one(
                    f"sum by (call) (rate({names.STORE.name}_count{_HERE}{_RANGE}))",
                    "{{call}}",
                ),
                stacked=True,
            ),
            Panel(
                title="Processor",
                about="Cores; one process uses one.",
                unit="short",
                series=_one(f"rate(process_cpu_seconds_total{_HERE}{_RANGE})", "{{instance}}"),
            ),
            Panel(
                title="Memory",
                about="Resident.",
                unit="bytes",
                series=_one(f"process_resident_memory_bytes{_HERE}", "{{instance}}"),
            ),
            Panel(
                title="Descriptors",
                about="Open.",
                unit="short",
                series=_one(f"process_open_fds{_HERE}", "{{instance}}"),
            ),
            Panel(
                title="Up",
                about="Whether the last scrape got an answer.",
                unit="short",
                series=_one(f"up{_HERE}", "{{instance}}"),
            ),
            Panel(
                title="Versions",
                about="Processes by what runs in them.",
                unit="short",
                series=_one(_total(names.BUILD_INFO, by="role, version"), "{{role}} {{version}}"),
                stacked=True,
            ),
        ),
    ),
)

DASHBOARDS = {
    "ringtime-callbacks": ("Ringtime: callbacks", CALLBACKS),
    "ringtime-nodes": ("Ringtime: nodes", NODES),
}


def dashboard(uid: str, title: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Return a dashboard as Grafana's API and its files have it."""
    ids = count(1)
    panels: list[dict[str, Any]] = []
    top = 0
    for section in sections:
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        heading = {"id": next(ids), "type": "row", "title": section.title, "gridPos": place}
        panels.append(heading | {"collapsed": False, "panels": []})
        top += 1
        left = row_height = 0
        for panel in section.panels:
            if left + panel.width > _WIDTH:
                top, left, row_height = top + row_height, 0, 0
            panels.append(_panel(panel, next(ids), left, top))
            left, row_height = left + panel.width, max(row_height, panel.height)
        top += row_height
    return {
        "uid": uid,
        "title": title,
        "tags": ["ringtime"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource_variable(), _job_variable()]},
        "annotations": {"list": [_alerts()]},
        "links": [_LINK],
        "panels": panels,
    }


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {
            "stacking": stacking,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never",
        }
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = _STAT
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": series.expression,
                "legendFormat": series.legend,
            }
            for n, series in enumerate(panel.series)
        ],
    }


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Source",
        "type": "datasource",
        "query": "prometheus",
        "current": _UNSET,
    }


def _job_variable() -> dict[str, Any]:
    query = f"label_values({names.BUILD_INFO.name}, job)"
    return {
        "name": "job",
        "label": "Deployment",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "job"},
        "refresh": 2,
        "sort": 1,
        "current": _UNSET,
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": _SOURCE,
        "expr": 'ALERTS{alertname=~"Ringtime.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
    }


def text_of(uid: str) -> str:
    """Return a dashboard's file."""
    title, sections = DASHBOARDS[uid]
    return json.dumps(dashboard(uid, title, sections), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(text_of(each))
