"""One long-running server process, and the command that makes it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_native_id
from typing import Protocol

from ringtime_local.errors import StartFailed
from ringtime_local.guard import guard
from ringtime_local.pids import ProcessId
from ringtime_local.tools import last_lines

LOG_TAIL_BYTES = 64 * 1024
KILL_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command line; `image` names the container image that it runs in, None for this machine."""

    argv: tuple[str, ...]
    image: str | None = None
    as_root: bool = False  #: in a container; on this machine everything runs as this user
    slack_us: int = 0  #: how much longer than it asks it may sleep, where Linux lets us say so; 0: as always


class Process(Protocol):
    """What `server.py` needs to know of a running server."""

    @property
    def pid(self) -> int: ...
    def is_running(self) -> bool: ...
    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone is not an error."""
        ...

    def stop(self, grace_s: float) -> None:
        """End the process: asked first, killed after `grace_s`."""
        ...

    def kill(self) -> None:
        """End the process at once, with SIGKILL, and wait until it is gone."""
        ...

    def read_log(self) -> str: ...


def _be_as_nice(pid: int) -> None:
    """Let a new session be as nice as this process: Linux may share time out among sessions first."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        with suppress(OSError):  # not every system has this; see "autogroup" in sched(7)
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


@contextmanager
def _letting_sleep(slack_us: int) -> Iterator[None]:
    """Let what this thread starts meanwhile sleep longer than it asks, in all threads that it will have.

    It has that of who starts it. Told once it runs, it may have threads already, which then never sleep so:
    on a busy machine a JVM has them all before it is told.
    """
    ours = Path(f"/proc/{get_native_id()}/timerslack_ns")
    before = None
    if slack_us:
        with suppress(OSError):  # as above
            before = ours.read_text()
            ours.write_text(str(slack_us * 1_000))
    try:
        yield
    finally:
        if before is not None:
            ours.write_text(before)


class LocalProcess:
    """A process on this machine, in its own session, with its output in one file."""

    def __init__(self, command: Command, *, folder: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as output, _letting_sleep(command.slack_us):
            try:
                self._popen = subprocess.Popen(
                    command.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartFailed(f"cannot run {command.argv[0]}: {error}") from error
        _be_as_nice(self._popen.pid)
        self.id = ProcessId.of(self._popen.pid)
        guard.watch(self.id)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.is_running():
            self.id.signal(number)

    def wait(self, timeout_s: float) -> int:
        """Return the exit code of a process that ends by itself. Raises StartFailed if it does not."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise StartFailed(f"{self._popen.args!r} did not end within {timeout_s:.0f} s") from error

    def stop(self, grace_s: float) -> None:
        if self.is_running():
            self.id.end(grace_s)
        self._popen.wait(grace_s)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._popen.wait(KILL_WAIT_S)

    def detach(self) -> None:
        """Let the process outlive this one."""
        guard.release(self.id)

    def read_log(self) -> str:
        """Return the last lines that the server wrote."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            return last_lines(file.read().decode(errors="replace"))
