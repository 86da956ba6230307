"""Alert rules, dashboards and their page name what there is. That promtool takes them: `tests/service`."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import pytest
from tests.harness.monitoring import DASHBOARDS, ROOT, RULE_TESTS, RULES, alert_names, panels

from ringtime_local import dashboards
from ringtime_ringctl.main import main as ringctl
from ringtime_shared.metrics import names
from ringtime_shared.metrics.names import Kind

PAGES = ("Dead letters", "Destinations")  #: of the dashboard
PAGE = ROOT / "docs" / "operate.md"
FILES = [RULES, RULE_TESTS, *sorted(DASHBOARDS.glob("*.json")), PAGE]
RECORDED = set(re.findall(r"record: ([\w:]+)", RULES.read_text()))
EXPORTED = {
    f"{each.name}{suffix}"
    for each in names.ALL
    for suffix in (("_bucket", "_count", "_sum") if each.kind is Kind.HISTOGRAM else ("",))
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_metric_that_is_named_exists(file: Path) -> None:
    named = set(re.findall(r"\bringtime[_:][a-z0-9_:]+", file.read_text()))
    assert named
    assert named - EXPORTED - RECORDED == set()


@pytest.mark.parametrize("file", FILES[:-1], ids=lambda file: file.name)
def test_every_value_of_a_label_that_is_named_may_occur(file: Path) -> None:
    text = file.read_text().replace('\\"', '"')
    for label, value in re.findall(r'\b(mark|state|direction|reason|role)="(\w+)"', text):
        assert value in names.LABEL_VALUES[label]
    for name, bound in re.findall(r'(ringtime_\w+)_bucket\{[^}]*le="([0-9.]+)"', text):
        buckets = next(each.buckets for each in names.ALL if each.name == name)
        assert float(bound) in buckets


def test_labels_that_are_grouped_by_exist() -> None:
    of_scrapes = {"job", "instance", "le"}
    ours = {label for each in names.ALL for label in each.labels}
    for file in [RULES, *DASHBOARDS.glob("*.json")]:
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", file.read_text()):
            assert set(labels.split(", ")) <= of_scrapes | ours


@pytest.mark.parametrize("alert", alert_names())
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    text = re.split(r"\n\s*- (?:alert|record|name): ", RULES.read_text().split(f"- alert: {alert}\n")[1])[0]
    assert re.search(r"severity: (critical|warning)$", text, re.MULTILINE)
    for key in ("summary", "description"):
        assert re.search(rf"^ +{key}: \S", text, re.MULTILINE)
    assert f"runbook_url: docs/operate.md#{alert.lower()}\n" in f"{text}\n"
    section = PAGE.read_text().split(f"\n### {alert}\n")[1].split("\n### ")[0]
    assert [f"**{word}.**" in section for word in ("Means", "Look", "Do")] == [True] * 3
    tested = re.findall(rf"alertname: {alert}\b(?: \}}|\n +(exp_alerts))", RULE_TESTS.read_text())
    assert {"exp_alerts", ""} <= set(tested), "it is tested to fire, and not to"


def test_the_page_has_no_section_of_an_alert_that_is_gone() -> None:
    assert sorted(re.findall(r"\n### (\w+)", PAGE.read_text())) == sorted(alert_names())


def test_the_page_names_panels_that_there_are() -> None:
    there = {str(panel["title"]) for file in DASHBOARDS.glob("*.json") for panel in panels(file)}
    said = re.findall(r"\*([A-Z][^*\n]+)\*(?!\*)", PAGE.read_text().replace("**", ""))
    unknown = {title for title in said if not any(known.startswith(title) for known in there)}
    assert unknown == {"Ringtime: callbacks", "Ringtime: nodes", *PAGES}


@pytest.mark.parametrize("words", sorted(set(re.findall(r"`ringctl ([^`|]+)", PAGE.read_text()))))
def test_the_page_names_commands_and_options_that_there_are(words: str) -> None:
    command: click.Command = ringctl
    options = {option for each in command.params for option in each.opts}
    for word in words.split():
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(click.Context(command), word)
            assert found is not None, word
            command = found
            options |= {option for each in command.params for option in each.opts}
        elif word.startswith("--"):
            assert word in options
    assert not isinstance(command, click.Group) or command.invoke_without_command


@pytest.mark.parametrize("uid", dashboards.DASHBOARDS)
def test_a_dashboard_is_as_it_is_made(uid: str) -> None:
    file = DASHBOARDS / f"{uid}.json"
    assert file.read_text() == dashboards.text_of(uid), "run `make docs`"


@pytest.mark.parametrize("file", sorted(DASHBOARDS.glob("*.json")), ids=lambda file: file.stem)
def test_panels_have_places_of_their_own(file: Path) -> None:
    found = panels(file)
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({panel["title"] for panel in found}) == len(found)

    def overlap(one: Any, other: Any) -> bool:
        a, b = one["gridPos"], other["gridPos"]
        return bool(
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        )

    assert [(a["title"], b["title"]) for a, b in combinations(found, 2) if overlap(a, b)] == []
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in found) == 24
