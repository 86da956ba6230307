"""Which releases there were, and what a clone says that has not their history."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.harness.previous import ROOT, Release, missing, read_releases


def test_releases_have_a_tag_and_a_whole_commit() -> None:
    releases = read_releases()
    assert releases[0] == Release("v0.1.0", "3fd9c9d0a327b62b144f02e8ca39f5a1c76a42f4")
    for tag, commit in releases:
        assert re.fullmatch(r"v\d+\.\d+\.\d+", tag)
        assert re.fullmatch(r"[0-9a-f]{40}", commit)


def test_each_tag_of_this_clone_is_written_down_with_its_commit() -> None:
    """A clone may be without tags, and without git: then there is nothing to compare."""
    if not (ROOT / ".git").exists():
        return
    told = subprocess.run(
        [
            "git",
            "-C",
            str(ROOT),
            "for-each-ref",
            "--format=%(refname:short) %(objectname) %(*objectname)",
            "refs/tags/v*",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    tags = [line.split() for line in told.stdout.splitlines()]
    assert {Release(tag, commits[-1]) for tag, *commits in tags} <= set(read_releases())


def test_a_clone_without_the_commit_says_so(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    release = read_releases()[-1]
    why = missing(release, tmp_path)
    assert why is not None
    assert not why.is_shallow, "a whole clone that lacks it is a fault"
    assert release.tag in why.reason
    assert "--unshallow" in why.reason
