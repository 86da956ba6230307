"""Reads one answer of HTTP/1.1, leniently. Pure: bytes go in, what they mean comes out.

The status line decides the outcome of an attempt. What follows it is read for two things only: how long the
receiver wants to be left alone, and whether the next request can go over the same connection. So whatever is
odd after the status line (folded or malformed headers, a body that is cut short or never ends) costs the
connection and nothing else. Two readings of one answer can therefore do no harm: a connection is used again
only after an answer that leaves no doubt where it ended.

Everything is bounded, whatever a receiver sends: bytes and lines before the body, interim answers (1xx),
bytes of the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

HEAD_BYTES = 64 * 1024  #: read until the body begins, interim answers included
HEAD_LINES = 1_000  #: and so many lines
INTERIM_ANSWERS = 32  #: 1xx before the final answer
BODY_BYTES = 16 * 1024  #: read of a body, its chunk sizes included
MOST_RETRY_AFTER_S = 366 * 86_400  #: a longer wait is taken for this one

_SWITCHING = 101  #: final: nothing follows it that is HTTP
_BODILESS = frozenset([204, 304])
_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([1-9][0-9]{2})(?![0-9])")
_READ = frozenset([b"connection", b"content-length", b"keep-alive", b"retry-after", b"transfer-encoding"])
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
_SECONDS = re.compile(rb"[0-9]+")
_IDLE_S = re.compile(rb"timeout=([0-9]{1,5})(?![0-9])")
_DATE_BYTES = 64  #: more than any form of a date takes
_NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})
_NOWHERE = -1
_USUAL_BYTES = 1_024  #: heads up to here are remembered: a receiver sends the same one over and over


class Head(NamedTuple):
    """What comes before the body of a final answer, interim answers included."""

    size: int  #: bytes
    status: int
    fields: Mapping[bytes, bytes]  #: those of interest
    is_clear: bool  #: nothing about it leaves room for two readings
    length: int | None  #: of the body, if it is announced
    is_chunked: bool
    idle_s: int | None  #: that the receiver says it keeps an idle connection


class AnswerReader:
    """One answer, fed as it comes.

    Args:
        is_head: the request's method was HEAD, whose answer has no body whatever it announces.
    """

    __slots__ = ("_at", "_data", "_fields", "_head", "_is_head", "_reading", "fault", "is_complete", "status")

    _at: int  # of the body: what is before it has been understood

    def __init__(self, *, is_head: bool = False) -> None:
        self.status: int | None = None  #: of the final answer, as soon as its first line is there
        self.fault = ""  #: why there is no status and never will be
        self.is_complete = False  #: the answer ended where it said, and nothing came after it
        self._is_head = is_head
        self._data = bytearray()
        self._head: Head | None = None
        self._reading: _HeadReader | None = None  # of a head that is not there as a whole, or is unusual
        self._fields: Mapping[bytes, bytes] = _NO_FIELDS

    def feed(self, data: bytes) -> bool:
        """Take what came. Return True when no more is wanted: the answer is over, or a bound is."""
        if self._head is not None:
            self._data += data
            return self._read_body(self._head)
        if not self._data:
            end = data.find(b"\r\n\r\n", 0, _USUAL_BYTES)
            known = None if end < 0 else _read_usual(data[: end + 4])
            if known is not None:
                self._data += data
                return self._begin_body(known)
        self._data += data
        reading = self._reading
        if reading is None:
            reading = self._reading = _HeadReader(self._data)
            self._fields = reading.fields
        head = reading.read()
        if head is not None:
            return self._begin_body(head)
        self.status, self.fault = reading.status, reading.fault
        return reading.is_over

    def end(self) -> None:
        """Nothing more will come. A first line that broke off after its status still counts."""
        if self.status is None and self._reading is not None:
            self.status = self._reading.broken_off()

    def retry_after_ms(self, now_ms: int) -> int | None:
        """Return how long the receiver asked to be left alone; None if it did not, or not in words of HTTP.

        Args:
            now_ms: wall time, which a date is compared with.
        """
        text = self._fields.get(b"retry-after", b"")
        if _SECONDS.fullmatch(text):
            seconds = text.lstrip(b"0")
            # Its length is looked at first: Python refuses to read a number of thousands of digits.
            is_sane = len(seconds) <= len(str(MOST_RETRY_AFTER_S))
            return min(int(seconds or b"0") if is_sane else MOST_RETRY_AFTER_S, MOST_RETRY_AFTER_S) * 1_000
        if not text or len(text) > _DATE_BYTES or not text.isascii():
            return None
        try:
            at_s = parsedate_to_datetime(text.decode("ascii")).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            return None
        return min(max(int(at_s * 1_000) - now_ms, 0), MOST_RETRY_AFTER_S * 1_000)

    def idle_s(self) -> int | None:
        """Return how long the receiver says it keeps an idle connection, if it says so."""
        return None if self._head is None else self._head.idle_s

    def _begin_body(self, head: Head) -> bool:
        self._head, self.status, self._fields, self._at = head, head.status, head.fields, head.size
        if head.length is None and not head.is_chunked and not self._is_head:
            return True  # until the connection ends, or nobody knows: nothing is gained by waiting for it
        return self._read_body(head)

    def _read_body(self, head: Head) -> bool:
        size = len(self._data)
        if self._is_head:
            end: int | None = head.size
        elif head.length is None:
            end = self._chunks_end()
        else:
            end = head.size + head.length
            end = None if end > size else end
        is_within = size - head.size <= BODY_BYTES
        if end is None:
            return not is_within
        self.is_complete = head.is_clear and is_within and end == size
        return True

    def _chunks_end(self) -> int | None:
        """Return where the last chunk and the trailers end; None if that is not there yet, `_NOWHERE` if
        these are no chunks."""
        data = self._data
        while True:
            end = data.find(b"\r\n", self._at)
            if end < 0:
                return None
            digits = _CHUNK_SIZE.fullmatch(data, self._at, end)
            if digits is None:
                return _NOWHERE
            size = int(digits[1], 16)
            if size == 0:
                if data[end + 2 : end + 4] == b"\r\n":
                    return end + 4
                trailers_end = data.find(b"\r\n\r\n", end + 2)
                return None if trailers_end < 0 else trailers_end + 4
            after = end + 2 + size + 2
            if after > len(data):
                return None
            if data[after - 2 : after] != b"\r\n":
                return _NOWHERE
            self._at = after


class _HeadReader:
    """Reads the lines before a body, from data that grows."""

    __slots__ = (
        "_at",
        "_data",
        "_interim",
        "_is_clear",
        "_is_interim",
        "_last",
        "_lines",
        "_scanned",
        "fault",
        "fields",
        "is_over",
        "status",
    )

    def __init__(self, data: bytearray) -> None:
        self.status: int | None = None
        self.fault = ""
        self.is_over = False  #: no head will come of it
        self.fields: dict[bytes, bytes] = {}
        self._data = data
        self._at = 0  # what is before it has been understood
        self._scanned = 0  # what is before it holds no end of a line
        self._lines = 0
        self._interim = 0
        self._is_interim = False  # the head under way is of an interim answer
        self._is_clear = True
        self._last = b""

    def read(self) -> Head | None:
        """Return the head; None: it is not there yet, or `is_over`."""
        data = self._data
        while True:
            end = data.find(b"\n", self._scanned)
            if end < 0 or end >= HEAD_BYTES or self._lines >= HEAD_LINES:
                self._scanned = len(data)
                if end >= 0 or len(data) >= HEAD_BYTES:
                    self._give_up("no final answer within 64 KiB and 1,000 lines")
                return None
            line = bytes(data[self._at : end])
            self._at = self._scanned = end + 1
            self._lines += 1
            if line[-1:] == b"\r":
                line = line[:-1]
            else:
                self._is_clear = False
            if self.status is None and not self._is_interim:
                if line and not self._begin(line):
                    return None
            elif line:
                self._note(line)
            elif self._is_interim:
                self._is_interim = False
                self.fields.clear()
            elif self.status is not None:
                return self._end(self.status)

    def broken_off(self) -> int | None:
        """Return the status of a first line that nothing more came of."""
        if self.fault or self._is_interim:
            return None
        line = _STATUS_LINE.match(self._data, self._at)
        return None if line is None or _is_interim(int(line[2])) else int(line[2])

    def _begin(self, line: bytes) -> bool:
        """Read the first line of an answer. Return False if there is none to come."""
        parts = _STATUS_LINE.match(line)
        if parts is None:
            return self._give_up("the answer is not HTTP/1.1")
        self._last = b""
        status = int(parts[2])
        if _is_interim(status):
            self._is_interim = True
            self._interim += 1
            return self._interim <= INTERIM_ANSWERS or self._give_up(
                f"more than {INTERIM_ANSWERS} interim answers"
            )
        self.status = status
        self._is_clear = self._is_clear and parts[1] == b"1.1" and status != _SWITCHING
        return True

    def _note(self, line: bytes) -> None:
        """Keep a header that is of interest; see whether the line is one at all."""
        if line[0] in b" \t":  # folded: it goes on with the header before
            self._is_clear = False
            if self._last:
                self.fields[self._last] = (self.fields[self._last] + b" " + line).strip(b" \t")
            return
        written, colon, value = line.partition(b":")
        name = written.rstrip(b" \t").lower()
        if not colon or len(name) != len(written):
            self._is_clear = False
        self._last = name if name in _READ else b""
        if self._last:
            value = value.strip(b" \t")
            before = self.fields.get(name)
            self.fields[name] = value if before is None else before + b", " + value

    def _end(self, status: int) -> Head:
        fields = self.fields
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        kept = _IDLE_S.search(fields.get(b"keep-alive", b"").lower())
        announced, is_chunked = None, False
        if status in _BODILESS:
            announced = 0
        elif coding is None and length is not None and _LENGTH.fullmatch(length):
            announced = int(length)
        elif coding is not None and coding.lower() == b"chunked" and length is None:
            is_chunked = True
        return Head(
            size=self._at,
            status=status,
            fields=fields,
            is_clear=self._is_clear and b"close" not in fields.get(b"connection", b"").lower(),
            length=announced,
            is_chunked=is_chunked,
            idle_s=int(kept[1]) if kept else None,
        )

    def _give_up(self, fault: str) -> bool:
        """End reading; returns False. What the status line said stands."""
        self.is_over = True
        if self.status is None:
            self.fault = fault
        return False


def _is_interim(status: int) -> bool:
    return status < 200 and status != _SWITCHING


@lru_cache(maxsize=1_024)
def _read_usual(head: bytes) -> Head | None:
    """Return what this says; None: it is not the whole head of a final answer."""
    known = _HeadReader(bytearray(head)).read()
    return known if known is not None and known.size == len(head) else None
