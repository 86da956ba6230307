"""What a node keeps in memory of a poller instance it owns.

A node may own a hundred thousand that never had a row, so what only rows need is there only while there are
rows: see `_Rows`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import LAST_ID, Marks, Position


class _Rows:
    """What an instance knows while it has rows, or work on rows under way."""

    __slots__ = ("busy", "fronts", "open", "quiet", "seen")

    def __init__(self) -> None:
        self.fronts: dict[int, Position] = {}  # bucket with rows -> read so far
        self.seen: set[Position] = set()  # rows read, above `checked_ms`
        self.open: set[Position] = set()  # rows read, without a durable outcome
        self.busy = 0  # deliveries in flight or not recorded
        self.quiet = asyncio.Event()
        self.quiet.set()

    @property
    def is_empty(self) -> bool:
        return not (self.fronts or self.seen or self.open or self.busy)


class OwnedInstance:
    """One ownership term of one poller instance.

    Rows are known by `Position`, slot and id together: a schedule that was filed again may have two
    rows in one instance. Which are open, and how many are worked on, the ledger of the node says, and
    nobody else: `take`, `close`, `begin_work`, `end_work`.
    """

    __slots__ = (
        "_rows",
        "checked_ms",
        "instance",
        "is_draining",
        "is_walked",
        "sealed_ms",
        "settled_ms",
        "term",
    )

    def __init__(self, instance: Instance, term: int, marks: Marks) -> None:
        self.instance = instance
        self.term = term
        self.sealed_ms = marks.sealed_ms  #: as last published
        self.settled_ms = marks.settled_ms  #: as last published
        self.checked_ms = marks.settled_ms  #: finally read up to here in this term
        self.is_walked = False  #: the buckets between `settled` and now are known
        self.is_draining = False  #: on its way to another owner, or lost: start nothing new
        self._rows: _Rows | None = None

    @property
    def has_rows(self) -> bool:
        """Whether some bucket above `checked_ms` is known to have rows."""
        return self._rows is not None and bool(self._rows.fronts)

    def open_bucket(self, bucket: int) -> None:
        """Begin to read a bucket that the index shows rows in; no effect the second time."""
        is_new = not self.is_reading(bucket) and last_slot(bucket) > self.checked_ms
        if is_new and not self.is_draining:
            start_ms = max(self.checked_ms, first_slot(bucket) - 1)
            self._with_rows().fronts[bucket] = Position(start_ms, LAST_ID)

    def is_reading(self, bucket: int) -> bool:
        return self._rows is not None and bucket in self._rows.fronts

    def buckets(self) -> list[int]:
        """Return the buckets that are being read, oldest first."""
        return [] if self._rows is None else sorted(self._rows.fronts)

    def next_read(self, horizon_ms: int) -> tuple[int, Position] | None:
        """Return the oldest bucket with slots up to `horizon_ms` unread, and how far it is read."""
        for bucket in self.buckets():
            front = self._with_rows().fronts[bucket]
            if front.slot_ms < min(horizon_ms, last_slot(bucket)) or (
                front.schedule_id != LAST_ID and front.slot_ms <= horizon_ms
            ):
                return bucket, front
        return None

    def set_front(self, bucket: int, front: Position) -> None:
        """Everything in `bucket` up to `front` was read."""
        if self._rows is not None and bucket in self._rows.fronts:
            self._rows.fronts[bucket] = front

    def sealable_ms(self, limit_ms: int) -> int:
        """Return the highest slot up to `limit_ms` that may be sealed: all of it was read already.

        An instance without rows is sealed a whole minute at a time: marks of idle instances cost a
        write each, and nobody waits for them.
        """
        if self._rows is None or not self._rows.fronts:
            return last_slot(bucket_of(limit_ms) - 1)
        fronts = self._rows.fronts
        for bucket in sorted(fronts):
            front = fronts[bucket]
            read_ms = front.slot_ms if front.schedule_id == LAST_ID else front.slot_ms - 1
            if read_ms < last_slot(bucket):
                return min(limit_ms, read_ms)
        return limit_ms

    def take(self, row: Position) -> bool:
        """Note a row that was read; return False if it was known."""
        rows = self._with_rows()
        if row in rows.seen or row in rows.open:
            return False
        rows.seen.add(row)
        rows.open.add(row)
        return True

    def is_open(self, row: Position) -> bool:
        return self._rows is not None and row in self._rows.open

    def unseen(self, read: Sequence[Position]) -> Iterator[Position]:
        """Yield those of the rows just read that no read of this term has returned before."""
        rows = self._rows
        return (row for row in read if rows is None or (row not in rows.seen and row not in rows.open))

    def close(self, row: Position) -> None:
        """The row's outcome, or its later filing, is durable."""
        if self._rows is not None:
            self._rows.open.discard(row)

    def set_checked(self, slot_ms: int) -> None:
        """The final read up to `slot_ms` is done; what it needed can be forgotten."""
        self.checked_ms = max(self.checked_ms, slot_ms)
        rows = self._rows
        if rows is None:
            return
        rows.seen = {row for row in rows.seen if row.slot_ms > self.checked_ms}
        rows.fronts = {
            bucket: front for bucket, front in rows.fronts.items() if last_slot(bucket) > self.checked_ms
        }
        if rows.is_empty:
            self._rows = None

    def stop(self) -> None:
        """Start nothing new: on the way to another owner, or lost."""
        self.is_draining = True

    def settleable_ms(self) -> int:
        """Return the slot up to which every row has a durable outcome or a later slot."""
        if self._rows is None or not self._rows.open:
            return self.checked_ms
        return min(self.checked_ms, min(self._rows.open).slot_ms - 1)

    @property
    def is_settled(self) -> bool:
        """Whether `settled` is published as far as it can be."""
        return self.settled_ms >= self.settleable_ms()

    @property
    def is_at_rest(self) -> bool:
        """Whether there is nothing to seal before the minute ends: no rows, and all of it settled."""
        return self._rows is None and self.is_settled

    def begin_work(self) -> None:
        """A delivery of this instance is in flight, or done and not recorded yet."""
        rows = self._with_rows()
        rows.busy += 1
        rows.quiet.clear()

    def end_work(self) -> None:
        rows = self._with_rows()
        rows.busy -= 1
        if not rows.busy:
            rows.quiet.set()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight or unrecorded."""
        return self._rows is None or not self._rows.busy

    async def wait_quiet(self) -> None:
        """Return when nothing is in flight or unrecorded."""
        if self._rows is not None:
            await self._rows.quiet.wait()

    def _with_rows(self) -> _Rows:
        if self._rows is None:
            self._rows = _Rows()
        return self._rows


class Instances:
    """The poller instances that one node owns."""

    def __init__(self) -> None:
        self._owned: dict[Instance, OwnedInstance] = {}
        self._with_rows: dict[OwnedInstance, None] = {}  # and some that had rows; ordered, unlike a set

    @property
    def owned(self) -> Mapping[Instance, OwnedInstance]:
        """All of them, by name."""
        return self._owned

    def add(self, owned: OwnedInstance) -> None:
        self._owned[owned.instance] = owned

    def remove(self, instance: Instance) -> None:
        """Own it no more: what is in flight ends, nothing new is begun."""
        self._owned.pop(instance).stop()

    def open_bucket(self, owned: OwnedInstance, bucket: int) -> None:
        """Begin to read a bucket that the index shows rows of this instance in."""
        owned.open_bucket(bucket)
        if owned.has_rows:
            self._with_rows[owned] = None

    def active(self) -> list[OwnedInstance]:
        """Return those that have rows to read, without a look at the others: there may be 100,000."""
        active = [each for each in self._with_rows if each.has_rows and not each.is_draining]
        if len(active) < len(self._with_rows):
            self._with_rows = dict.fromkeys(active)
        return active
