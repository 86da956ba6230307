"""PostgreSQL and Redis from Debian's packages, fresh in a folder, on loopback; and the CPU of processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import PROC, family
from ringtime_local.ports import take_ports
from ringtime_local.process import Command, LocalProcess

_START_S = 30.0
_STOP_S = 20.0


class Missing(Exception):
    """Something that a system needs is not on this machine; says what."""


class Postgres:
    """As Debian has it: fsync and synchronous commits on, 128 MB of shared buffers."""

    def __init__(self, folder: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not programs:
            raise Missing("PostgreSQL: apt-get install postgresql")
        self._programs = programs[-1].parent
        # It refuses to run as root.
        self._as_user = _become("postgres") if os.getuid() == 0 else ()
        port = take_ports(1)[0]
        data = folder / "postgres"
        data.mkdir()
        if self._as_user:
            shutil.chown(data, "postgres", "postgres")
        initdb = (str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust")
        subprocess.run((*self._as_user, *initdb), check=True, stdout=subprocess.DEVNULL, cwd="/")
        flags = ("-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", "")
        argv = (*self._as_user, str(self._programs / "postgres"), "-D", str(data), *flags)
        self._process = LocalProcess(Command(argv), folder=folder, log=folder / "postgres.log")
        self.address = f"postgres://postgres@127.0.0.1:{port}/postgres"
        ask = (str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port))
        _wait_up("PostgreSQL", self._process, lambda: subprocess.run(ask, check=False).returncode == 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.stop(_STOP_S)


class Redis:
    """Append-only file synced every second, as the peers' pages advise; never evicts."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Missing("Redis: apt-get install redis-server")
        port = take_ports(1)[0]
        flags = (
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
        )
        argv = (program, *flags, "--dir", str(folder), "--maxmemory-policy", "noeviction")
        log = folder / "redis.log"
        self._process = LocalProcess(Command(argv), folder=folder, log=log)
        self.address = f"127.0.0.1:{port}"
        _wait_up("Redis", self._process, lambda: "Ready to accept connections" in self._process.read_log())

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.stop(_STOP_S)


def _wait_up(name: str, process: LocalProcess, is_up: Callable[[], bool]) -> None:
    """Return when a server serves. Raises Missing."""
    until_s = time.monotonic() + _START_S
    while not is_up():
        if time.monotonic() > until_s or not process.is_running():
            raise Missing(f"{name} did not start: {process.read_log()}")
        time.sleep(0.1)


def _become(user: str) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")


def cpu_s(pid: int) -> float:
    """Return processor seconds, user and system, of a process, its descendants and those that ended."""
    used = 0
    for each in family(pid):
        with suppress(OSError):  # it has just ended: its parent has its time
            fields = (PROC / str(each) / "stat").read_text().rpartition(")")[2].split()
            used += sum(int(ticks) for ticks in fields[11:15])
    return used / os.sysconf("SC_CLK_TCK")
