"""Parts: how a minute's index is cut, so that a node reads little beside what is its own; changed online.

A poller instance has a *group*, a number below `GROUPS` that never changes. With a part count P, a power of
two, a group's entries of the index, and its arrivals, are filed in part `group % P`. So a part of P parts is
made of whole parts of 2 P, and the ring, which seats the members of a group together, decides who reads what.

The *part map* says which count new entries are filed under, and which other one is read too while that is
being changed. It is one record of the store, changed by whoever carries a change out
(`ringtime_ringctl.parts`), one version at a time. Processes hold a copy of it, read now and then.

Invariant
---------
An entry that was acknowledged is in a part that every complete read of its minute's index from then on reads.

Rules
-----
1. *Change.* Each step is one conditional write on the map's version. Who takes the next one waits first,
   longer than `MAP_AGE_MS`, on a clock of its own, from when it read the map as the last step left it.

       stable      P is written, P is read
       reading     P is written, P and Q are read
       writing     Q is written, P and Q are read
       copying     the same; entries of P that are not in Q are filed in Q, too
       stable      Q is written, Q is read

   Before `writing` a change is given up by going back; from there on, by changing from Q to P.
2. *Write.* An entry is filed under the count that is written in the map held. When it is durable, the map
   held must be young: its reading began no longer than `MAP_AGE_MS` ago. Else the map is read again, and if
   another count is written in it, the entry is filed again under that one; and so on. Only then is it
   acknowledged.
3. *Read.* All counts that are read in the map held are read. When the answers are there, the map must be
   young. Else the map is read again, and if its version is another one, the index is read again, too.

Ages are counted on each process's own clock that counts suspension. No agreement of clocks takes part.

Proof sketch
------------
*From `reading` to `writing`.* A read that left Q out held a map from before `reading` was durable, and ended
less than `MAP_AGE_MS` after the beginning of that reading, so before `writing` was made, and so before any
entry was filed under Q. (Or it read the map again afterwards and found the same version: then nothing had
changed up to there.)

*From `writing` to `stable`.* An entry filed under P that is acknowledged without being filed again was
durable less than `MAP_AGE_MS` after the beginning of a reading that had P written, and that reading began
before `writing` was durable. The copy begins later than that, so it sees the entry and files it in Q. An
entry that was durable in P only later is filed in Q before it is acknowledged. It must not matter that P is
still read then: the copy may have passed. So once the copy is done, Q has every acknowledged entry, and P
need not be read.

*Copies of the map that are newer than others do no harm*: readers of `reading`, `writing` and `copying` read
both counts, and writers of either count write what is read.

| what happens | what follows |
|---|---|
| who carries out a change is killed, at any step | all goes on with the map as it is; another goes on |
| it sleeps, and wakes with a step in hand | its write names a version that is gone: refused |
| a writer sleeps between map and write, or after it | the map is read again, the entry is filed again |
| a writer dies before the answer | its row may have no entry that is read: it was never acknowledged |
| a reader sleeps over a change | its answer is thrown away and the index is read again |
| the map cannot be read, and is too old | reads: StoreUnavailable; writes that are done: OutcomeUnknown |
| the copy files an entry that is there already | it is one entry; the one that lasts longer stays |
| entries of P stay where they were | they are not read there any more, or left out, until they expire |
| a clock runs a tenth too fast or too slow | the wait is longer than the age by more than that |
| a process of a version that does not know the map | not safe: it reads one count for ever. End those first |
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable

T = TypeVar("T")

GROUPS = (
    1 << 17
)  #: and the most parts there can be; in stored keys, so never fewer, nor is `group_of` to change
MOST_NAMED = GROUPS // 16  #: groups of one reader that has more are not told apart: it reads all parts
FIRST_COUNT = 4  #: of a deployment that nobody has changed
MAP_AGE_MS = 10_000  #: how old a part map may be when what was done by it is done
REFRESH_MS = MAP_AGE_MS // 2  #: a map in use is read again when it is older
CHANGE_WAIT_MS = 12_000  #: between two steps of a change; more than `MAP_AGE_MS`, as clocks differ in rate


def group_of(instance: str) -> int:
    """Return the group of a poller instance, "app.partition"."""
    # A CRC is linear: names that count up fall on few of its residues. Its last 12 bits are what entries of
    # older versions were filed by; the rest of the group is mixed from all of it.
    number = zlib.crc32(instance.encode())
    return number % 4_096 | (number * 0x9E3779B1 & 0xFFFFFFFF) >> 27 << 12


def part_of(group: int, count: int) -> int:
    """Return the part that a group is filed in."""
    return group % count


def parts_of(groups: Collection[int] | None, counts: Collection[int]) -> list[int]:
    """Return the parts that these groups are filed in under any of `counts`, in order; None: all groups.

    All parts for more than `MOST_NAMED`: this is asked at every tick.
    """
    if groups is None or len(groups) > MOST_NAMED:
        return list(range(max(counts)))
    parts: set[int] = set()
    for count in counts:
        found: set[int] = set()
        for group in groups:
            found.add(group % count)
            if len(found) == count:  # as a rule after a few of many
                break
        parts |= found
    return sorted(parts)


def is_part_count(count: int) -> bool:
    """Whether a minute's index can be cut into so many parts."""
    return 1 <= count <= GROUPS and not count & (count - 1)


