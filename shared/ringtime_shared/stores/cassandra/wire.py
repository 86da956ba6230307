"""Values of a statement as they go over the wire, each with its length before it.

Most are packed at one go where they are known: to pack fourteen values of a row one by one, and to put their
lengths between them, costs three times as much. To the driver, and to tests, it is a sequence of values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import overload

_unpack_int = Struct(">i").unpack_from


class Wire(Sequence[bytes | None]):
    """So many values, packed."""

    __slots__ = ("packed", "size")

    def __init__(self, size: int, packed: bytes) -> None:
        self.size = size
        self.packed = packed

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes | None]:
        packed, position = self.packed, 0
        for _ in range(self.size):
            (length,) = _unpack_int(packed, position)
            position += 4
            if length < 0:
                yield None
            else:
                yield packed[position : position + length]
                position += length

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes | None]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes | None] | None:
        return tuple(self)[index]
