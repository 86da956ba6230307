"""How much of a node's memory each app's rows may take.

An app may hold as many rows as there are places free: one app with a backlog of its own gets half of all
places, two get a third each, and there is always a share left for the next. The rest of a backlog stays
in the store.

Source: A. Choudhury and E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
IEEE/ACM Transactions on Networking 6(2), 1998, with alpha = 1.
"""

from __future__ import annotations

from collections import Counter


class Places:
    """Counts rows by app: those that wait, are in flight, or have no durable outcome yet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._total = 0
        self._refused: set[str] = set()

    def room(self, app_id: str) -> int:
        """Return how many more rows of this app may be held; an app that gets 0 is refused.

        Each row it gets takes one place from its share and one from what is free, hence the half.
        """
        room = (self._most - self._total - self._held.get(app_id, 0) + 1) // 2
        if room <= 0:
            self._refused.add(app_id)
            return 0
        return room

    def add(self, app_id: str) -> None:
        self._held[app_id] += 1
        self._total += 1

    def remove(self, app_id: str) -> bool:
        """Let a place go; return whether reading can go on for an app that was refused."""
        self._total -= 1
        self._held[app_id] -= 1
        if not self._held[app_id]:
            del self._held[app_id]
        # Only when a good part of its share is free again: a page a row would be a poor bargain.
        if app_id in self._refused and 2 * self._held.get(app_id, 0) <= self._most - self._total:
            self._refused.clear()
            return True
        return False

    @property
    def is_short(self) -> bool:
        """Whether some app was refused and has not been told to go on yet."""
        return bool(self._refused)
