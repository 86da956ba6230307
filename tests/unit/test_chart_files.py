"""The Helm chart's files, without Helm: what they name is there. What Helm makes of them: `tests/service`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.harness.chart import image_user
from tests.harness.monitoring import ROOT

from ringtime_local import chart
from ringtime_shared.metrics import names
from ringtime_shared.settings.catalog import catalog
from ringtime_shared.settings.sources import EXEMPT_VARIABLES

TEMPLATES = sorted((chart.FOLDER / "templates").iterdir())
PAGE = ROOT / "docs" / "kubernetes.md"


def values() -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load((chart.FOLDER / "values.yaml").read_text())
    return read


def test_what_the_chart_has_from_elsewhere_is_as_it_is_made() -> None:
    made = chart.files()
    there = {
        str(path.relative_to(chart.FOLDER)) for path in (chart.FOLDER / "files").rglob("*") if path.is_file()
    }
    assert there == {name for name in made if name.startswith("files/")}, "run `make docs`"
    for name, text in made.items():
        assert (chart.FOLDER / name).read_text() == text, f"run `make docs`: {name}"


def test_the_chart_is_of_the_release() -> None:
    told = yaml.safe_load((chart.FOLDER / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert told["appVersion"] == version, "run `make docs`"


def _paths(tree: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{key}.")


def _described(tree: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in tree.get("properties", {}).items():
        yield f"{before}{key}"
        yield from _described(value, f"{before}{key}.")


def test_every_value_is_described_and_nothing_else_is() -> None:
    there, described = set(_paths(values())), set(_described(chart.schema()))
    open_ended = {  # whose inside is Kubernetes' own
        path
        for path in there
        if re.search(r"(resources|[sS]ecurityContext|grafanaDashboards\.labels)\.", path)
    }
    unknown = {path for path in described - there if not path.startswith(("settings.", "global"))}
    assert there - described - open_ended == set()
    assert {path for path in unknown if not re.search(r"resources\.\w+$", path)} == set()


def test_settings_of_the_chart_are_those_that_nobody_else_sets() -> None:
    assert catalog().keys() >= chart.OWNED
    described = {path for path in _described(chart.schema()["properties"]["settings"]) if "." in path}
    assert described == {key for key, field in catalog().items() if not chart.is_owned(field)}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_variables_and_metrics_that_a_template_names_exist(template: Path) -> None:
    text = template.read_text()
    variables = {field.variable for field in catalog().values()}
    for named in re.findall(r"\bRINGTIME_[A-Z_]+\b", text.replace("RINGTIME_%s", "RINGTIME_CASSANDRA")):
        assert named in variables or EXEMPT_VARIABLES.fullmatch(named)
    metrics = {each.name: each for each in names.ALL}
    for named in re.findall(r"\b(ringtime_[a-z_]+)\{", text):
        assert named in metrics


def test_defaults_that_the_chart_counts_with_are_those_of_the_settings() -> None:
    said = 0
    for template in TEMPLATES:
        for group, name, default in re.findall(
            r'"group" "(\w+)" "name" "(\w+)" "default" (\d+)', template.read_text()
        ):
            assert catalog()[f"{group}.{name}"].default == int(default)
            said += 1
    assert said >= 5
    for group, default in re.findall(
        r'"group" "(\w+)" "default" (\d+)', (TEMPLATES[0].parent / "_times.tpl").read_text()
    ):
        assert catalog()[f"{group}.drain_s"].default == float(default)


def test_pods_run_as_the_user_of_the_image() -> None:
    context = values()["podSecurityContext"]
    assert {context["runAsUser"], context["fsGroup"]} == {image_user()}


def test_the_page_names_values_that_there_are() -> None:
    there = set(_paths(values()))
    tops = "|".join(values())
    named = set(re.findall(rf"`((?:{tops})(?:\.[A-Za-z]+)+)[:=` ]", PAGE.read_text()))
    assert len(named) > 20
    assert (
        named - there - {"tls.crt", "tls.key"} - {each for each in named if each.startswith("settings.")}
        == set()
    )
