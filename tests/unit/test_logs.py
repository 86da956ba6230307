"""A test that fails shows what the processes it started said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness.logs import LINES, MOST_LOGS, last_said
from tests.harness.stages import ROOT

TEST = """
import pytest

@pytest.mark.parametrize("is_broken", [True, False])
def test_something(tmp_path, is_broken):
    (tmp_path / "data.log").write_text("the disk is full".upper())
    assert not is_broken
"""


def write(log: Path, text: str, at_s: float) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    os.utime(log, (at_s, at_s))


def test_the_ends_of_what_was_written_since_are_told_the_last_one_last(tmp_path: Path) -> None:
    many = "\n".join(str(n) for n in range(100_000))
    write(tmp_path / "pods" / "ingest-1.log", "said last", 30)
    write(tmp_path / "data.log", many, 20)
    write(tmp_path / "before.log", "of an earlier test", 9)
    write(tmp_path / "empty.log", "", 10)
    assert last_said(tmp_path, 10) == [
        (tmp_path / "empty.log", ""),
        (tmp_path / "data.log", "\n".join(str(n) for n in range(100_000 - LINES, 100_000))),
        (tmp_path / "pods" / "ingest-1.log", "said last"),
    ]


def test_no_more_logs_than_somebody_would_read(tmp_path: Path) -> None:
    for n in range(MOST_LOGS + 3):
        write(tmp_path / f"{n}.log", "", n)
    assert [path.stem for path, _ in last_said(tmp_path, 0)] == [str(n) for n in range(3, MOST_LOGS + 3)]


@pytest.mark.slow
def test_a_failure_shows_them(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(TEST)
    argv = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*argv, f"--rootdir={tmp_path}", "-c", os.devnull, str(tmp_path / "test_it.py")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    assert run.stdout.count("THE DISK IS FULL") == 1
