"""What Cassandra, Kafka and etcd have in common: start, wait until ready, stop, and the faults."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from threading import Event, Lock
from typing import ClassVar

from ringtime_local.containers import ContainerProcess
from ringtime_local.errors import Aborted, NotOurs, NotReady, StartFailed
from ringtime_local.process import Command, LocalProcess, Process

START_TIMEOUT_S = 240.0
PROBE_EVERY_S = 0.1
STOP_GRACE_S = 15.0
_FREEZE_S = 1.0  #: a signal takes a moment to reach every thread


class LocalServer(ABC):
    """One server. It is started by us, or it is external: named by the environment and never signalled."""

    name: ClassVar[str]

    def __init__(self, folder: Path, *, external: bool = False, abort: Event | None = None) -> None:
        self.folder = folder.absolute()
        self.is_external = external
        self.log = self.folder / f"{self.name}.log"
        self._abort = abort or Event()
        self._process: Process | None = None
        self._starting = Lock()  # held while a process is made, so that a stop from outside misses none

    @abstractmethod
    def probe(self) -> None:
        """Have one real query answered. Raises NotReady."""

    @abstractmethod
    def _prepare(self) -> Command:
        """Write what the server reads (it may fetch the program too), and return its command line."""

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start and wait until a query is answered. `timeout_s` runs from when the program is there."""
        if not self.is_external and not self.is_running:
            self.folder.mkdir(parents=True, exist_ok=True)
            command = self._prepare()
            self._spawn(command)
        try:
            self.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Probe until an answer comes, the process ends or `timeout_s` is over."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                self.probe()
                return
            except NotReady as reason:
                if not self.is_external and not self.is_running:
                    raise self._start_failed("ended while starting") from None
                if time.monotonic() > give_up_at:
                    raise self._start_failed(f"gave no answer within {timeout_s:.0f} s ({reason})") from None
            if self._abort.wait(PROBE_EVERY_S):
                raise Aborted(f"the start of {self.name} was given up")

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process and keep its data; nothing to do for one that is external or already gone."""
        with self._starting:
            if self._process is not None:
                self._process.stop(grace_s)

    def kill(self) -> None:
        """End the process with SIGKILL: a crash."""
        self._ours().kill()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open and nothing answers, from the return on."""
        process = self._ours()
        process.signal(signal.SIGSTOP)
        give_up_at = time.monotonic() + _FREEZE_S
        while not _is_frozen(process.pid) and time.monotonic() < give_up_at:
            time.sleep(0.001)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._ours().signal(signal.SIGCONT)

    def restart(self, *, kill: bool = False, timeout_s: float = START_TIMEOUT_S) -> None:
        """End the process, orderly or with SIGKILL, and start it with the same ports and data."""
        self.check_ours()
        if kill:
            self.kill()
        else:
            self.stop()
        self.start(timeout_s)

    @property
    def pid(self) -> int:
        """The pid of the process that was started last. Raises NotOurs."""
        return self._ours().pid

    @property
    def is_running(self) -> bool:
        """Whether we started a process and it has not ended. A paused one has not."""
        return self._process is not None and self._process.is_running()

    @property
    def process(self) -> Process | None:
        """The process that was started last."""
        return self._process

    def check_ours(self) -> None:
        """Raise NotOurs unless we started the process."""
        self._ours()

    def _ours(self) -> Process:
        if self.is_external:
            raise NotOurs(f"{self.name} was named by the environment: this run did not start it")
        if self._process is None:
            raise NotOurs(f"{self.name} was not started")
        return self._process

    def _spawn(self, command: Command) -> None:
        with self._starting:
            if self._abort.is_set():
                raise Aborted(f"the start of {self.name} was given up")
            if command.image is not None:
                self._process = ContainerProcess(self.name, command, folder=self.folder)
            else:
                self._process = LocalProcess(command, folder=self.folder, log=self.log)

    def _start_failed(self, what: str) -> StartFailed:
        if self._process is None:
            return StartFailed(f"{self.name} {what}")
        return StartFailed(f"{self.name} {what}. Last lines of {self.log}:\n{self._process.read_log()}")


def _is_frozen(pid: int) -> bool:
    """Whether no thread of a process runs on."""
    try:
        states = [
            stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
        ]
    except OSError:  # a thread has ended
        return False
    return all(state in "Tt" for state in states)
