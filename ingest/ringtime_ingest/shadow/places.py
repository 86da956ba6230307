"""How much may be under way at once, and how much of it for one app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """So many places. An app has no more of them than are free, so one whose other side is slow fills half,
    and the next app finds room. For one event loop."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._taken: dict[str, int] = {}  # by app; those that have one

    def are_full(self, app_id: str) -> bool:
        """Whether an app may have no more."""
        return self._taken.get(app_id, 0) >= self._free

    @contextmanager
    def one(self, app_id: str) -> Iterator[None]:
        """Hold a place. Ask `are_full` before."""
        self._free -= 1
        self._taken[app_id] = self._taken.get(app_id, 0) + 1
        try:
            yield
        finally:
            self._free += 1
            self._taken[app_id] -= 1
            if not self._taken[app_id]:
                del self._taken[app_id]
