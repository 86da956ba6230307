"""Several processes of one service on one port, and one that watches over them.

```
 parent: holds the port, serves nothing
   |-- worker 1: listens on the port (SO_REUSEPORT), and knows of no other
   |-- worker 2: ...
```

The system gives each new connection to one of those that listen. A worker has a socket of its own, so that
when it dies nothing is sent its way until another stands in its place; what it had not answered is lost to
its clients, as with any pod. The parent keeps the port bound without listening: nobody else gets it, and a
port that is taken is told at once. It forks before there is a loop or a thread, so a new worker starts in
milliseconds, with the settings of the first.

| what happens | what follows |
|---|---|
| a worker dies | another is started, after a wait that doubles with each that did not live for `_SETTLED_S` |
| a first worker ends with an error before that | all end, with its exit code: what keeps one off keeps all |
| the system has no room for one | as if it had ended with an error at once |
| SIGTERM or SIGINT to the parent | SIGTERM to all; they drain, and the parent ends when they have |
| a second one | is passed on: they end at once |
| SIGUSR1 or SIGUSR2 to the parent | is passed on to all |
| they are not done in time | SIGKILL |
| the parent dies | a pipe that it held open ends: each worker drains and ends |

Signals of a terminal reach the parent alone, since workers have a process group of their own; else one Ctrl-C
would come twice.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

_log = logging.getLogger(__name__)
_SETTLED_S = 10.0  #: a worker that lives so long has started well
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STOPS = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)  #: see `ringtime_shared.logs.process`
_WATCHED = (*_STOPS, *_PASSED_ON, signal.SIGCHLD)


class Workers:
    """The workers of one parent."""

    def __init__(self, count: int, stop_within_s: float, first_wait_s: float = _FIRST_WAIT_S) -> None:
        """
        Args:
            stop_within_s: what is not ended so long after it was told to is killed.
            first_wait_s: before the first new worker in place of one that did not settle.
        """
        self._count = count
        self._stop_within_s = stop_within_s
        self._first_wait_s = first_wait_s
        self._running: dict[int, tuple[int, float]] = {}  #: by process: which one, and since when
        self._waits_s: dict[int, float] = {}  #: by number: before it is started once more
        self._due_s = dict.fromkeys(range(1, count + 1), 0.0)  #: by number: when it is to be started
        self._alive, self._held = os.pipe()
        self._killed_s: float | None = None  #: when what is left will be killed; None: nobody has to stop
        self._code = 0

    def start(self) -> int:
        """Return in each worker, with its number from 1. The parent stays inside until they have ended, and
        exits."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        while self._running or self._killed_s is None:
            number = self._start_due()
            if number is not None:
                return number
            self._wait()
            self._reap()
        sys.exit(self._code)

    def _start_due(self) -> int | None:
        """Start what is to be started by now. Returns in a worker, with its number; in the parent, None."""
        if self._killed_s is None:
            now_s = time.monotonic()
            for number in [each for each, due_s in self._due_s.items() if due_s <= now_s]:
                del self._due_s[number]
                try:
                    process = os.fork()
                except OSError as error:  # the system is short of memory or processes
                    _log.error("worker %d cannot be started: %s", number, error)
                    self._replace(number, 0.0, os.EX_OSERR)
                    break
                if process == 0:
                    self._settle_in()
                    return number
                self._running[process] = number, now_s
        return None

    def _settle_in(self) -> None:
        """Become a worker."""
        os.setpgid(0, 0)
        os.close(self._held)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        threading.Thread(target=self._end_with_parent, name="watch the parent", daemon=True).start()

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _wait(self) -> None:
        """Wait for a signal, or until something is to be done; pass on what is to be."""
        ends_s = [*self._due_s.values()] if self._killed_s is None else [self._killed_s]
        wait_s = max(0.0, min(ends_s) - time.monotonic()) if ends_s else 3_600.0
        told = signal.sigtimedwait(_WATCHED, wait_s)
        if told is not None and told.si_signo in _STOPS:
            self._stop()
        elif told is not None and told.si_signo in _PASSED_ON:
            self._tell(signal.Signals(told.si_signo))
        elif told is None and self._killed_s is not None and self._killed_s <= time.monotonic():
            _log.warning("%d workers did not end in time and are killed", len(self._running))
            self._tell(signal.SIGKILL)
            self._killed_s += self._stop_within_s

    def _stop(self) -> None:
        if self._killed_s is None:
            self._killed_s = time.monotonic() + self._stop_within_s
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for process in self._running:
            os.kill(process, number)  # it is a process of ours until it is waited for

    def _reap(self) -> None:
        """Look which workers have ended, and say when others take their places."""
        for process in [*self._running]:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                number, since_s = self._running.pop(process)
                self._replace(number, time.monotonic() - since_s, os.waitstatus_to_exitcode(status))

    def _replace(self, number: int, lived_s: float, code: int) -> None:
        if self._killed_s is not None:
            self._code = self._code or (code if code >= 0 else 1)
            return
        if code > 0 and lived_s < _SETTLED_S and number not in self._waits_s:
            self._code = code
            self._stop()
            return
        before_s = 0.0 if lived_s >= _SETTLED_S else self._waits_s.get(number, 0.0)
        wait_s = min(before_s * 2, _LONGEST_WAIT_S) or self._first_wait_s
        self._waits_s[number] = wait_s
        self._due_s[number] = time.monotonic() + wait_s
        _log.error("worker %d has ended with %d; another is started in %.1f s", number, code, wait_s)
