"""Reads of many minutes of the index, in bounded pieces: nobody else has a turn while one is looked at.

With 10,000 apps that have something due each minute, an hour of the index is 600,000 entries: who looks at
these in one go holds up every callback of the process for a second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from ringtime_shared.stores.protocol import IndexEntry

MOST_MINUTES = 60  #: in one piece
_ENTRIES = 5_000  #: in one piece, about; a minute is never divided


async def read_spans(
    fetch: Callable[[int, int], Awaitable[list[IndexEntry]]], first: int, last: int
) -> AsyncGenerator[tuple[int, list[IndexEntry]], None]:
    """Yield, for some minutes after the other, their last bucket and their entries.

    As many are read at once as the ones before let expect; the first alone. Raises what `fetch` does.

    Args:
        fetch: returns the entries of the buckets from one to another, both included.
    """
    minutes = 1
    while first <= last:
        upto = min(first + minutes - 1, last)
        entries = await fetch(first, upto)
        yield upto, entries
        read = upto - first + 1
        minutes = max(1, min(2 * read, MOST_MINUTES, read * _ENTRIES // max(len(entries), 1)))
        first = upto + 1
