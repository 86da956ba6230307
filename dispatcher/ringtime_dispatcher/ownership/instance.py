"""What a node keeps in memory of a poller instance it owns.

A node may own a hundred thousand that never had a row, so what only rows need is there only while there are
rows: see `_Rows`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress

from ringtime_dispatcher.ownership.minute import Minute
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.parts import GROUPS, MOST_NAMED, group_of
from ringtime_shared.stores.protocol import LAST_ID, IdPage, Marks, Position


class _Rows:
    """What an instance knows while it has rows, or work on rows under way."""

    __slots__ = ("busy", "minutes", "open", "quiet", "seen")

    def __init__(self) -> None:
        self.minutes: dict[int, Minute] = {}  # bucket with rows -> how far it is read
        self.seen: set[Position] = set()  # rows read, above `checked_ms`
        self.open: set[Position] = set()  # rows read, without a durable outcome; above `checked_ms` all seen
        self.busy = 0  # deliveries in flight or not recorded
        self.quiet = asyncio.Event()
        self.quiet.set()

    @property
    def is_empty(self) -> bool:
        return not (self.minutes or self.seen or self.open or self.busy)


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
        return self._rows is not None and bool(self._rows.minutes)

    @property
    def rows_seen(self) -> int:
        """How many rows above `checked_ms` were read."""
        return 0 if self._rows is None else len(self._rows.seen)

    def open_bucket(self, bucket: int) -> None:
        """Begin to read a bucket that the index shows rows in; no effect the second time."""
        is_new = not self.is_reading(bucket) and last_slot(bucket) > self.checked_ms
        if is_new and not self.is_draining:
            self._with_rows().minutes[bucket] = Minute(bucket, self.checked_ms)

    def is_reading(self, bucket: int) -> bool:
        return self._rows is not None and bucket in self._rows.minutes

    def buckets(self) -> list[int]:
        """Return the buckets that are being read, oldest first."""
        return [] if self._rows is None else sorted(self._rows.minutes)

    @property
    def oldest_bucket(self) -> int | None:
        """The oldest of the buckets that are being read."""
        return min(self._rows.minutes) if self._rows is not None and self._rows.minutes else None

    def minute(self, bucket: int) -> Minute | None:
        """Return how far a bucket is read; None: it is not being read."""
        return None if self._rows is None else self._rows.minutes.get(bucket)

    def next_ms(self) -> int | None:
        """Return the oldest slot that is to be read, as far as slots are known; None: there is none."""
        for bucket in self.buckets():
            next_ms = self._with_rows().minutes[bucket].next_ms()
            if next_ms is not None:
                return next_ms
        return None

    def slots_ahead(self) -> Iterator[int]:
        """Yield the slots that rows not read yet are known at, one for each."""
        for minute in () if self._rows is None else self._rows.minutes.values():
            yield from minute.slots_ahead()

    def sure_ahead(self) -> Iterator[int]:
        """Yield those of them at which something is sent for sure, as far as that is known."""
        for minute in () if self._rows is None else self._rows.minutes.values():
            yield from minute.sure_ahead()

    def next_read(self, horizon_ms: int) -> tuple[int, Position] | None:
        """Return the bucket with the oldest slot that is to be read, and how far that bucket is read; None:
        there is no such slot up to `horizon_ms`."""
        next_ms = self.next_ms()
        if next_ms is None or next_ms > horizon_ms:
            return None
        bucket = bucket_of(next_ms)
        return bucket, self._with_rows().minutes[bucket].front

    def rows_expected(self, bucket: int, upto_ms: int, unknown: int) -> int | None:
        """Return how many rows to ask for in one page; see `Minute`."""
        minute = self.minute(bucket)
        return None if minute is None else minute.rows_expected(upto_ms, unknown)

    def set_front(self, bucket: int, front: Position, rows: int = 0) -> None:
        """Everything in `bucket` up to `front` was read, so many rows."""
        minute = self.minute(bucket)
        if minute is not None:
            minute.set_front(front, rows)

    def look_from(self, bucket: int) -> Position:
        """Return from where on the positions of a bucket that is being read are not known."""
        return self._with_rows().minutes[bucket].look_from()

    def learn(self, bucket: int, page: IdPage) -> None:
        """A look at the positions of `bucket` found these."""
        minute = self.minute(bucket)
        if minute is not None:
            minute.learn(page.ids, page.next)

    def expect(self, slots: Sequence[int], *, is_first: bool) -> tuple[int, int] | None:
        """Rows were filed at these slots of one bucket; return from where to where they were read past
        already, both included, None if they were not.

        Args:
            is_first: there were none in this bucket before, unless it is being read.
        """
        bucket = bucket_of(slots[0])
        is_new = not self.is_reading(bucket)
        self.open_bucket(bucket)
        minute = self.minute(bucket)
        if minute is None:
            return None  # all of it was finally read; whoever filed them files them again
        if is_new and is_first:
            minute.learn((), None)
        minute.expect(slots)
        passed = [slot_ms for slot_ms in slots if self.checked_ms < slot_ms <= minute.front.slot_ms]
        return (passed[0], passed[-1]) if passed else None

    def forget(self) -> None:
        """Rows may have been filed that nobody told of: know nothing of what is to come."""
        if self._rows is not None:
            for minute in self._rows.minutes.values():
                minute.forget()

    def sealable_ms(self, limit_ms: int) -> int:
        """Return the highest slot up to `limit_ms` that may be sealed: nothing up to there is to be read.

        An instance without rows is sealed a whole minute at a time: marks of idle instances cost a
        write each, and nobody waits for them.
        """
        if not self.has_rows:
            return last_slot(bucket_of(limit_ms) - 1)
        next_ms = self.next_ms()
        return limit_ms if next_ms is None else min(limit_ms, next_ms - 1)

    def without_rows_ms(self, limit_ms: int) -> int:
        """Return the highest slot up to `limit_ms` that lies before the first bucket with rows."""
        oldest = self.oldest_bucket
        return limit_ms if oldest is None else min(limit_ms, first_slot(oldest) - 1)

    def take(self, row: Position) -> bool:
        """Note a row that was read; return False if it was known: it was read before, or lies under what was
        finally read, as one may that an earlier read returns late."""
        if row.slot_ms <= self.checked_ms:
            return False
        rows = self._with_rows()
        seen = rows.seen
        count = len(seen)
        seen.add(row)  # and no look before: hashing a position costs more than all else here
        if len(seen) == count:
            return False
        rows.open.add(row)
        return True

    def is_open(self, row: Position) -> bool:
        return self._rows is not None and row in self._rows.open

    @property
    def has_open_rows(self) -> bool:
        """Whether some row that was read has no durable outcome yet."""
        return self._rows is not None and bool(self._rows.open)

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
        rows.minutes = {
            bucket: minute for bucket, minute in rows.minutes.items() if last_slot(bucket) > self.checked_ms
        }
        for minute in rows.minutes.values():
            minute.set_front(Position(self.checked_ms, LAST_ID))
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

    def oldest_ms(self) -> int | None:
        """Return the oldest slot whose row has no durable outcome yet, as far as slots are known; None: there
        is none."""
        rows = self._rows
        if rows is None:
            return None
        next_ms = self.next_ms()
        if not rows.open:
            return next_ms
        open_ms = min(rows.open).slot_ms
        return open_ms if next_ms is None else min(open_ms, next_ms)

    @property
    def is_settled(self) -> bool:
        """Whether `settled` is published as far as it can be."""
        return self.settled_ms >= self.settleable_ms()

    @property
    def is_restless(self) -> bool:
        """Whether `settled` is to follow: something that was finally read is not published as settled yet."""
        return self.settled_ms < self.checked_ms

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
        self.indexed: int | None = (
            None  #: the last bucket whose index was read for those owned; None: none yet
        )
        self._owned: dict[Instance, OwnedInstance] = {}
        self._with_rows: dict[OwnedInstance, None] = {}  # and some that had rows; ordered, unlike a set
        self._changed: dict[OwnedInstance, None] = {}  # since this was last asked
        self._members = array("I", bytes(4 * GROUPS))  # by group, how many are owned
        self._group_count = 0  # groups that have some
        self._present: set[int] | None = set()  # those, while they are few
        self._groups: frozenset[int] | None = None  # the same, until they change

    @property
    def owned(self) -> Mapping[Instance, OwnedInstance]:
        """All of them, by name."""
        return self._owned

    @property
    def groups(self) -> frozenset[int] | None:
        """The groups of all of them, as the store is asked for them; None: more than are told apart."""
        if self._group_count > MOST_NAMED:
            return None
        if self._present is None:  # they were many
            self._present = set(compress(range(GROUPS), self._members))
        if self._groups is None:
            self._groups = frozenset(self._present)
        return self._groups

    def add(self, owned: OwnedInstance) -> None:
        if owned.instance not in self._owned:
            group = group_of(str(owned.instance))
            self._members[group] += 1
            if self._members[group] == 1:
                self._group_count += 1
                self._groups = None
                if self._group_count > MOST_NAMED:
                    self._present = None
                elif self._present is not None:
                    self._present.add(group)
        self._owned[owned.instance] = owned

    def remove(self, instance: Instance) -> None:
        """Own it no more: what is in flight ends, nothing new is begun."""
        self._owned.pop(instance).stop()
        group = group_of(str(instance))
        self._members[group] -= 1
        if not self._members[group]:
            self._group_count -= 1
            self._groups = None
            if self._present is not None:
                self._present.discard(group)

    def open_bucket(self, owned: OwnedInstance, bucket: int) -> None:
        """Begin to read a bucket that the index shows rows of this instance in."""
        owned.open_bucket(bucket)
        self._note(owned)

    def expect(self, owned: OwnedInstance, slots: Sequence[int]) -> tuple[int, int] | None:
        """Rows of this instance were filed at these slots of one bucket; see `OwnedInstance.expect`."""
        is_indexed = self.indexed is not None and bucket_of(slots[0]) <= self.indexed
        is_first = is_indexed and owned.is_walked
        passed = owned.expect(slots, is_first=is_first)
        self._note(owned)
        return passed

    def end_walk(self, owned: OwnedInstance) -> None:
        """The buckets between `settled` and what is indexed are known."""
        owned.is_walked = True
        self._note(owned)

    def forget(self) -> None:
        """Rows may have been filed that nobody told of."""
        for owned in self.active():
            owned.forget()
            self._note(owned)

    def take_changed(self) -> list[OwnedInstance]:
        """Return those that may have something new to read since this was last asked."""
        changed, self._changed = self._changed, {}
        return list(changed)

    def active(self) -> list[OwnedInstance]:
        """Return those that have rows to read, without a look at the others: there may be 100,000."""
        active = [each for each in self._with_rows if each.has_rows and not each.is_draining]
        if len(active) < len(self._with_rows):
            self._with_rows = dict.fromkeys(active)
        return active

    def slots_ahead(self) -> Iterator[int]:
        """Yield the slots ahead of all of them, as far as they are known."""
        for owned in self.active():
            yield from owned.slots_ahead()

    def sure_ahead(self) -> Iterator[int]:
        """Yield those of them at which something is sent for sure, as far as that is known."""
        for owned in self.active():
            yield from owned.sure_ahead()

    def _note(self, owned: OwnedInstance) -> None:
        if owned.has_rows:
            self._with_rows[owned] = None
            self._changed[owned] = None
