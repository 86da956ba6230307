"""Callback types that others wrote, called from loops and tasks of ours.

Such code may raise anything, also what is no `Exception`: a `CancelledError` because it awaited a task that
it had cancelled, a `GeneratorExit`, the panic of an extension module, a `SystemExit`. asyncio takes the first
for an order to end the task that runs it, and lets the last end the whole process. Nothing of that is meant
for us, so it is a fault of the callback type like any other.
"""

from __future__ import annotations

import asyncio
import signal
import threading

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.process.descriptors import is_shortage

_ERROR_CHARS = 2_000


def describe(error: BaseException) -> str:
    """Return class and message of an error, also of one whose message cannot be made."""
    name = type(error).__name__
    try:
        text = str(error)[:_ERROR_CHARS]
    except BaseException:  # noqa: BLE001 - its `__str__` is foreign code too
        return name
    return f"{name}: {text}" if text else name


def reply_to(error: BaseException) -> Reply:
    """Return how an attempt ended that raised this instead of saying so."""
    let_interrupt_through(error)
    if is_shortage(error):
        about = f"this node is short of something: {describe(error)}"
        return Reply(ok=False, error=about, is_shortage=True)
    return Reply(ok=False, error=describe(error))


def is_own_cancel(error: BaseException) -> bool:
    """Whether the task that runs here was itself asked to end: then its `CancelledError` has to go on."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def forget_cancels() -> None:
    """Undo what foreign code did by cancelling the task that ran it, so that our own code can go on."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def let_interrupt_through(error: BaseException) -> None:
    """Hand a Ctrl-C to the event loop, where programs expect it.

    It comes out of whatever code is running only where nobody has taken SIGINT over: `asyncio.run` and our
    services have. Anywhere else a `KeyboardInterrupt` is the callback type's own, and ends nothing.
    """
    if (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
