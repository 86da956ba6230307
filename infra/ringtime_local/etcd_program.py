"""Finding or making an `etcd` program, quickest way first; none of them needs root."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from threading import Event

from ringtime_local.cache import cached
from ringtime_local.debian import NEEDS, unpack_programs
from ringtime_local.errors import MissingPrerequisite, StartFailed
from ringtime_local.runtimes import Runtime
from ringtime_local.tools import run_tool

PACKAGE = "etcd-server"
GO_MODULE = "go.etcd.io/etcd/server/v3"
GO_VERSION = "v3.6.5"
GO_TIMEOUT_S = 600.0

MAIN_GO = f"""\
package main

import "os"
import "{GO_MODULE}/etcdmain"

func main() {{ etcdmain.Main(os.Args) }}
"""


def find_etcd(*, abort: Event) -> Runtime:
    """Return an etcd from PATH, else from its Debian package (a second), else built by Go (minutes)."""
    program = shutil.which("etcd")
    if program is not None:
        return Runtime((program,))
    reasons = ""
    for name, needs, fill in (
        ("etcd-debian", NEEDS, _unpack_package),
        (f"etcd-go-{GO_VERSION}", ("go",), _build),
    ):
        if not all(map(shutil.which, needs)):
            continue
        try:
            return Runtime((str(_program_in(cached(name, partial(fill, abort=abort), abort))),))
        except StartFailed as error:
            reasons += f"\n{error}"
    raise MissingPrerequisite(
        "There is no `etcd` on PATH, and neither apt-get nor Go could provide one: "
        f"install etcd 3.4 or newer (Debian, Ubuntu: apt-get install {PACKAGE}).{reasons}"
    )


def _program_in(folder: Path) -> Path:
    return folder / "etcd"


def _unpack_package(folder: Path, *, abort: Event) -> None:
    unpack_programs(PACKAGE, ("etcd",), folder, abort=abort)


def _build(folder: Path, *, abort: Event) -> None:
    source = folder / "source"
    source.mkdir()
    (source / "main.go").write_text(MAIN_GO, encoding="utf-8")
    for argv in (
        ["go", "mod", "init", "ringtime.local/etcd"],
        ["go", "get", f"{GO_MODULE}@{GO_VERSION}"],
        ["go", "build", "-o", str(_program_in(folder)), "."],
    ):
        run_tool(argv, abort=abort, timeout_s=GO_TIMEOUT_S, folder=source, env={"CGO_ENABLED": "0"})
    shutil.rmtree(source)
