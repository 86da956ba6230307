"""Arrivals: word of rows that were filed into a minute that may have been read already.

An owner learns of most rows by reading the index of a minute once, a while before that begins. What is filed
later, or nearer, is announced: the store that files it writes an `Arrival`, and the owner reads those written
since it last looked.

Announcements are for promptness, never for a proof: one may be late, lost, doubled, or of a row that was
there before. A row nobody announced is found when its minute is sealed.
"""

from __future__ import annotations

from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from sys import byteorder

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.stores.protocol import Arrival

INDEX_LEAD_MS = 20_000  #: the index of a minute may be read this long before the minute begins
ANNOUNCE_AHEAD_MS = 30_000  #: a row is announced if its minute begins less than this from now; clocks differ
KEPT_MS = 120_000  #: how long the store remembers an arrival
SLOTS_AT_ONCE = 1_000  #: in one arrival; more of one minute are several
ARRIVALS_KEPT = 100_000  #: of one process that keeps them in memory, some 20 MB; the oldest go first
SLOW_WRITE_MS = 250  #: what took longer to become durable than this is announced once more
MOST_ANNOUNCEMENTS = 3


def announced_below(now_ms: int) -> int:
    """Return the slot below which a row filed now is announced: its minute may have been read already."""
    return ((now_ms + ANNOUNCE_AHEAD_MS - 1) // BUCKET_MS + 1) * BUCKET_MS


def find_arrivals(places: Iterable[Place], now_ms: int) -> list[Arrival]:
    """Return what is to be announced of rows filed now: one for each poller instance and minute, with each
    slot once, in order."""
    limit_ms = announced_below(now_ms)
    found: dict[tuple[str, int, int], set[int]] = defaultdict(set)
    for app_id, partition, slot_ms in places:
        if slot_ms < limit_ms:
            found[app_id, partition, slot_ms // BUCKET_MS].add(slot_ms)
    arrivals = []
    for (app_id, partition, _), slots in found.items():
        ordered = iter(sorted(slots))
        while part := tuple(islice(ordered, SLOTS_AT_ONCE)):
            arrivals.append(Arrival(now_ms, Instance(app_id, partition), part))
    return arrivals


def pack_slots(slots: Sequence[int]) -> bytes:
    """Return slots of one minute as four bytes of its bucket and two a slot, big-endian."""
    bucket = bucket_of(slots[0])
    offsets = array("H", [slot_ms - first_slot(bucket) for slot_ms in slots])
    if byteorder == "little":
        offsets.byteswap()
    return bucket.to_bytes(4, "big") + offsets.tobytes()


def unpack_slots(packed: bytes) -> tuple[int, ...]:
    """Return the slots that were packed. Raises ValueError for what `pack_slots` does not make."""
    offsets = array("H")
    if len(packed) < 6 or len(packed) % 2:
        raise ValueError(f"no slots: {len(packed)} bytes")
    offsets.frombytes(packed[4:])
    if byteorder == "little":
        offsets.byteswap()
    if max(offsets) >= BUCKET_MS:
        raise ValueError(f"slots are out of range: {max(offsets)}")
    start_ms = first_slot(int.from_bytes(packed[:4], "big"))
    return tuple([start_ms + offset for offset in offsets])


class RecentArrivals:
    """The arrivals of the last `KEPT_MS`, at most `ARRIVALS_KEPT`, for stores whose writers and readers share
    one process."""

    def __init__(self) -> None:
        self._arrivals: deque[Arrival] = deque(maxlen=ARRIVALS_KEPT)

    def announce(self, places: Iterable[Place], now_ms: int) -> None:
        """Remember rows that are durable by now."""
        known = self._arrivals
        known.extend(find_arrivals(places, now_ms))
        while known and known[0].written_ms < now_ms - KEPT_MS:
            known.popleft()

    def since(self, after_ms: int) -> list[Arrival]:
        """Return those stamped after `after_ms`, the newest first."""
        found = []
        for arrival in reversed(self._arrivals):
            if arrival.written_ms <= after_ms:
                break
            found.append(arrival)
        return found
