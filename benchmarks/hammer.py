"""The load generator and the receiver of callbacks: a small Go program, `hammer/`, built when it is needed.

A client in Python costs more than the service it asks, and on the cores they share it would be measured, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "hammer"
BUILT = Path(__file__).parent.parent / ".ringtime" / "hammer"
_USUAL = "/usr/local/go/bin/go"
_BUILD_S = 120
_MOST_S = 3_600  #: of one run of load


class NoGo(RuntimeError):
    """There is no Go to build the load generator with."""


def build() -> Path:
    """Return the program, built anew if its sources changed. Raises NoGo."""
    sources = b"".join(file.read_bytes() for file in sorted(SOURCES.glob("*.go")))
    program = BUILT / hashlib.sha256(sources).hexdigest()[:16]
    if program.exists():
        return program
    go = shutil.which("go") or (_USUAL if Path(_USUAL).exists() else None)
    if go is None:
        raise NoGo(
            "the load generator is built with Go 1.21 or later: install golang-go, or put go on the PATH"
        )
    BUILT.mkdir(parents=True, exist_ok=True)
    draft = BUILT / f"{program.name}.{os.getpid()}"
    # Without cgo: a third less work where nothing of the library is built yet. Addresses need no resolver.
    without_c = {**os.environ, "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", draft, "."], cwd=SOURCES, env=without_c, check=True, timeout=_BUILD_S)
    return draft.replace(program)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of load came to."""

    requests: int
    done: int  #: items that succeeded; of a request with one, the request
    failed: int  #: answered, and not done
    broken: int  #: requests without an answer
    seconds: float  #: from the first request to the last answer
    p50_ms: float  #: of answers, from when each request was due
    p99_ms: float
    max_ms: float
    cpu_s: float  #: of the generator
    failure: str  #: the first one

    @property
    def per_s(self) -> float:
        """Return how many items were done in a second."""
        return self.done / self.seconds if self.seconds else 0.0

    def check(self) -> None:
        """Raise RuntimeError with the first failure unless all was done."""
        if self.failed or self.broken or not self.done:
            raise RuntimeError(
                f"{self.failed} failed, {self.broken} had no answer: {self.failure or 'nothing done'}"
            )


class Load:
    """A run of load under way."""

    def __init__(self, base: str, do: str, **options: object) -> None:
        argv = [str(build()), "load", "-base", base, "-do", do]
        for name, value in options.items():
            flag = "-" + name.replace("_", "-")
            argv += [f"{flag}={str(value).lower()}"] if isinstance(value, bool) else [flag, str(value)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def finish(self) -> Outcome:
        """Wait for its end."""
        try:
            said, _ = self._process.communicate(timeout=_MOST_S)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        if self._process.returncode:
            raise RuntimeError(f"hammer ended with {self._process.returncode}")
        return Outcome(**json.loads(said))


def load(base: str, do: str, **options: object) -> Outcome:
    """Make a load and wait for its end; options are those of `hammer load -help`, with underscores."""
    return Load(base, do, **options).finish()


class Sink:
    """A receiver of HTTP callbacks."""

    def __init__(self, url: str) -> None:
        self.url = url + "/callback"
        self._root = url

    def count(self) -> int:
        """Return of how many schedules a callback came since the last reset."""
        return int(json.loads(self._get("/_count"))["alone"])

    def reset(self) -> None:
        self._get("/_reset")

    def arrivals(self) -> dict[str, list[float]]:
        """Return when callbacks came, in ms since 1970, by schedule id."""
        found: dict[str, list[float]] = {}
        for schedule_id, at_ms in self.listed():
            found.setdefault(schedule_id, []).append(at_ms)
        return found

    def listed(self, first: int = 0) -> list[tuple[str, float]]:
        """Return callbacks as they came, after the first so many: id, or path, and ms since 1970."""
        lines = (line.rpartition(",") for line in self._get(f"/_dump?{first}").decode().splitlines())
        return [(name, float(at_ms)) for name, _, at_ms in lines]

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._root + path, timeout=60) as answer:
            return answer.read()


@contextmanager
def running_sink(*flags: str) -> Iterator[Sink]:
    """Run a receiver on a free port of the loopback interface; flags are those of `hammer sink -help`."""
    process = subprocess.Popen([str(build()), "sink", *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Sink(process.stdout.readline().split("listens on ")[1].strip())
    finally:
        process.terminate()
        process.communicate(timeout=10)
