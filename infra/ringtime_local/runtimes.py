"""Where a server's program comes from: this machine, else a container image."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from threading import Event

from ringtime_local.errors import MissingPrerequisite
from ringtime_local.java import find_java
from ringtime_local.maven import fetch_jars

DOCKER_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a command line begins, and in which image it runs (None: on this machine)."""

    argv: tuple[str, ...]
    image: str | None = None
    java_release: int = 17


def jar_runtime(name: str, in_image: Runtime, *, abort: Event) -> Runtime:
    """Java on this machine with the jars of `pom/NAME.xml`, else the same in a container."""

    def here() -> Runtime:
        java = find_java()
        jars = fetch_jars(name, abort=abort)
        return Runtime((java.program, "-cp", f"{jars}/*"), java_release=java.release)

    return this_machine_else(here, in_image)


def this_machine_else(here: Callable[[], Runtime], in_image: Runtime) -> Runtime:
    """Return what is `here`, or the container when something is missing and a Docker engine answers."""
    try:
        return here()
    except MissingPrerequisite:
        if docker_answers():
            return in_image
        raise


@cache
def docker_answers() -> bool:
    """Say whether `docker compose` is there and its engine answers."""
    if shutil.which("docker") is None:
        return False
    for question in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            answer = subprocess.run(question, capture_output=True, timeout=DOCKER_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return False
        if answer.returncode != 0:
            return False
    return True
