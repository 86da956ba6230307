"""What a node keeps in memory of a poller instance it owns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import LAST_ID, Marks, Position


class OwnedInstance:
    """One ownership term of one poller instance.

    Rows are known by `Position`, slot and id together: a schedule that was filed again may have two
    rows in one instance.
    """

    def __init__(
        self, instance: Instance, term: int, marks: Marks, active: dict[OwnedInstance, None] | None = None
    ) -> None:
        """`active`: where this instance enters itself while it has rows; nobody looks at idle ones."""
        self.instance = instance
        self.term = term
        self.sealed_ms = marks.sealed_ms  #: as last published
        self.settled_ms = marks.settled_ms  #: as last published
        self.sealing_ms = marks.sealed_ms  #: a final read up to here has begun, or will before this moves
        self.checked_ms = marks.settled_ms  #: finally read up to here in this term
        self.is_walked = False  #: the buckets between `settled` and now are known
        self.is_draining = False  #: on its way to another owner, or lost: start nothing new
        self._active: dict[OwnedInstance, None] = {} if active is None else active  # ordered, unlike a set
        self._fronts: dict[int, Position] = {}  # bucket with rows -> read so far
        self._seen: set[Position] = set()  # rows read, above `checked_ms`
        self._open: set[Position] = set()  # rows read, without a durable outcome
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def has_rows(self) -> bool:
        """Whether some bucket above `checked_ms` is known to have rows."""
        return bool(self._fronts)

    def open_bucket(self, bucket: int) -> None:
        """Begin to read a bucket that the index shows rows in; no effect the second time."""
        is_new = bucket not in self._fronts and last_slot(bucket) > self.checked_ms
        if is_new and not self.is_draining:
            start_ms = max(self.checked_ms, first_slot(bucket) - 1)
            self._fronts[bucket] = Position(start_ms, LAST_ID)
            self._active[self] = None

    def is_reading(self, bucket: int) -> bool:
        return bucket in self._fronts

    def next_read(self, horizon_ms: int) -> tuple[int, Position] | None:
        """Return the oldest bucket with slots up to `horizon_ms` unread, and how far it is read."""
        for bucket in sorted(self._fronts):
            front = self._fronts[bucket]
            if front.slot_ms < min(horizon_ms, last_slot(bucket)) or (
                front.schedule_id != LAST_ID and front.slot_ms <= horizon_ms
            ):
                return bucket, front
        return None

    def set_front(self, bucket: int, front: Position) -> None:
        """Everything in `bucket` up to `front` was read."""
        if bucket in self._fronts:
            self._fronts[bucket] = front

    def sealable_ms(self, limit_ms: int) -> int:
        """Return the highest slot up to `limit_ms` that may be sealed: all of it was read already.

        An instance without rows is sealed a whole minute at a time: marks of idle instances cost a
        write each, and nobody waits for them.
        """
        if not self._fronts:
            return last_slot(bucket_of(limit_ms) - 1)
        for bucket in sorted(self._fronts):
            front = self._fronts[bucket]
            read_ms = front.slot_ms if front.schedule_id == LAST_ID else front.slot_ms - 1
            if read_ms < last_slot(bucket):
                return min(limit_ms, read_ms)
        return limit_ms

    def take(self, row: Position) -> bool:
        """Note a row that was read; return False if it was known."""
        if row in self._seen or row in self._open:
            return False
        self._seen.add(row)
        self._open.add(row)
        return True

    def is_open(self, row: Position) -> bool:
        return row in self._open

    def unseen(self, rows: list[Position]) -> Iterator[Position]:
        """Yield the rows that no read of this term has returned yet."""
        return (row for row in rows if row not in self._seen and row not in self._open)

    def close(self, row: Position) -> None:
        """The row's outcome, or its later filing, is durable."""
        self._open.discard(row)

    def set_checked(self, slot_ms: int) -> None:
        """The final read up to `slot_ms` is done; what it needed can be forgotten."""
        self.checked_ms = max(self.checked_ms, slot_ms)
        self._seen = {row for row in self._seen if row.slot_ms > self.checked_ms}
        self._fronts = {
            bucket: front for bucket, front in self._fronts.items() if last_slot(bucket) > self.checked_ms
        }
        if not self._fronts:
            self._active.pop(self, None)

    def stop(self) -> None:
        """Start nothing new: on the way to another owner, or lost."""
        self.is_draining = True
        self._active.pop(self, None)

    def settleable_ms(self) -> int:
        """Return the slot up to which every row has a durable outcome or a later slot."""
        if not self._open:
            return self.checked_ms
        return min(self.checked_ms, min(self._open).slot_ms - 1)

    @property
    def is_settled(self) -> bool:
        """Whether `settled` is published as far as it can be."""
        return self.settled_ms >= self.settleable_ms()

    def begin_work(self) -> None:
        """A delivery of this instance is in flight, or done and not recorded yet."""
        self._busy += 1
        self._quiet.clear()

    def end_work(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._quiet.set()

    async def wait_quiet(self) -> None:
        """Return when nothing is in flight or unrecorded."""
        await self._quiet.wait()
