"""The way into every command: ready for Ctrl-C before the imports, which take longer than anything else.

A console script calls one of the functions below, each of which imports a module by its name and runs the
`main` in it. Nothing else is imported here but what the interpreter has loaded anyway, so that the time in
which Ctrl-C ends in a traceback is the interpreter's own start. Until a command says that it can be
unwound (`take_interrupts`), Ctrl-C ends the process at once: nothing was begun yet.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

TYPE_CHECKING = False  # that of `typing` costs as much as all the rest here
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130  #: exit code, as shells have it: 128 and the number of SIGINT
TOLD = "interrupted"


def enter(module: str) -> None:
    """Import a command and run its `main`; Ctrl-C ends in a line and the exit code 130 all along."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _end_at_once)
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        leave_interrupted()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            sys.stdout.flush()
            signal.signal(signal.SIGINT, _end_at_once)  # for the interpreter's end, which waits for threads


def ringctl() -> None:
    """`ringctl`."""
    enter("ringtime_ringctl.main")


def ringtime() -> None:
    """`ringtime`."""
    enter("ringtime.main")


def cluster() -> None:
    """`ringtime-cluster`."""
    enter("ringtime_local.cluster")


def dev() -> None:
    """`ringtime-dev`."""
    enter("ringtime_local.cli")


def dispatcher() -> None:
    """`ringtime-dispatcher`."""
    enter("ringtime_dispatcher.main")


def ingest() -> None:
    """`ringtime-ingest`."""
    enter("ringtime_ingest.main")


def take_interrupts() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt: there is something to put in order on the way out."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave_interrupted() -> NoReturn:
    """End a command whose `main` would make something else of a KeyboardInterrupt, as click does."""
    sys.stderr.write(f"{TOLD}\n")
    sys.exit(INTERRUPTED)


def _end_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """End without unwinding: a KeyboardInterrupt in the middle of an import may be swallowed, or blamed."""
    os.write(sys.stderr.fileno(), f"{TOLD}\n".encode())
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    enter(sys.argv.pop(1))
