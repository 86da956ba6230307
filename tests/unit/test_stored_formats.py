"""No stored format changes in silence, and a release reads what the one before it and the next one wrote."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.harness import stored_formats
from tests.harness.previous import previous_python, read_releases

GOLDEN = Path(__file__).parents[1] / "golden" / "stored"
NEXT = GOLDEN / "next.json"
RELEASED = sorted(GOLDEN.glob("v*.json"))
ADVICE = (
    "what is stored has changed: docs/upgrade.md says what may; if this may, write it down with"
    " python -m tests.harness.stored_formats write tests/golden/stored/next.json, and in docs/upgrade.md"
)


def load(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def lost(before: Any, after: Any, at: str = "") -> list[str]:
    """Return where `after` lacks or changes what is in `before`; it may hold more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            each
            for key, value in before.items()
            for each in (lost(value, after[key], f"{at}.{key}") if key in after else [f"{at}.{key} is gone"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            each
            for n, pair in enumerate(zip(before, after, strict=True))
            for each in lost(*pair, f"{at}.{n}")
        ]
    return [] if before == after else [f"{at} is {after!r}, and was {before!r}"]


def test_what_is_stored_is_what_was_written_down() -> None:
    written, now = load(NEXT), json.loads(json.dumps(stored_formats.write()))
    assert lost(written, now) + lost(now, written) == [], ADVICE


def test_there_is_a_file_of_each_release() -> None:
    assert [file.stem for file in RELEASED] == [release.tag for release in read_releases()]


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
def test_what_a_release_wrote_is_read_and_nothing_of_it_is_lost(file: Path) -> None:
    then, now = load(file), stored_formats.write()
    assert lost(then["documents"], stored_formats.read(then["documents"])) == []
    assert lost(then["documents"], json.loads(json.dumps(now["documents"]))) == [], (
        "a field is written no more"
    )
    assert lost(then["etcd"], now["etcd"]) == []
    for store, released in then["steps"].items():
        assert now["steps"][store][: len(released)] == released, "a step that was released is changed"
    unknown = {name: set(now["words"].get(name, ())) - set(known) for name, known in then["words"].items()}
    assert not any(unknown.values()), "a word that the release before cannot read: docs/upgrade.md"


@pytest.mark.slow
def test_the_release_before_wrote_what_is_written_down_of_it_and_reads_what_this_code_writes(
    tmp_path: Path,
) -> None:
    """In its own environment; of what it does not know it keeps nothing, and it takes no harm."""
    python, script = str(previous_python()), stored_formats.__file__
    file = tmp_path / "then.json"
    subprocess.run([python, script, "write", str(file)], cwd=tmp_path, check=True)
    then = load(RELEASED[-1])
    assert load(file) == then
    told = subprocess.run(
        [python, script, "read", str(NEXT)], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    again = json.loads(told.stdout)
    assert again.keys() == then["documents"].keys()
    assert lost(then["documents"], again) == []
