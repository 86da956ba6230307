"""One bucket of a poller instance: how far it is read, and what is known to come.

    first slot ---- front ------------------ known ------------ last slot
       rows read up to here |  slots ahead are  |  nothing is known
                            |  known, in order  |  from here on

A bucket is opened with nothing known, so it is read tick by tick. A look at its positions makes the slots
ahead known, a page at a time, and arrivals add those of rows that are filed later: then it is read only when
one of them comes due. Slots that did not fit are not known, so nothing is forgotten: reading goes on there.
Where rows are so dense that each tick reads some, a look costs another read of every row and saves no page:
there is none until a page finds few.

A look shows ids as well, and with them which rows are first filings of runs. Such a one may only wait at its
slot for a second to be chosen for it (`delivery.loads`), so those that are sent at theirs for sure are known
apart. What was announced has no id.

Knowledge is for promptness. A slot that nobody told of is found when the bucket is sealed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ringtime_shared.buckets import BUCKET_MS, first_slot
from ringtime_shared.ids import Kind, has_kind, home_slot
from ringtime_shared.stores.protocol import LAST_ID, Position

SLOTS_KNOWN = 500  #: of one bucket at a time, two to four bytes each; more of them are another look
FEW_ROWS = 10  #: asked for where fewer are known to come: others may have been filed beside them


class Minute:
    """What a node keeps of one bucket with rows."""

    __slots__ = ("_ahead", "_is_dense", "_known", "_start_ms", "_sure", "front")

    def __init__(self, bucket: int, after_ms: int) -> None:
        """`after_ms`: everything up to this slot was finally read, or was before the bucket."""
        self._start_ms = first_slot(bucket)
        self.front = Position(max(after_ms, self._start_ms - 1), LAST_ID)  #: rows are read up to here
        self._known = self.front  # all live rows up to here lie at the front, or at a slot in `_ahead`
        self._ahead = array("H")  # known slots after the front, in order, as offsets; one a row of a look
        self._is_dense = False  # what was read last had more than a few rows
        self._sure = array("H")  # those of rows that a look found and that are no first filings of runs

    @property
    def last_ms(self) -> int:
        """The last slot of the bucket."""
        return self._start_ms + BUCKET_MS - 1

    def next_ms(self) -> int | None:
        """Return the next slot that is to be read: a known one, or the first of which nothing is known. None:
        there is none."""
        if self.front.schedule_id != LAST_ID:
            return self.front.slot_ms  # a page ended inside this slot
        unknown_ms = _after(self._known)
        ahead_ms = self._start_ms + self._ahead[0] if self._ahead else unknown_ms
        next_ms = min(ahead_ms, unknown_ms)
        return next_ms if next_ms <= self.last_ms else None

    @property
    def needs_look(self) -> bool:
        """Whether the next slot to be read is only the first of which nothing is known, where rows are not
        dense."""
        unknown_ms = _after(self._known)
        return (
            not self._is_dense
            and unknown_ms <= self.last_ms
            and (not self._ahead or self._start_ms + self._ahead[0] > unknown_ms)
        )

    def slots_ahead(self) -> Iterator[int]:
        """Yield the slots after the front that rows are known at, one for each."""
        return (self._start_ms + offset for offset in self._ahead)

    def sure_ahead(self) -> Iterator[int]:
        """Yield those of them at which something is sent, as far as ids tell."""
        return (self._start_ms + offset for offset in self._sure)

    def look_from(self) -> Position:
        """Return where the next look at the positions begins."""
        return self._known

    def rows_expected(self, upto_ms: int, unknown: int) -> int | None:
        """Return how many rows to ask for in one page up to here; None: as many as a page holds.

        Args:
            unknown: to ask for if nothing is known of a part of it.
        """
        if self.front.schedule_id != LAST_ID:
            return None  # the page before was not large enough
        if _after(self._known) <= min(upto_ms, self.last_ms):
            return max(FEW_ROWS, unknown)
        known = bisect_right(self._ahead, min(upto_ms, self.last_ms) - self._start_ms)
        return max(FEW_ROWS, known + 1)  # a page that is full is followed by another

    def set_front(self, front: Position, rows: int = 0) -> None:
        """Everything up to `front` was read, so many rows; it never goes back."""
        if front > self.front:
            is_rest = self.front.schedule_id != LAST_ID  # of what a full page began with
            self._is_dense = rows >= FEW_ROWS or (is_rest and self._is_dense)
            self.front = front
            self._known = max(self._known, front)
            offset = min(front.slot_ms, self.last_ms) - self._start_ms
            del self._ahead[: bisect_right(self._ahead, offset)]
            del self._sure[: bisect_right(self._sure, offset)]

    def learn(self, rows: Sequence[Position], upto: Position | None) -> None:
        """A look from `look_from` found these rows, in order.

        Args:
            upto: as far as it went; None: to the end.
        """
        split_ms = self._known.slot_ms  # the look before may have ended amid the rows of a slot
        self._known = max(self._known, upto or Position(self.last_ms, LAST_ID))
        front_ms, start_ms = self.front.slot_ms, self._start_ms
        self._sure.extend(
            slot_ms - start_ms
            for slot_ms, schedule_id in rows
            if slot_ms > front_ms
            and not (has_kind(schedule_id, Kind.RUN) and home_slot(schedule_id) == slot_ms)
        )
        self._add([row.slot_ms for row in rows], split_ms)

    def expect(self, slots: Sequence[int]) -> None:
        """Rows were filed at these slots. Those up to the front are passed over."""
        self._add(slots)

    def forget(self) -> None:
        """Nothing is known of what lies after the front any more."""
        self._known = self.front
        del self._ahead[:]
        del self._sure[:]

    def _add(self, slots: Iterable[int], split_ms: int = -1) -> None:
        """Know of rows at these slots. A row that was announced and is found by a look is one; those that a
        look finds at `split_ms` come on top of those that the look before found there."""
        ahead = self._ahead
        front_ms, start_ms = self.front.slot_ms, self._start_ms
        new = [slot_ms - start_ms for slot_ms in slots if slot_ms > front_ms]
        if not new:
            return
        if not ahead or new[0] > ahead[-1]:
            ahead.extend(new)
        elif len(new) == 1 and new[0] != split_ms - start_ms:
            at = bisect_left(ahead, new[0])
            if ahead[at] != new[0]:
                ahead.insert(at, new[0])
        else:
            fresh: list[int] = []
            for slot, rows in Counter(new).items():
                known = bisect_right(ahead, slot) - bisect_left(ahead, slot)
                fresh += [slot] * (rows if slot == split_ms - start_ms else rows - known)
            ahead[:] = array("H", sorted([*ahead, *fresh]))
        if len(ahead) > SLOTS_KNOWN:
            cut = ahead[SLOTS_KNOWN]
            del ahead[SLOTS_KNOWN:]
            del self._sure[bisect_left(self._sure, cut) :]
            self._known = max(min(self._known, Position(start_ms + cut - 1, LAST_ID)), self.front)


def _after(position: Position) -> int:
    """Return the first slot that has rows after `position`, if there are any."""
    return position.slot_ms + (position.schedule_id == LAST_ID)
