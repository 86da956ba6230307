"""Jars by Maven: the dependencies of one pom, copied into a folder of the cache."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from threading import Event

from ringtime_local.cache import cached
from ringtime_local.errors import MissingPrerequisite
from ringtime_local.tools import run_tool

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
TIMEOUT_S = 300.0
POMS = Path(__file__).parent / "pom"


def fetch_jars(name: str, *, abort: Event) -> Path:
    """Return a folder with every jar that `pom/NAME.xml` asks for, fetched when this user has none yet."""
    pom = POMS / f"{name}.xml"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]  # another version is another folder

    def fill(folder: Path) -> None:
        mvn = shutil.which("mvn")
        if mvn is None:
            raise MissingPrerequisite(
                f"The {name} jars are fetched by Maven, and there is no `mvn` on PATH: "
                "install Maven 3.6 or newer (Debian, Ubuntu: apt-get install maven)."
            )
        # Run inside the folder: Maven would read settings of a project that is the current folder.
        argv = [mvn, "-q", "-B", "-f", str(pom), COPY_DEPENDENCIES, f"-DoutputDirectory={folder}"]
        run_tool(argv, abort=abort, timeout_s=TIMEOUT_S, folder=folder)

    return cached(f"{name}-{digest}", fill, abort)
