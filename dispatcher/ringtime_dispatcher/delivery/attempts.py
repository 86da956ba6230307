"""One attempt: ask the callback type, whatever it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ringtime_shared.callbacks.foreign import describe, forget_cancels, let_interrupt_through
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.descriptors import is_shortage

ERROR_CHARS = 200
_GRACE_S = 0.004  #: a type ends by itself at the deadline, and what it knows by then counts


async def make_attempt(
    callbacks: Mapping[str, CallbackType], delivery: Delivery, is_stopping: Callable[[], bool]
) -> Reply:
    """Return how it ended: at the latest a moment after the delivery's time is up, and never with an error
    raised, but for the `CancelledError` of a node that stops."""
    kind = callbacks.get(delivery.schedule.callback_type)
    if kind is None:
        return Reply(
            ok=False, error=f"callback type {delivery.schedule.callback_type} is not registered here"
        )
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as guard:
            # Not the deadline of the guard itself: where the loop is late for both deadlines, the type's own
            # comes first, and its reply is there before the guard, one turn later, would cancel it.
            timer = loop.call_later(delivery.timeout_ms / 1_000 + _GRACE_S, guard.reschedule, 0)
            try:
                reply: object = await kind.invoke(delivery)
            finally:
                timer.cancel()
    except TimeoutError:
        return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            if is_stopping():
                raise
            forget_cancels()  # whoever cancelled, it was not this node
        let_interrupt_through(error)
        if is_shortage(error):
            about = f"this node is short of something: {describe(error)}"
            return Reply(ok=False, error=about, is_shortage=True)
        return Reply(ok=False, error=describe(error))
    if isinstance(reply, Reply):
        return reply
    return Reply(ok=False, error=f"the callback type returned {type(reply).__name__}, not a Reply")


def storable(text: str) -> str:
    """Cut `text`, and replace halves of surrogate pairs: no store takes them, nor the rest of their batch."""
    return text[:ERROR_CHARS].encode(errors="replace").decode()
