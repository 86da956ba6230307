"""In which second of its window a run is sent: the one in which this node knows least to come due.

What is due ahead is known for other reasons already: the slots of rows in the minutes that are read or are
next (`ownership.minute`), and what was placed here. They are counted when a second is to be chosen, at most
each `_FRESH_MS`; nobody else pays for it. Of minutes further ahead only what was placed here is known. Each
node evens out what it owns itself, and among seconds that are alike a hash of the run decides; so nodes that
know nothing of each other do not choose alike.

In the begin of a window lie the runs of others with the same window, and wait for their own second. Nothing
is sent of them there, so they do not count, or all would choose from what comes after. Which they are is not
known before they are read. So of that part of a window only those rows count that are none for sure, which
are the one-time ones that a look found and what was filed again; others that were told of by an arrival, or
are runs of other definitions, are passed over there.

Those that wait are to choose, too, each from what is left of the window by then. When that is follows from
how many are behind by now and how fast this node got on since some were; what they may be expected to put
into a second counts there. So the first to choose take the seconds that nobody else will be in time for.

A choice is not repeated by whoever comes after a crash: that which was claimed first stands
(`ringtime_shared.recurring.chain`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import islice
from math import inf

from ringtime_dispatcher.delivery.recording import last_slot_ms, next_filing
from ringtime_shared.clock import Clock
from ringtime_shared.models.schedule import Row
from ringtime_shared.recurring.chain import PLACE_AHEAD_MS
from ringtime_shared.recurring.run_rows import run_in
from ringtime_shared.recurring.runs import choices_ms

_FRESH_MS = 5_000  #: what is known of others' rows is counted again after that
_MOST_COUNTED = 200_000  #: slots; some 10 ms
_MOST_SECONDS = 600  #: looked at for one choice: of a longer window, so many of them, evenly spread


class Loads:
    """What is due in each second ahead, as far as this node knows."""

    def __init__(
        self, clock: Clock, known: Callable[[], Iterable[int]], sure: Callable[[], Iterable[int]]
    ) -> None:
        """
        Args:
            known: returns the slots ahead that are known of what this node owns.
            sure: those of them at which something is sent for sure.
        """
        self._clock = clock
        self._known = known
        self._sure = sure
        self._behind_since_ms = self._chosen = 0  # since when some runs are behind, and how many chose since
        self._pace = inf  # choices a second, of a node that is behind
        self._took_ms = 0  # from the latest choice whose filing is durable until it was
        self._counted_ms: int | None = None  # on the boot clock
        self._placed = Counter[int]()  # by second: what was placed here
        self._due = Counter[int]()  # by second: that, and what is known of others
        self._sent = Counter[int]()  # by second: that, and what is sure of others
        self._waiting = Counter[int]()  # by second: what is known and not sure

    def choose(self, row: Row, within: tuple[int, int], behind: int = 0) -> int:
        """Return a slot for a run's row in this half-open range of ms, at least one long.

        Of a busy minute's begin it is no second that would be over when the filing for it is durable, as far
        as the range goes.

        Args:
            behind: how many other runs of this node should have chosen by now.
        """
        self._note_pace(behind)
        ahead_ms = max(PLACE_AHEAD_MS, 2 * self._took_ms)
        from_ms, until_ms = within
        from_ms = max(from_ms, min(self._clock.now_ms() + ahead_ms, until_ms - 1_000))
        last_ms = last_slot_ms(row, row.schedule.expires_ms)
        digest = int.from_bytes(blake2b(row.schedule.schedule_id.bytes, digest_size=8).digest(), "big")
        nominal_ms = run_in(row).nominal_ms
        waited_ms = nominal_ms + choices_ms(until_ms - nominal_ms)  # up to when others like it wait
        slot_ms = min(self._choose(from_ms, until_ms, waited_ms, ahead_ms, behind, digest), last_ms)
        second = slot_ms // 1_000
        self._placed[second] += 1
        self._due[second] += 1
        self._sent[second] += 1
        return next_filing(row, slot_ms).place.slot_ms

    def note(self, took_ms: int) -> None:
        """From a choice until the filing for it was durable it took so long."""
        self._took_ms = took_ms

    def _note_pace(self, behind: int) -> None:
        boot_ms = self._clock.boot_ms()
        if not behind:
            self._behind_since_ms, self._chosen = boot_ms, 0
        self._chosen += 1
        since_ms = boot_ms - self._behind_since_ms
        self._pace = inf if since_ms < 1_000 else self._chosen * 1_000 / since_ms

    def _choose(
        self, from_ms: int, until_ms: int, waited_ms: int, ahead_ms: int, behind: int, digest: int
    ) -> int:
        self._count()
        first, last = from_ms // 1_000, (until_ms - 1) // 1_000
        if until_ms - from_ms >= 3_000:  # seconds that are cut at an end are not worth it
            first, last = -(-from_ms // 1_000), until_ms // 1_000 - 1
        span = last - first + 1
        step = -(-span // _MOST_SECONDS)
        begin = digest % span  # who comes first among equals
        second, least, order = first, inf, 0
        due, sent, waiting = self._due.get, self._sent.get, self._waiting.get
        now, waited, ahead = self._clock.now_ms() // 1_000, -(-waited_ms // 1_000), -(-ahead_ms // 1_000)
        later = 0.0  # what those who wait may be expected to put into a second, if each takes any of the rest
        turn, queue = now, float(behind)  # a second in which some of them choose, and how many would
        for n in range(0, span, step):
            each = first + n
            while turn <= each - ahead:
                queue += waiting(turn, 0) if now < turn < waited else 0
                choosing = min(queue, self._pace)
                queue -= choosing
                later += choosing / (span - n)
                turn += 1
            load = (sent if each < waited else due)(each, 0) + later
            if load <= least and (load < least or (n - begin) % span < order):
                second, least, order = each, load, (n - begin) % span
        low_ms, high_ms = max(from_ms, second * 1_000), min(until_ms, second * 1_000 + 1_000)
        slot_ms = low_ms + (digest >> 32) % (high_ms - low_ms)
        return max(slot_ms - (slot_ms & 1), low_ms)  # an odd slot is moved up, and might be at the end then

    def _count(self) -> None:
        boot_ms = self._clock.boot_ms()
        if self._counted_ms is not None and boot_ms - self._counted_ms < _FRESH_MS:
            return
        self._counted_ms = boot_ms
        now = self._clock.now_ms() // 1_000
        self._placed = Counter({second: rows for second, rows in self._placed.items() if second >= now})
        # What was placed is known a moment later: the larger of both.
        known, sure = _by_second(self._known()), _by_second(self._sure())
        self._due, self._sent, self._waiting = known | self._placed, sure | self._placed, known - sure


def _by_second(slots: Iterable[int]) -> Counter[int]:
    return Counter(slot_ms // 1_000 for slot_ms in islice(slots, _MOST_COUNTED))
