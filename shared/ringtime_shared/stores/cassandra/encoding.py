"""CQL values as bytes. What is written per row is serialised here and not by the driver."""

from __future__ import annotations

from struct import Struct

pack_int = Struct(">i").pack
pack_long = Struct(">q").pack
_pack_short = Struct(">H").pack
_pack_pair = Struct(">iiiq").pack  # each value of a tuple has its length before it


def pack_tuple(first: int, second: int) -> bytes:
    """Return a value of type tuple<int, bigint>."""
    return _pack_pair(4, first, 8, second)


def routing_key(*parts: bytes) -> bytes:
    """Return the key of a partition whose key has several columns, as it is hashed."""
    return b"".join(_pack_short(len(part)) + part + b"\0" for part in parts)
