"""Programs out of Debian's packages, without installing them: that would need root and start services."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from ringtime_local.errors import StartFailed
from ringtime_local.tools import run_tool

NEEDS = ("apt-get", "dpkg-deb")
TIMEOUT_S = 120.0


def unpack_programs(package: str, programs: Sequence[str], folder: Path, *, abort: Event) -> None:
    """Put these programs of a package's `/usr/bin` into the folder. Raises StartFailed."""
    download = ["apt-get", "download", "-qq", package]
    try:
        run_tool(download, abort=abort, timeout_s=TIMEOUT_S, folder=folder)
    except StartFailed:
        if os.geteuid() != 0:
            raise
        run_tool(["apt-get", "update", "-qq"], abort=abort, timeout_s=TIMEOUT_S)  # no package lists yet
        run_tool(download, abort=abort, timeout_s=TIMEOUT_S, folder=folder)
    archive = next(folder.glob("*.deb"))
    run_tool(["dpkg-deb", "-x", str(archive), str(folder / "x")], abort=abort, timeout_s=TIMEOUT_S)
    for program in programs:
        (folder / "x" / "usr" / "bin" / program).rename(folder / program)
    archive.unlink()
    shutil.rmtree(folder / "x")
