"""Helm, to check `infra/chart` with: from PATH, or built by Go."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from threading import Event

from ringtime_local.cache import cached
from ringtime_local.errors import Aborted, MissingPrerequisite, StartFailed
from ringtime_local.tools import run_tool

VERSION = "v3.22.0"
MODULE = "helm.sh/helm/v3/cmd/helm"
BUILD_TIMEOUT_S = 1_200.0  #: four minutes of processor time, of which others may leave little


def find_helm(*, abort: Event) -> str:
    """Return a Helm 3 from PATH, else one that Go builds, once: two to nine minutes.

    Raises MissingPrerequisite, and Aborted once `abort` is set.
    """
    program = shutil.which("helm")
    if program is not None:
        return program
    why = ""
    if shutil.which("go") is not None:
        try:
            build = partial(_build, abort=abort)
            return str(cached(f"helm-{VERSION}", build, abort, lock=".helm.lock") / "helm")
        except (StartFailed, Aborted) as error:  # aborted: another run builds one for too long
            if abort.is_set():
                raise
            why = f"\n{error}"
    raise MissingPrerequisite(
        f"There is no `helm` on PATH, and Go could not build one: install Helm 3, or Go 1.26 or newer.{why}"
    )


def _build(folder: Path, *, abort: Event) -> None:
    run_tool(
        ["go", "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@{VERSION}"],
        abort=abort,
        timeout_s=BUILD_TIMEOUT_S,
        env={"CGO_ENABLED": "0", "GOBIN": str(folder)},
    )
