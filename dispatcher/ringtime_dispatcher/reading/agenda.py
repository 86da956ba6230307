"""When which poller instance is to be read next, and which are to be looked at before.

Pure: what is asked of the store, and when, the tick decides. An instance is on the agenda once, at the oldest
slot it is known to have unread; what concerns one bucket of it is in `ownership.minute`.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import NamedTuple

from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_shared.buckets import bucket_of, first_slot

_LEAST_ENTRIES = 1_024  #: of the heap, below which stale ones are left where they are


class Look(NamedTuple):
    """Ask for the positions of this bucket, from where they are known on."""

    owned: OwnedInstance
    bucket: int


class Agenda:
    """The poller instances of one node that have something to read."""

    def __init__(self) -> None:
        self._due_ms: dict[OwnedInstance, int] = {}  # at which slot each is on the agenda
        self._heap: list[tuple[int, int, OwnedInstance]] = []  # these, and stale ones
        self._count = 0  # of what was put on the heap: the same slot goes in order
        self._most = _LEAST_ENTRIES
        self._looks: dict[int, dict[OwnedInstance, None]] = defaultdict(dict)  # by bucket

    def file(self, owned: OwnedInstance) -> None:
        """Put an instance on the agenda where it belongs now; to be called whenever that may have changed.

        One that is leaving has nothing to read any more, one whose walk is under way has nothing yet.
        """
        if owned.is_draining or not owned.is_walked:
            self._due_ms.pop(owned, None)
            return
        next_ms = owned.next_ms()
        if next_ms is None:
            self._due_ms.pop(owned, None)
            return
        for bucket in owned.buckets():
            minute = owned.minute(bucket)
            if minute is not None and minute.needs_look:
                self._looks[bucket][owned] = None
        if self._due_ms.get(owned) != next_ms:
            self._due_ms[owned] = next_ms
            self._count += 1
            heapq.heappush(self._heap, (next_ms, self._count, owned))
            if len(self._heap) > self._most:
                self._drop_stale()

    def take_due(self, horizon_ms: int, most: int) -> list[OwnedInstance]:
        """Take those off the agenda that have something to read up to here, oldest first, at most `most`.
        Each is to be filed again, read or not."""
        due: list[OwnedInstance] = []
        while self._heap and self._heap[0][0] <= horizon_ms and len(due) < most:
            slot_ms, _, owned = heapq.heappop(self._heap)
            if self._due_ms.get(owned) == slot_ms:
                del self._due_ms[owned]
                if not owned.is_draining:
                    due.append(owned)
        return due

    def take_looks(self, now_ms: int, *, pause_ms: int, most: int) -> list[Look]:
        """Return whom to look at in this tick.

        Buckets that are over are not worth a look, and those of the minute under way go first, for they are
        read tick by tick until then. The others are spread evenly over the time until their minute begins.

        Args:
            pause_ms: the time between two ticks.
            most: looks in one tick.
        """
        looks: list[Look] = []
        for bucket in sorted(self._looks):
            waiting = self._looks[bucket]
            if bucket < bucket_of(now_ms):
                waiting.clear()
            ticks_left = max((first_slot(bucket) - now_ms) // pause_ms - 1, 1)
            share = min(-(-len(waiting) // ticks_left), most - len(looks))
            while share > 0 and waiting:
                owned = next(iter(waiting))
                del waiting[owned]
                minute = None if owned.is_draining else owned.minute(bucket)
                if minute is not None and minute.needs_look:
                    looks.append(Look(owned, bucket))
                    share -= 1
            if not waiting:
                del self._looks[bucket]
        return looks

    def __len__(self) -> int:
        """How many have something to read."""
        return len(self._due_ms)

    def _drop_stale(self) -> None:
        self._heap = [entry for entry in self._heap if self._due_ms.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)
        self._most = max(_LEAST_ENTRIES, 2 * len(self._heap))
