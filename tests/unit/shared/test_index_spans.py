"""Many minutes of the index are read in pieces that are bounded by what is in them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ringtime_shared.models.app import Instance
from ringtime_shared.schedules.index_spans import MOST_MINUTES, read_spans
from ringtime_shared.stores.protocol import IndexEntry


async def read(first: int, last: int, count_in: Callable[[int], int]) -> list[tuple[int, int]]:
    """Return the last bucket of each piece, and how many entries it has."""

    async def fetch(first: int, last: int) -> list[IndexEntry]:
        return [
            IndexEntry(bucket, Instance(f"app-{n}", 0))
            for bucket in range(first, last + 1)
            for n in range(count_in(bucket))
        ]

    return [(upto, len(entries)) async for upto, entries in read_spans(fetch, first, last)]


async def test_quiet_minutes_are_read_by_the_hour() -> None:
    pieces = await read(100, 100 + 1_440, lambda _: 0)
    assert pieces[-1] == (1_540, 0)
    assert len(pieces) < 32
    ends = [upto for upto, _ in pieces]
    assert max(after - before for before, after in pairwise(ends)) == MOST_MINUTES


async def test_full_minutes_are_read_one_by_one_and_each_once() -> None:
    assert await read(7, 10, lambda _: 10_000) == [(7, 10_000), (8, 10_000), (9, 10_000), (10, 10_000)]


async def test_pieces_grow_and_shrink_with_what_there_is() -> None:
    pieces = await read(0, 299, lambda bucket: 0 if bucket < 100 else 500)
    assert sum(count for _, count in pieces) == 200 * 500
    dense = [count for upto, count in pieces if upto > 200]
    assert max(dense) <= 5_000


async def test_there_may_be_nothing_to_read() -> None:
    assert await read(5, 4, lambda _: 1) == []
