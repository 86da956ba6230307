"""Schedule ids: the key finds the row.

An id is a UUID version 8 (RFC 9562) whose 122 free bits say where its home row is filed, so a read by
id is one primary-key read, with no second index:

    slot, ms since 2020 (42) | kind (2) | partition (16) | app number (20) | nonce (18) | counter (24)

The free bits are laid around the version and variant bits in order, so ids of one kind sort by slot.

Uniqueness. No two live processes hold the same nonce, nonces are given out in rising order (so one
comes round again only after 2**18 process starts), and a process counts up for every id it makes and
takes a new nonce before the counter wraps. Two ids therefore differ in nonce or in counter.

A store that went back in time, or is there twice, gives nonces out that others have had: it was restored from
a backup, or copied. So whoever restores it, or finds it elsewhere than it was, passes over a random number of
nonces, `LEAST_PASSED` at least: what was backed up may have been started as often since, and no id is made
twice. Two copies of one store pass over numbers of their own, and meet in one of 2**17 starts; and because a
process begins to count at random, they differ in the counter then, unless they made ids by the million.
"""

from __future__ import annotations

import secrets
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID, SafeUUID

EPOCH_2020_MS = 1_577_836_800_000
SLOT_BITS, KIND_BITS, PARTITION_BITS, APP_BITS, NONCE_BITS, COUNTER_BITS = 42, 2, 16, 20, 18, 24
MAX_SLOT_MS = EPOCH_2020_MS + (1 << SLOT_BITS) - 1  #: 2159-05-15
MAX_PARTITIONS = 1 << PARTITION_BITS
MAX_APPS = 1 << APP_BITS
MAX_NONCES = 1 << NONCE_BITS
MAX_COUNT = 1 << COUNTER_BITS
LEAST_PASSED = 1 << 14  #: nonces

#: how ids are written: one spelling of the many that a UUID may have
UUID_PATTERN = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

#: Names of the module, as members of enums and types take longer to be found than all else here takes.
_new, _set, _IS_SAFE = object.__new__, object.__setattr__, SafeUUID.unknown

_LOW62 = (1 << 62) - 1
_SLOT_MASK = (1 << SLOT_BITS) - 1
_REST_BITS = NONCE_BITS + COUNTER_BITS
_REST_MASK = (1 << _REST_BITS) - 1
_VERSION = 8 << 76
_VARIANT = 2 << 62


class Kind(IntEnum):
    """What an id names."""

    ONE_TIME = 0  #: a schedule asked for by a client
    RUN = 1  #: one occurrence of a recurring schedule, or a hook: what the service files by itself
    RECURRING = 2  #: a recurring schedule itself


_KINDS = tuple(Kind)


class IdParts(NamedTuple):
    """What an id says."""

    slot_ms: int  #: the slot of the home row, UTC ms
    kind: Kind
    partition: int
    app_number: int
    nonce: int
    counter: int


def pack_id(parts: IdParts) -> UUID:
    """Return the id that carries `parts`.

    Raises:
        ValueError: a part does not fit its bits; the message names it.
    """
    value = 0
    for name, number, bits in (
        ("slot_ms", parts.slot_ms - EPOCH_2020_MS, SLOT_BITS),
        ("kind", parts.kind, KIND_BITS),
        ("partition", parts.partition, PARTITION_BITS),
        ("app_number", parts.app_number, APP_BITS),
        ("nonce", parts.nonce, NONCE_BITS),
        ("counter", parts.counter, COUNTER_BITS),
    ):
        if not 0 <= number < 1 << bits:
            raise ValueError(f"{name} does not fit {bits} bits: {number}")
        value = value << bits | number
    return _dress(value)


def unpack_id(schedule_id: UUID) -> IdParts:
    """Return what `schedule_id` says.

    Raises:
        ValueError: not a Ringtime id (another UUID version or variant, or a kind never given out).
    """
    number = schedule_id.int
    if number >> 76 & 0xF != 8 or number >> 62 & 3 != 2:
        raise ValueError(f"not a schedule id: {schedule_id}")
    value = (number >> 80) << 74 | (number >> 64 & 0xFFF) << 62 | number & _LOW62
    kind = value >> 78 & 3
    if kind >= len(_KINDS):
        raise ValueError(f"{kind} is not a valid Kind")
    return IdParts(
        (value >> 80) + EPOCH_2020_MS,
        _KINDS[kind],
        value >> 62 & 0xFFFF,
        value >> 42 & 0xFFFFF,
        value >> 24 & 0x3FFFF,
        value & 0xFFFFFF,
    )


