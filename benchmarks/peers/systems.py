"""The systems compared, each behind the same few methods, and how a peer is installed and run.

A peer's program (`workers/`) is written in its own language and knows four commands: `migrate`, `worker`,
`load ORDER` and `count`. It reads `PEER_DATABASE` and `PEER_RECEIVER`; to do a job is to POST it there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.peers.servers import Missing, Postgres, Redis
from ringtime_local.process import Command, LocalProcess

PROGRAMS = Path(".ringtime") / "peers"  #: what is installed and built, and the results; git ignores it
_WORKERS = Path(__file__).parent / "workers"
_INSTALL_S = 900
_LOAD_S = 600
_RUN_S = 120.0  #: any other command of a program, or a load beyond its limit
_STOP_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Jobs to create, `first` to `first + count - 1`.

    Without `per_s` they are created as fast as may be for at most `limit_s`, and fall due from `due_ms` on,
    evenly over `spread_ms`. With it, one is created every 1/`per_s` seconds, whatever became of those before,
    each due `lead_ms` to `lead_ms + lead_spread_ms` later.
    """

    first: int
    count: int
    due_ms: int = 0
    spread_ms: int = 0
    per_s: int = 0
    lead_ms: int = 0
    lead_spread_ms: int = 1
    limit_s: int = _LOAD_S

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def is_far(self) -> bool:
        """Whether these only wait meanwhile, to be in the way."""
        return self.spread_ms > 0


class System(Protocol):
    """One scheduler with its database, made anew."""

    name: str
    version: str
    share: float  #: how much of a burst it is given; less than 1 for those that it would be too much for

    def start(self, folder: Path, receiver: str) -> None:
        """Start servers and worker on an empty folder; jobs go to this URL. Raises Missing."""
        ...

    def load(self, load: Load) -> int:
        """Create jobs; return how many were made, the first ones. Raises when one was refused."""
        ...

    def kill(self) -> None:
        """End the worker with SIGKILL. Raises Missing if it is not ours to kill."""
        ...

    def restart(self) -> None:
        """Start the worker again, as a supervisor would."""
        ...

    def unfinished(self) -> int:
        """Return how many jobs it still holds by its own account, those far ahead left out."""
        ...

    def pids(self) -> dict[str, int]:
        """Return the root process of each part."""
        ...

    def stop(self) -> None:
        """End whatever runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A peer: what it is, what it needs, how many creates it is sent at once and in one call."""

    name: str
    version: str
    database: type[Postgres] | type[Redis]
    install: Callable[[], tuple[str, ...]]  #: returns the program's command line; raises Missing
    at_once: int = 8
    batch: int = 100
    share: float = 1.0
    environment: Mapping[str, str] = field(default_factory=dict)


