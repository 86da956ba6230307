"""One attempt: ask the callback type, whatever it does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply

ERROR_CHARS = 200


async def make_attempt(callbacks: Mapping[str, CallbackType], delivery: Delivery) -> Reply:
    """Return how it ended: at the latest when the delivery's time is up, and never with an error raised."""
    kind = callbacks.get(delivery.schedule.callback_type)
    if kind is None:
        return Reply(
            ok=False, error=f"callback type {delivery.schedule.callback_type} is not registered here"
        )
    try:
        async with asyncio.timeout(delivery.timeout_ms / 1000):
            reply: object = await kind.invoke(delivery)
    except TimeoutError:
        return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it is a failed attempt
        return Reply(ok=False, error=f"{type(error).__name__}: {error}")
    if isinstance(reply, Reply):
        return reply
    return Reply(ok=False, error=f"the callback type returned {type(reply).__name__}, not a Reply")


def storable(text: str) -> str:
    """Cut `text`, and replace halves of surrogate pairs: no store takes them, nor the rest of their batch."""
    return text[:ERROR_CHARS].encode(errors="replace").decode()
