"""The release before this code, as a wheel in an environment of its own.

It is built once, from the commit that `releases.txt` names, with the dependencies that commit locked, and
kept in the per-user cache beside the servers' programs. What uv's own cache holds is not fetched again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest

from ringtime_local.cache import cached
from tests.harness.wheelhouse import unpack

ROOT = Path(__file__).parents[2]
RELEASES = Path(__file__).with_name("releases.txt")
_UV = Path(sys.executable).with_name("uv")


class Release(NamedTuple):
    tag: str
    commit: str


def read_releases() -> list[Release]:
    """Return what `releases.txt` names, the newest last."""
    lines = RELEASES.read_text("utf-8").splitlines()
    return [Release(*line.split()) for line in lines if line and not line.startswith("#")]


def previous_python() -> Path:
    """Return the interpreter of the newest release's environment; build it the first time.

    Skips the test where the clone has not the history to build it from, and says so.
    """
    release = read_releases()[-1]
    if (why := missing(release)) is not None:
        if why.is_shallow:
            pytest.skip(why.reason)
        pytest.fail(why.reason, pytrace=False)
    name = f"release-{release.tag}-{release.commit[:12]}-py{sys.version_info.major}.{sys.version_info.minor}"
    return cached(name, lambda folder: _build(release, folder), Event()) / "venv" / "bin" / "python"


class Missing(NamedTuple):
    reason: str
    is_shallow: bool  #: nobody can expect it here; else the history or the file is wrong


def missing(release: Release, root: Path = ROOT) -> Missing | None:
    """Return why the commit of a release cannot be read; None: it can."""
    try:
        has_it = _git(root, "cat-file", "-e", f"{release.commit}^{{commit}}").returncode == 0
        is_shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() != b"false"
    except OSError:
        return Missing(f"git, with which {release.tag} is read, is not installed", is_shallow=True)
    if has_it:
        return None
    reason = f"commit {release.commit} of release {release.tag} is not in this clone"
    return Missing(f"{reason}: fetch the whole history, git fetch --unshallow", is_shallow)


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)


def _build(release: Release, folder: Path) -> None:
    source, wheels, venv = folder / "source", folder / "wheels", folder / "venv"
    archive = _git(ROOT, "archive", "--format=tar", release.commit)
    assert archive.returncode == 0, archive.stderr
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        unpack(tar, source)
    _run(source, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels))
    (wheel,) = wheels.glob("*.whl")
    _run(folder, str(_UV), "venv", "--quiet", "--relocatable", "--python", sys.executable, str(venv))
    install = [str(_UV), "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
    _run(source, *install, "--require-hashes", "-r", "infra/image.lock")
    _run(source, *install, "--no-deps", str(wheel))
    shutil.rmtree(source)


def _run(folder: Path, *command: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command[:3])}: {done.stderr[-2_000:]}"
