"""Several processes on one port: who is started again, who is told what, and when all end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ringtime_shared.errors import StartupError
from ringtime_shared.http_server import hold_port, listen
from ringtime_shared.settings import ServerSettings

#: Each worker takes connections one by one, and answers its number and process id; `x` ends it with code 3.
_PROGRAM = """
import os, signal, sys
from ringtime_shared.http_server import hold_port, listen
from ringtime_shared.settings import ServerSettings
from ringtime_shared.process.workers import Workers

settings = ServerSettings(host="127.0.0.1", port=0)
holder = hold_port(settings)
port = holder.getsockname()[1]
print(os.getpid(), port, flush=True)
fork, faults = os.fork, iter([None, None, OSError(12, "short of memory")])
def scarce():
    if fault := next(faults, None):
        raise fault
    return fork()
if sys.argv[1] == "starves":
    os.fork = scarce
number = Workers(2, 1.0 if sys.argv[1] == "hangs" else 20.0, 0.05).start()
if sys.argv[1] == "fails" and number == 2:
    sys.exit(5)
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "hangs" else lambda *_: sys.exit(0))
if sys.argv[1] == "louder":
    signal.signal(signal.SIGUSR1, lambda *_: os.write(1, f"told {number}\\n".encode()))
listener = listen(ServerSettings(host="127.0.0.1", port=port), is_shared=True)
listener.listen()
listener.setblocking(True)
os.write(1, f"worker {number}\\n".encode())
while True:
    client, _ = listener.accept()
    client.sendall(f"{number} {os.getpid()}".encode())
    client.close()
"""


class Parent:
    def __init__(self, how: str) -> None:
        argv = [sys.executable, "-c", _PROGRAM, how]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid, self.port = map(int, self.line().split())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self) -> tuple[int, int]:
        """Return number and process id of the worker that answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            number, pid = client.recv(100).split()
        return int(number), int(pid)

    def ask_both(self) -> dict[int, int]:
        """Return the process ids of both workers."""
        found: dict[int, int] = {}
        while len(found) < 2:
            found.update([self.ask()])
        return found

    def end(self) -> tuple[int, str]:
        _, told = self.process.communicate(timeout=120)
        return self.process.returncode, told


@contextmanager
def running(how: str = "well") -> Iterator[Parent]:
    parent = Parent(how)
    try:
        yield parent
    finally:
        parent.process.kill()  # its workers see the pipe end
        parent.process.communicate(timeout=120)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_both_answer_one_that_dies_is_started_again_and_sigterm_ends_all() -> None:
    with running() as parent:
        assert {parent.line(), parent.line()} == {"worker 1\n", "worker 2\n"}
        before = parent.ask_both()
        for _ in range(2):  # the second time after a longer wait
            os.kill(before[2], signal.SIGKILL)
            assert parent.line() == "worker 2\n"
            after = parent.ask_both()
            assert (after[1], after[2] != before[2]) == (before[1], True)
            before = after
        os.kill(parent.pid, signal.SIGTERM)
        code, told = parent.end()
        assert (code, told.count("worker 2 has ended with -9")) == (0, 2)
        assert not any(map(_is_there, before.values()))


def test_what_is_meant_for_all_reaches_all() -> None:
    with running("louder") as parent:
        assert {parent.line(), parent.line()} == {"worker 1\n", "worker 2\n"}
        os.kill(parent.pid, signal.SIGUSR1)
        assert {parent.line(), parent.line()} == {"told 1\n", "told 2\n"}
        assert len(parent.ask_both()) == 2
        os.kill(parent.pid, signal.SIGTERM)
        assert parent.end()[0] == 0


def test_what_keeps_one_from_starting_keeps_all() -> None:
    with running("fails") as parent:
        assert parent.end()[0] == 5


def test_a_system_that_has_no_room_for_a_worker_is_asked_again() -> None:
    with running("starves") as parent:
        assert {parent.line(), parent.line()} == {"worker 1\n", "worker 2\n"}
        before = parent.ask_both()
        os.kill(before[2], signal.SIGKILL)
        assert parent.line() == "worker 2\n"
        assert parent.ask_both()[1] == before[1]
        os.kill(parent.pid, signal.SIGTERM)
        code, told = parent.end()
        assert (code, "worker 2 cannot be started: [Errno 12] short of memory" in told) == (0, True)


def test_what_does_not_end_is_killed() -> None:
    with running("hangs") as parent:
        assert {parent.line(), parent.line()} == {"worker 1\n", "worker 2\n"}
        os.kill(parent.pid, signal.SIGINT)
        code, told = parent.end()
        assert (code, "2 workers did not end in time" in told) == (1, True)


def test_workers_end_with_their_parent() -> None:
    with running() as parent:
        assert {parent.line(), parent.line()} == {"worker 1\n", "worker 2\n"}
        parent.process.kill()
        assert parent.end()[1] == ""  # which waits until the last of them has closed its end of the pipe


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        settings = ServerSettings(host="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(StartupError, match="already in use"):
            hold_port(settings)


def test_nobody_else_takes_the_port_while_no_worker_listens() -> None:
    with hold_port(ServerSettings(host="127.0.0.1", port=0)) as holder:
        settings = ServerSettings(host="127.0.0.1", port=holder.getsockname()[1])
        for _ in range(2):  # before the first worker, and when all have died
            for take in (hold_port, listen):
                with pytest.raises(StartupError, match="already in use"):
                    take(settings)
            with listen(settings, is_shared=True) as one, listen(settings, is_shared=True) as another:
                one.listen()
                another.listen()


def test_no_connection_is_given_to_a_worker_that_is_not_ready() -> None:
    with hold_port(ServerSettings(host="127.0.0.1", port=0)) as holder:
        address = holder.getsockname()
        settings = ServerSettings(host="127.0.0.1", port=address[1])
        with listen(settings, is_shared=True) as ready, listen(settings, is_shared=True):
            ready.listen()
            ready.settimeout(5)
            for _ in range(20):
                with socket.create_connection(address):
                    ready.accept()[0].close()
