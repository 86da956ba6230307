"""One version everywhere, and a change log in form."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import pytest
from tests.harness.monitoring import ROOT

from ringtime_local import release

_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def _log() -> str:
    return (ROOT / release.CHANGELOG).read_text()


def _key(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_every_place_says_the_same_version() -> None:
    told = release.versions()
    assert {each for found in told.values() for each in found} == {release.version_of()}
    assert {name: len(found) for name, found in told.items()} == {
        name: len(patterns) for name, patterns in release.PLACES.items()
    }
    assert version("ringtime") == version("ringtime-local") == release.version_of(), "run infra/setup.sh"


def test_no_other_project_has_a_version_of_its_own() -> None:
    found = {str(path.relative_to(ROOT)) for path in ROOT.glob("*/pyproject.toml")} | {"pyproject.toml"}
    assert {each for each in found if "project" in tomllib.loads((ROOT / each).read_text())} == {
        name for name in release.PLACES if name.endswith("pyproject.toml")
    }


def test_the_change_log_is_in_form() -> None:
    sections = re.findall(r"(?m)^## (.*)$", _log())
    assert sections[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", each) for each in sections[1:]]
    assert all(released), sections
    numbers = [_key(each[1]) for each in released if each]
    assert numbers == sorted(set(numbers), reverse=True)
    days = [each[2] for each in released if each]
    assert days == sorted(days, reverse=True)
    assert set(re.findall(r"(?m)^### (.*)$", _log())) <= _KINDS
    for line in _log().splitlines()[6:]:
        assert re.match(r"$|#|- |  ", line), line


def test_the_version_is_the_newest_release_or_one_after_it() -> None:
    newest = re.findall(r"(?m)^## \[(\d\S*)\]", _log())[0]
    ours = release.version_of()
    number = re.match(r"\d+\.\d+\.\d+", ours)
    assert number is not None
    assert _key(number[0]) > _key(newest) if number[0] != ours else number[0] == newest


def test_a_release_heads_what_is_unreleased() -> None:
    before = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A.\n\n## [0.1.0] - 2026-01-01\n\n- B.\n"
    after = release.cut(before, "0.2.0", "2026-02-02")
    assert after == before.replace("[Unreleased]\n", "[Unreleased]\n\n## [0.2.0] - 2026-02-02\n")
    for log, number in ((after, "0.3.0"), (before, "0.1.0"), ("# Changelog\n", "0.3.0")):
        with pytest.raises(ValueError):
            release.cut(log, number, "2026-03-03")


@pytest.mark.parametrize("number", ["1.2.3", "1.2.3rc1", "1.2.3.dev0"])
def test_a_version_is_written_everywhere(number: str) -> None:
    for name, patterns in release.PLACES.items():
        text = release.with_version((ROOT / name).read_text(), patterns, number)
        assert text.count(number) == len(patterns)
        assert release.with_version(text, patterns, release.version_of()) == (ROOT / name).read_text()