class Peer:
    """A system that a recipe describes."""

    def __init__(self, recipe: Recipe) -> None:
        self.name, self.version, self.share = recipe.name, recipe.version, recipe.share
        self._recipe = recipe
        self._database: Postgres | Redis | None = None
        self._worker: LocalProcess | None = None
        self._far = 0

    def start(self, folder: Path, receiver: str) -> None:
        self._folder = folder
        self._program = self._recipe.install()
        self._database = self._recipe.database(folder)
        given = {"PEER_DATABASE": self._database.address, "PEER_RECEIVER": receiver}
        self._environment = {**self._recipe.environment, **given}
        if self._recipe.database is Postgres:
            self._run("migrate")
        self.restart()
        time.sleep(4)  # no two of them say the same way that they are ready

    def load(self, load: Load) -> int:
        order = {**asdict(load), "at_once": self._recipe.at_once, "batch": self._recipe.batch}
        made = int(self._run("load", json.dumps(order), timeout_s=load.limit_s + _RUN_S))
        self._far += made if load.is_far else 0
        return made

    def kill(self) -> None:
        if self._worker is not None:
            self._worker.kill()

    def restart(self) -> None:
        words = [f"{key}={value}" for key, value in self._environment.items()]
        command = Command(("env", *words, *self._program, "worker"))
        self._worker = LocalProcess(command, folder=self._folder, log=self._folder / "worker.log")

    def unfinished(self) -> int:
        return int(self._run("count")) - self._far

    def pids(self) -> dict[str, int]:
        assert self._worker is not None
        assert self._database is not None
        return {"worker": self._worker.pid, "database": self._database.pid}

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop(_STOP_S)
        if self._database is not None:
            self._database.stop()

    def _run(self, *arguments: str, timeout_s: float = _RUN_S) -> str:
        with (self._folder / "program.log").open("ab") as log:
            done = subprocess.run(
                (*self._program, *arguments),
                env={**os.environ, **self._environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        if done.returncode != 0:
            said = (self._folder / "program.log").read_text()[-2_000:]
            raise RuntimeError(f"{self.name} {arguments[0]} failed:\n{said}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _install(argv: tuple[str, ...], *, folder: Path) -> None:
    try:
        subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or error
        raise Missing(f"{' '.join(argv[:3])} failed: {str(said)[-500:]}") from error


def _go(name: str) -> Callable[[], tuple[str, ...]]:
    def install() -> tuple[str, ...]:
        go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
        if go is None:
            raise Missing("Go")
        program = (PROGRAMS / "bin" / name).absolute()
        _install((go, "build", "-o", str(program), f"./{name}"), folder=_WORKERS / "go")
        return (str(program),)

    return install


def _node(script: str) -> Callable[[], tuple[str, ...]]:
    def install() -> tuple[str, ...]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise Missing("Node.js with npm")
        folder = (PROGRAMS / "node").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_WORKERS / script, folder)
        wanted = (_WORKERS / "package.json").read_text()
        (folder / "package.json").write_text(wanted)
        _install_once(folder, wanted, (npm, "install", "--no-audit", "--no-fund"))
        return (node, str(folder / script))

    return install


def _python(script: str, *requirements: str) -> Callable[[], tuple[str, ...]]:
    def install() -> tuple[str, ...]:
        folder = (PROGRAMS / script.removesuffix(".py")).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        pip = str(folder / "bin" / "pip")
        make = (sys.executable, "-m", "venv", "--clear", str(folder))
        _install_once(folder, "\n".join(requirements), make, (pip, "install", *requirements))
        return (str(folder / "bin" / "python"), str((_WORKERS / script).absolute()))

    return install


def _install_once(folder: Path, wanted: str, *commands: tuple[str, ...]) -> None:
    """Run the commands in the folder, unless they were run for the same wish before."""
    mark = folder / "installed"
    if not mark.is_file() or mark.read_text() != wanted:
        for argv in commands:
            _install(argv, folder=folder)
        mark.write_text(wanted)


PEERS = (
    Recipe(name="River", version="0.51.2", database=Postgres, install=_go("river")),
    Recipe(
        name="River, rescue 15 s",
        version="0.51.2",
        database=Postgres,
        install=_go("river"),
        environment={"PEER_RESCUE_S": "15"},
    ),
    Recipe(name="asynq", version="0.26.0", database=Redis, install=_go("asynq"), at_once=64, batch=1),
    Recipe(name="BullMQ", version="6.7.0", database=Redis, install=_node("bullmq.mjs")),
    Recipe(
        name="awa",
        version="0.6.9, Python",
        database=Postgres,
        install=_python("run_awa.py", "awa-pg==0.6.9", "aiohttp==3.14.5"),
        share=0.1,  # of 6,000 due at one instant it did none
    ),
    Recipe(
        name="Celery",
        version="5.7.0",
        database=Redis,
        install=_python("run_celery.py", "celery[redis]==5.7.0", "gevent==26.9.0", "urllib3==2.8.0"),
        at_once=64,
        batch=1,
        share=0.2,
    ),
    Recipe(
        name="procrastinate",
        version="3.10.0",
        database=Postgres,
        install=_python(
            "run_procrastinate.py", "procrastinate==3.10.0", "psycopg[binary]==3.3.9", "aiohttp==3.14.5"
        ),
        share=0.2,
    ),
    Recipe(
        name="APScheduler",
        version="4.0.0a6",
        database=Postgres,
        install=_python(
            "run_apscheduler.py",
            "apscheduler==4.0.0a6",
            "sqlalchemy[asyncio]==2.1.9",
            "asyncpg==0.32.0",
            "anyio==4.9.0",  # a newer one drops its notifications
            "aiohttp==3.14.5",
        ),
        at_once=64,
        batch=1,
        share=0.05,
    ),
)
