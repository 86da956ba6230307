"""The way into every command: ready for Ctrl-C before the imports, which take longer than anything else.

A console script calls one of the functions below, each of which imports a module by its name and runs the
`main` in it. Nothing else is imported here but what the interpreter has loaded anyway, so that the time in
which Ctrl-C ends in a traceback is the interpreter's own start. Until a command says that it can be
unwound (`take_interrupts`), Ctrl-C ends the process at once: nothing was begun yet.

Not every install has every driver: `pip install ringtime` brings what one process needs, its extras the rest.
A command that meets a package that only an extra brings says which, in one line.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module

TYPE_CHECKING = False  # that of `typing` costs as much as all the rest here
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import NoReturn

INTERRUPTED = 130  #: exit code, as shells have it: 128 and the number of SIGINT
TOLD = "interrupted"


#: Packages that are not in every install, and the extra of the distribution `ringtime` that brings them.
_EXTRAS = {"cassandra": "cluster", "aetcd": "cluster", "grpc": "cluster", "aiokafka": "kafka"}


def enter(module: str, command: str = "") -> None:
    """Import a command and run its `main`; Ctrl-C ends in a line and the exit code 130 all along.

    Args:
        command: its name, for the line that tells which extra it needs; "": that of the module.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _end_at_once)
    try:
        _imported(module).main()
    except KeyboardInterrupt:
        leave_interrupted()
    except ModuleNotFoundError as error:
        need = extra_needed(error)
        if need is None:
            raise
        sys.exit(f"{command or module}: {need}")
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            sys.stdout.flush()
            signal.signal(signal.SIGINT, _end_at_once)  # for the interpreter's end, which waits for threads


def _imported(module: str) -> ModuleType:
    """Import a command. Nearly all that imports make stays, so the collector waits until they are over: it
    would look at the same again and again, an eighth of the time."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def extra_needed(error: ModuleNotFoundError) -> str | None:
    """Return how to install what could not be imported; None if no extra brings it."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    return None if extra is None else f"needs pip install 'ringtime[{extra}]'"


def ringctl() -> None:
    """`ringctl`."""
    enter("ringtime_ringctl.main", "ringctl")


def ringtime() -> None:
    """`ringtime`."""
    enter("ringtime.main", "ringtime")


def cluster() -> None:
    """`ringtime-cluster`, of the distribution `ringtime-local`."""
    enter("ringtime_local.cluster", "ringtime-cluster")


def dev() -> None:
    """`ringtime-dev`, of the distribution `ringtime-local`."""
    enter("ringtime_local.cli", "ringtime-dev")


def dispatcher() -> None:
    """`ringtime-dispatcher`."""
    enter("ringtime_dispatcher.main", "ringtime-dispatcher")


def ingest() -> None:
    """`ringtime-ingest`."""
    enter("ringtime_ingest.main", "ringtime-ingest")


def web() -> None:
    """`ringtime-web`."""
    enter("ringtime_web.main", "ringtime-web")


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
