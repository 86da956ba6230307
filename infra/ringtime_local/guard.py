"""Ends the servers of a run that was itself killed with SIGKILL and could not clean up.

The run holds the writing end of a pipe, the guard process the reading end. The pipe closes with the run,
however that ends, and then the guard ends whatever is left of the processes that it was told about.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading

from ringtime_local import pids
from ringtime_local.pids import ProcessId

START_IN_ISOLATION = "-I"  # the script's folder holds a kafka.py: keep it off the import path


class Guard:
    """The guard of this process: started with the first server, ended with the process itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, process: ProcessId) -> None:
        """End this process when ours is gone."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, START_IN_ISOLATION, pids.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the run, not for its guard
                )
                atexit.register(self.close)
            self._tell("watch", process)

    def release(self, process: ProcessId) -> None:
        """Let this process outlive ours."""
        with self._lock:
            self._tell("release", process)

    def close(self) -> None:
        """End the guard, and with it whatever it still watches."""
        with self._lock:
            if self._process is None:
                return
            self._process.communicate(timeout=3 * pids.GUARD_GRACE_S)
            self._process = None
            atexit.unregister(self.close)

    def _tell(self, verb: str, process: ProcessId) -> None:
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.write(f"{verb} {process.pid} {process.started}\n".encode())
        self._process.stdin.flush()


guard = Guard()
