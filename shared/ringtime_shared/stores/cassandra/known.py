"""What this process knows to be stored. Bounded; forgetting costs a statement, never a row."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

INDEX_ENTRIES = 50_000  #: about 10 MB; one is a poller instance in a minute
EXPIRIES = 100_000  #: about 20 MB; one is a schedule that was filed or read here


class Known(Generic[K]):
    """Numbers by key; the oldest are forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers: dict[K, int] = {}

    def get(self, key: K) -> int | None:
        return self._numbers.get(key)

    def update(self, numbers: Mapping[K, int]) -> None:
        """Remember `numbers`, as the newest."""
        known = self._numbers
        for key in numbers:
            known.pop(key, None)
        known.update(numbers)
        while len(known) > self._limit:
            del known[next(iter(known))]