class Phase(StrEnum):
    """What a change of the part count has come to."""

    READING = "reading"  #: the new count is read, too
    WRITING = "writing"  #: the new count is written
    COPYING = "copying"  #: entries of the old count are being filed under the new one


@dataclass(frozen=True, slots=True)
class PartChange:
    """A change that is under way."""

    other: int  #: the count that is read beside the one that is written
    phase: Phase
    operator: str
    begun_ms: int
    cursor: str | None = (
        None  #: the copy has come so far, in words of the store's own; None: at the beginning
    )


@dataclass(frozen=True, slots=True)
class PartMap:
    """How many parts a minute's index has."""

    written: int = FIRST_COUNT  #: new entries are filed under this count
    version: int = 0
    change: PartChange | None = None

    @property
    def read(self) -> tuple[int, ...]:
        """The counts under which entries are to be looked for, first the one that is written."""
        return (self.written,) if self.change is None else (self.written, self.change.other)


class CopyPage(NamedTuple):
    """What a copy came to."""

    cursor: str | None  #: go on after this one; None: that was the last
    share: float  #: of all that is to be looked at, in [0, 1]
    copied: int  #: entries filed


class _Reading(NamedTuple):
    map: PartMap
    began_ms: int  #: boot time before the map was asked for


class HeldParts:
    """The part map as one process holds it, and the rules of reading and writing by it. One a process.

    Costs a read of one row each `REFRESH_MS` while it is in use, beside what is being done; none else.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[PartMap]], boot_ms: Callable[[], int], first: PartMap
    ) -> None:
        """`first`: a map of any age."""
        self._fetch = fetch
        self._boot_ms = boot_ms
        self._held = _Reading(first, boot_ms() - MAP_AGE_MS - 1)
        self._reread: asyncio.Task[_Reading] | None = None

    async def write(self, write: Callable[[int], Awaitable[None]]) -> None:
        """File entries: `write` is given the count, and called again with another if it has changed.

        Raises what `write` does, and OutcomeUnknown when it cannot be told whether the entries are read.
        """
        used = self._use()
        await write(used.map.written)
        try:
            while (proven := await self._prove(used)).map.written != used.map.written:
                used = proven
                await write(used.map.written)
        except StoreUnavailable as error:  # the first write is in the store
            raise OutcomeUnknown(f"written, and perhaps not to be found: {error}") from error

    async def read(self, read: Callable[[tuple[int, ...]], Awaitable[T]]) -> T:
        """Return what `read` does: it is given the counts, and called again if the map has changed.

        Raises what `read` does, and StoreUnavailable.
        """
        used = self._use()
        found = await read(used.map.read)
        while (proven := await self._prove(used)).map.version != used.map.version:
            used = proven
            found = await read(used.map.read)
        return found

    def counts(self) -> tuple[int, ...]:
        """Return the counts that are read, first the one that is written, by a map of any age: for what is
        not to be relied on."""
        return self._use().map.read

    async def close(self) -> None:
        """End what is under way."""
        if self._reread is not None:
            self._reread.cancel()
            await asyncio.wait([self._reread])

    def _use(self) -> _Reading:
        """Return the map held; if it grows old, begin to read it again meanwhile."""
        if self._boot_ms() - self._held.began_ms > REFRESH_MS:
            self._begin()
        return self._held

    async def _prove(self, used: _Reading) -> _Reading:
        """Return `used` if it is young, else a younger reading."""
        while self._boot_ms() - used.began_ms > MAP_AGE_MS:
            if self._boot_ms() - self._held.began_ms <= MAP_AGE_MS:
                return self._held
            await asyncio.shield(self._begin())
        return used

    def _begin(self) -> asyncio.Task[_Reading]:
        if self._reread is None or self._reread.done():
            self._reread = asyncio.create_task(self._read_map(), name="part map")
            self._reread.add_done_callback(_look_at)
        return self._reread

    async def _read_map(self) -> _Reading:
        began_ms = self._boot_ms()
        reading = _Reading(await self._fetch(), began_ms)
        if reading.map.version >= self._held.map.version:
            self._held = reading
        return reading


def _look_at(reread: asyncio.Task[_Reading]) -> None:
    """A failure is nobody's concern while the map held is young; who needs a younger one tries again."""
    if not reread.cancelled():
        reread.exception()
