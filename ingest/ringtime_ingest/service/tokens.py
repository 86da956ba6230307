"""Continuation tokens of lists: where a page ended; and what is wrong with the range of one.

A token is opaque to clients and worth nothing to forgers: it names a place in what its app may read anyway.
The checksum is there to tell mistakes. It holds no state of a server, so it outlives restarts and resizes.
"""

from __future__ import annotations

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from struct import Struct
from typing import Protocol
from uuid import UUID

from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.stores.protocol import Position

_PLACE = Struct(">q16s")  #: of a token: slot and schedule id
_CHECKED = Struct(">q16sI")  #: and the checksum, which is also of the app id
CONTINUATION_PATTERN = "[A-Za-z0-9_-]{38}"
_FORM = re.compile(CONTINUATION_PATTERN)
_DAY_MS = 86_400_000
_NOT_OURS = "must be the continuation token of an earlier answer for the same app"


def encode_token(app_id: str, position: Position) -> str:
    """Return the token that goes on after `position`."""
    place = _PLACE.pack(position.slot_ms, position.schedule_id.bytes)
    token = place + zlib.crc32(app_id.encode(), zlib.crc32(place)).to_bytes(4, "big")
    return urlsafe_b64encode(token).decode().rstrip("=")


def decode_token(app_id: str, token: str) -> Position:
    """Return where `token` goes on.

    Raises:
        ValueError: it is no token of this app; the message is the rule.
    """
    if not _FORM.fullmatch(token):
        raise ValueError(_NOT_OURS)
    slot_ms, schedule_id, _ = _CHECKED.unpack(urlsafe_b64decode(token + "=="))
    position = Position(slot_ms, UUID(bytes=schedule_id))
    if encode_token(app_id, position) != token:
        raise ValueError(_NOT_OURS)
    return position


def read_token(app_id: str, token: str, last_ms: int, *, name: str, end: str) -> Position:
    """Return where the token of a list up to slot `last_ms` goes on. Raises InvalidRequest.

    Args:
        name: of the field that holds the token, as the caller spelled it.
        end: of the one that holds the end of the range.
    """
    try:
        position = decode_token(app_id, token)
    except ValueError as error:
        raise InvalidRequest.of(name, str(error)) from None
    if position.slot_ms > last_ms:
        raise InvalidRequest.of(name, f"goes on after {end}")
    return position


class RangeNames(Protocol):
    """What the fields of a range are called where the caller spelled them."""

    @property
    def start(self) -> str: ...
    @property
    def end(self) -> str: ...
    @property
    def size(self) -> str: ...


def range_faults(
    start_ms: int,
    end_ms: int,
    size: int,
    names: RangeNames,
    *,
    ends_now: bool,
    most_days: int,
    most_size: int,
) -> list[Violation]:
    """Return what is wrong with a range of time, both ends included, and the size of its pages.

    Args:
        ends_now: the caller left the end out.
    """
    faults = []
    if start_ms > end_ms:
        until = "now" if ends_now else names.end
        faults.append(Violation(names.start, f"must not be after {until}"))
    elif end_ms - start_ms > most_days * _DAY_MS:
        rule = f"must be at most {most_days} days before {names.end}, which is now if left out"
        faults.append(Violation(names.start, rule))
    if not 1 <= size <= most_size:
        faults.append(Violation(names.size, f"must be from 1 to {most_size}"))
    return faults
