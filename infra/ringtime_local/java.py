"""The Java that runs Cassandra and Kafka."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from ringtime_local.errors import MissingPrerequisite

BRIEF_VARIABLE = "RINGTIME_TEST_BRIEF_SERVERS"  #: servers that tests start; those of benchmarks are not brief
BRIEF_HEAP_MIB = 128
OLDEST = 17
INSTALL = "install a Java 17 runtime (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"


@dataclass(frozen=True, slots=True)
class Java:
    """A Java program and its feature release."""

    program: str
    release: int


def find_java() -> Java:
    """Return the Java of JAVA_HOME, else of PATH. Raises MissingPrerequisite."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=os.path.join(home, "bin")) if home else None  # noqa: PTH118
    program = program or shutil.which("java")
    if program is None:
        raise MissingPrerequisite(
            f"Cassandra and Kafka need Java, and there is no `java` on PATH: {INSTALL}."
        )
    release = parse_release(version_text(program))
    if release < OLDEST:
        raise MissingPrerequisite(
            f"Cassandra and Kafka need Java {OLDEST}, and {program} is Java {release}: {INSTALL}."
        )
    return Java(program, release)


def heap_and_compiler(heap_mib: int) -> tuple[str, ...]:
    """Return how a server keeps its heap, and how it compiles.

    A server that measures something has its whole heap from the beginning. One that lives for minutes would
    spend half of its start on that and on compiling for speed: its heap grows, and it compiles once. A thread
    collects its garbage, without what G1 keeps for pauses that no test of minutes has.
    """
    first_mib = min(heap_mib, BRIEF_HEAP_MIB) if is_brief() else heap_mib
    options = (
        f"-Xms{first_mib}m",
        f"-Xmx{heap_mib}m",
        "-XX:+UseSerialGC" if is_brief() else "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
    )
    return (*options, "-XX:TieredStopAtLevel=1") if is_brief() else options


def is_brief() -> bool:
    """Say whether the environment asks for servers that live for minutes."""
    return bool(os.environ.get(BRIEF_VARIABLE))


def parse_release(version_text: str) -> int:
    """Read the feature release from what `java -version` prints; 0 when there is none."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(found.group(1)) if found else 0


@cache
def version_text(program: str) -> str:
    """Return what `java -version` prints."""
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    return answer.stderr + answer.stdout
