"""Changes by LWT: tried until it is known what came of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.cassandra.session import CqlSession

T = TypeVar("T")
ROUNDS = 30  #: tries of an LWT that others keep getting in front of
_BACKOFF_S = 0.05


async def back_off(round_number: int) -> None:
    """Wait after an LWT was not applied, longer each time."""
    await asyncio.sleep(random.uniform(0, _BACKOFF_S * min(round_number + 1, 10)))


async def change(
    session: CqlSession,
    statement: Any,
    fetch: Callable[[], Awaitable[T]],
    *,
    wanted: T,
    is_before: Callable[[T], bool],
    what: str,
) -> T:
    """Try an LWT until what is stored is not what was before; return what is stored then.

    An LWT without an answer may have been applied, which a read at SERIAL tells.

    Args:
        fetch: reads what is stored, at SERIAL.
        wanted: what is stored once the LWT is applied.
        is_before: whether what is stored is what the LWT was to change.
        what: for the message, as in "the change of app a".

    Raises:
        StoreUnavailable: it was not applied.
        OutcomeUnknown: no read could tell whether it was.
    """
    is_unsure = False
    for n in range(ROUNDS):
        try:
            record = await session.write_if(statement)
            if record is not None and record[0]:
                return wanted
            is_unsure = is_unsure or record is None
            stored = await fetch()
        except StoreUnavailable as error:
            if is_unsure:
                raise OutcomeUnknown(str(error)) from error
            raise
        if not is_before(stored):
            return stored
        await back_off(n)
    raise OutcomeUnknown(f"Cassandra: no answer to {what}")
