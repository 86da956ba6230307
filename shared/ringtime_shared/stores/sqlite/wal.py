"""What a write-ahead log holds, and what SQLite would leave out of it.

When a database is opened after a crash, SQLite takes the log's frames up to the first that is not what it
should be, and drops all that follow without a word. Behind a torn write at the end that is right: it was
never acknowledged. Behind a damaged frame in the middle there are transactions that were. This reads the log
as SQLite does (https://www.sqlite.org/fileformat2.html#walformat), changes nothing, and tells the two apart:
a transaction is begun only when the one before is on the disk, so at most one can be unfinished.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = 0x377F0682  # its lowest bit tells the byte order of the checksums
_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_MASK = 0xFFFF_FFFF

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WalReport:
    """What was found in a log."""

    kept: int = 0  #: transactions that SQLite takes
    dropped: int = 0  #: transactions of the same log behind the first damaged frame
    broken_frame: int | None = None  #: the number of that frame, from 1; None: none is damaged
    is_header_broken: bool = False  #: SQLite drops all of it; whether it was in the database is not said here

    @property
    def has_lost(self) -> bool:
        """Whether it surely lost transactions that were on the disk; one alone may be an unfinished write."""
        return self.dropped > 1


def inspect_wal(path: Path) -> WalReport:
    """Read the log; one that is not there holds nothing. Takes some 60 ms a MiB. Raises OSError."""
    try:
        with path.open("rb") as file:
            return _inspect(file)
    except FileNotFoundError:
        return WalReport()


def _inspect(file: BinaryIO) -> WalReport:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return WalReport(is_header_broken=bool(head.strip(b"\0")))
    magic, _, page_bytes, _, *salts, sum0, sum1 = _HEADER.unpack(head)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _checksum(head[:24], (0, 0), order) != (sum0, sum1):
        return WalReport(is_header_broken=True)
    sums: Sums = (sum0, sum1)
    kept = dropped = number = 0
    stopped: int | None = None  # the first frame that SQLite does not take
    is_broken = False  # and it is none left over from before the log was begun anew
    while len(frame := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
        number += 1
        page, pages_at_end, *frame_salts, sum0, sum1 = _FRAME.unpack_from(frame)
        is_ours = frame_salts == salts
        if stopped is None:
            sums = _checksum(frame[_FRAME.size :], _checksum(frame[:8], sums, order), order)
            if not is_ours or page == 0 or sums != (sum0, sum1):
                stopped = number
        if stopped is not None:
            is_broken |= is_ours
            dropped += is_ours and pages_at_end > 0
        else:
            kept += pages_at_end > 0
    return WalReport(kept, dropped, stopped if is_broken else None)


def _checksum(content: bytes, sums: Sums, order: str) -> Sums:
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    first, second = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = first + even + second & _MASK
        second = second + odd + first & _MASK
    return first, second