def home_of(schedule_id: UUID) -> tuple[int, int, int] | None:
    """Return slot and partition of the home row of `schedule_id`, and the number of its app, in a third of
    the time that `unpack_id` takes; None where that raises."""
    number = schedule_id.int
    if number >> 76 & 0xF != 8 or number >> 62 & 3 != 2 or number >> 84 & 3 >= len(_KINDS):
        return None
    partition = number >> 68 & 0xF000 | number >> 64 & 0xFFF
    return (number >> 86) + EPOCH_2020_MS, partition, number >> NONCE_BITS + COUNTER_BITS & MAX_APPS - 1


def home_slot(schedule_id: UUID) -> int:
    """Return the slot of the home row of `schedule_id`, without the checks of `unpack_id`."""
    return (schedule_id.int >> 86) + EPOCH_2020_MS


def to_uuid(number: int) -> UUID:
    """Return `UUID(int=number)`, of 128 bits, in a fourth of the time: its constructor looks at every other
    way to make one first, and one is made for each id that is given out or read."""
    made = _new(UUID)
    _set(made, "int", number)
    _set(made, "is_safe", _IS_SAFE)
    return made


def is_ours(schedule_id: UUID) -> bool:
    """Whether it has the form of the ids that are given out here."""
    number = schedule_id.int
    return number >> 76 & 0xF == 8 and number >> 62 & 3 == 2


def has_kind(schedule_id: UUID, kind: Kind) -> bool:
    """Whether it is an id of ours that names this, without making its parts."""
    number = schedule_id.int
    return number >> 84 & 3 == kind and number >> 76 & 0xF == 8 and number >> 62 & 3 == 2


def app_number_of(schedule_id: UUID) -> int:
    """Return the app number in `schedule_id`, without the checks of `unpack_id`."""
    return schedule_id.int >> NONCE_BITS + COUNTER_BITS & MAX_APPS - 1


def partition_of(schedule_id: UUID) -> int:
    """Return the partition of the home row of `schedule_id`, without the checks of `unpack_id`."""
    number = schedule_id.int
    return (number >> 80 & 0xF) << 12 | number >> 64 & 0xFFF


class IdMint:
    """Makes the ids of one process."""

    def __init__(self, nonce: int, first: int = 0) -> None:
        """`first`: where to begin to count."""
        if not 0 <= nonce < MAX_NONCES:
            raise ValueError(f"nonce does not fit {NONCE_BITS} bits: {nonce}")
        self.nonce = nonce
        self._counter = first

    @property
    def left(self) -> int:
        """How many ids this nonce is still good for; with none left, a new one is due."""
        return MAX_COUNT - self._counter

    def mint(self, *, slot_ms: int, kind: Kind, partition: int, app_number: int) -> UUID:
        """Return a new id for a home row at `slot_ms` in `partition` of the app.

        Raises:
            ValueError: the mint is spent, or the slot lies outside 2020 to 2159.
        """
        counter = self._counter
        offset_ms = slot_ms - EPOCH_2020_MS
        if counter >= MAX_COUNT or not 0 <= offset_ms < 1 << SLOT_BITS:
            raise ValueError(f"cannot make an id: {counter=}, {slot_ms=}")
        self._counter = counter + 1
        head = (offset_ms << KIND_BITS | kind) << PARTITION_BITS | partition
        return _dress(((head << APP_BITS | app_number) << NONCE_BITS | self.nonce) << COUNTER_BITS | counter)


def id_from(rest: int, *, offset_ms: int, kind: Kind, partition: int, app_number: int) -> UUID:
    """Return an id that follows from what it is of; of each number, the bits there is room for.

    Args:
        rest: a hash, in place of what a mint would give out.
        offset_ms: from the first slot there is to that of the home row.
    """
    value = offset_ms & _SLOT_MASK
    value = value << KIND_BITS | kind
    value = value << PARTITION_BITS | partition & MAX_PARTITIONS - 1
    value = value << APP_BITS | app_number & MAX_APPS - 1
    return _dress(value << _REST_BITS | rest & _REST_MASK)


def nonces_to_pass() -> int:
    """Return how many nonces to pass over where a store went back in time, or is a copy."""
    return LEAST_PASSED + secrets.randbelow(MAX_NONCES - 2 * LEAST_PASSED)


def random_first() -> int:
    """Return where an `IdMint` may begin to count: half of the counter is left at least."""
    return secrets.randbelow(MAX_COUNT // 2)


def _dress(value: int) -> UUID:
    """Lay 122 bits around the version and variant bits."""
    return to_uuid((value >> 74) << 80 | _VERSION | (value >> 62 & 0xFFF) << 64 | _VARIANT | value & _LOW62)
