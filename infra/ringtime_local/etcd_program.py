"""Finding or making an `etcd` program, quickest way first; none of them needs root."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from threading import Event

from ringtime_local.cache import cached
from ringtime_local.errors import MissingPrerequisite, StartFailed
from ringtime_local.runtimes import Runtime
from ringtime_local.tools import run_tool

PACKAGE = "etcd-server"
GO_MODULE = "go.etcd.io/etcd/server/v3"
GO_VERSION = "v3.6.5"
APT_TIMEOUT_S = 120.0
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
        ("etcd-debian", ("apt-get", "dpkg-deb"), _unpack_package),
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
    """Take the program out of the package: installing it would need root and start a service on port 2379."""
    download = ["apt-get", "download", "-qq", PACKAGE]
    try:
        run_tool(download, abort=abort, timeout_s=APT_TIMEOUT_S, folder=folder)
    except StartFailed:
        if os.geteuid() != 0:
            raise
        run_tool(["apt-get", "update", "-qq"], abort=abort, timeout_s=APT_TIMEOUT_S)  # no package lists yet
        run_tool(download, abort=abort, timeout_s=APT_TIMEOUT_S, folder=folder)
    package = next(folder.glob("*.deb"))
    run_tool(["dpkg-deb", "-x", str(package), str(folder / "x")], abort=abort, timeout_s=APT_TIMEOUT_S)
    (folder / "x" / "usr" / "bin" / "etcd").rename(_program_in(folder))
    package.unlink()
    shutil.rmtree(folder / "x")


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
