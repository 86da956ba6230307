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
from email.utils import parsedate_to_datetime
from functools import lru_cache

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
_USUAL_BYTES = 1_024  #: heads up to here are remembered: a receiver sends the same one over and over


class AnswerReader:
    """One answer, fed as it comes.

    Args:
        is_head: the request's method was HEAD, whose answer has no body whatever it announces.
    """

    __slots__ = (
        "_at",
        "_data",
        "_fields",
        "_interim",
        "_is_body",
        "_is_chunked",
        "_is_clear",
        "_is_head",
        "_is_interim",
        "_last",
        "_length",
        "_lines",
        "_scanned",
        "fault",
        "is_complete",
        "status",
    )

    def __init__(self, *, is_head: bool = False) -> None:
        self.status: int | None = None  #: of the final answer, as soon as its first line is there
        self.fault = ""  #: why there is no status and never will be
        self.is_complete = False  #: the answer ended where it said, and nothing came after it
        self._is_head = is_head
        self._data = bytearray()
        self._at = 0  # what is before it has been understood
        self._scanned = 0  # what is before it holds no end of a line
        self._lines = 0
        self._interim = 0
        self._is_interim = False  # the head under way is of an interim answer
        self._is_body = False
        self._is_clear = True  # nothing about the head leaves room for two readings
        self._is_chunked = False
        self._length: int | None = None
        self._fields: dict[bytes, bytes] = {}
        self._last = b""

    def feed(self, data: bytes) -> bool:
        """Take what came. Return True when no more is wanted: the answer is over, or a bound is."""
        if not self._data and not self._is_head:
            end = data.find(b"\r\n\r\n", 0, _USUAL_BYTES)
            known = None if end < 0 else _read_usual(data[: end + 4])
            if known is not None:
                return self._go_on_from(known, data)
        self._data += data
        return self._read_body() if self._is_body else self._read_head()

    def read_head(self, head: bytes) -> bool:
        """Read what comes before a body, and nothing else; return whether it was that, all of it."""
        self._data += head
        self._read_head()
        return self._is_body and self._scanned == len(head)

    def _go_on_from(self, known: AnswerReader, data: bytes) -> bool:
        """Take over what another reader made of the same head; `data` begins with it."""
        self._data += data
        self._is_body = True
        self._at = self._scanned = known._at
        self.status = known.status
        self._fields = known._fields  # noted in heads alone: nobody changes them any more
        self._is_clear, self._is_chunked, self._length = known._is_clear, known._is_chunked, known._length
        return (self._length is None and not self._is_chunked) or self._read_body()

    def end(self) -> None:
        """Nothing more will come. A first line that broke off after its status still counts."""
        if self.status is None and not self.fault and not self._is_interim:
            line = _STATUS_LINE.match(self._data, self._at)
            if line is not None and not _is_interim(int(line[2])):
                self.status = int(line[2])

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
        timeout = _IDLE_S.search(self._fields.get(b"keep-alive", b"").lower())
        return int(timeout[1]) if timeout else None

    def _read_head(self) -> bool:
        data = self._data
        while not self._is_body:
            end = data.find(b"\n", self._scanned)
            if end < 0 or end >= HEAD_BYTES or self._lines >= HEAD_LINES:
                self._scanned = len(data)
                if end < 0 and len(data) < HEAD_BYTES:
                    return False
                return self._give_up("no final answer within 64 KiB and 1,000 lines")
            line = bytes(data[self._at : end])
            self._at = self._scanned = end + 1
            self._lines += 1
            if line[-1:] == b"\r":
                line = line[:-1]
            else:
                self._is_clear = False
            if self.status is None and not self._is_interim:
                if line and not self._begin(line):
                    return True
            elif line:
                self._note(line)
            elif self._is_interim:
                self._is_interim = False
                self._fields.clear()
            else:
                return self._begin_body()
        return False

    def _begin(self, line: bytes) -> bool:
        """Read the first line of an answer. Return False if there is none to come."""
        parts = _STATUS_LINE.match(line)
        if parts is None:
            return not self._give_up("the answer is not HTTP/1.1")
        self._last = b""
        status = int(parts[2])
        if _is_interim(status):
            self._is_interim = True
            self._interim += 1
            return self._interim <= INTERIM_ANSWERS or not self._give_up(
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
                self._fields[self._last] = (self._fields[self._last] + b" " + line).strip(b" \t")
            return
        written, colon, value = line.partition(b":")
        name = written.rstrip(b" \t").lower()
        if not colon or len(name) != len(written):
            self._is_clear = False
        self._last = name if name in _READ else b""
        if self._last:
            value = value.strip(b" \t")
            before = self._fields.get(name)
            self._fields[name] = value if before is None else before + b", " + value

    def _begin_body(self) -> bool:
        self._is_body = True
        self._scanned = self._at
        coding, length = self._fields.get(b"transfer-encoding"), self._fields.get(b"content-length")
        if b"close" in self._fields.get(b"connection", b"").lower():
            self._is_clear = False
        if self._is_head or self.status in _BODILESS:
            self._length = 0
        elif coding is None and length is not None and _LENGTH.fullmatch(length):
            self._length = int(length)
        elif coding is not None and coding.lower() == b"chunked" and length is None:
            self._is_chunked = True
        else:  # until the connection ends, or nobody knows: nothing is gained by waiting for it
            self._is_clear = False
            return True
        return self._read_body()

    def _read_body(self) -> bool:
        end = self._chunks_end() if self._is_chunked else self._length_end()
        is_within = len(self._data) - self._scanned <= BODY_BYTES
        if end is None:
            return not is_within
        self.is_complete = self._is_clear and is_within and end == len(self._data)
        return True

    def _length_end(self) -> int | None:
        if self._length is None or self._at + self._length > len(self._data):
            return None
        return self._at + self._length

    def _chunks_end(self) -> int | None:
        """Return where the last chunk and the trailers end; None if that is not there yet."""
        data = self._data
        while True:
            end = data.find(b"\r\n", self._at)
            if end < 0:
                return None
            digits = _CHUNK_SIZE.fullmatch(data, self._at, end)
            if digits is None:
                self._is_clear = False
                return end
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
                self._is_clear = False
                return after
            self._at = after

    def _give_up(self, fault: str) -> bool:
        """End reading. What the status line said stands."""
        if self.status is None:
            self.fault = fault
        return True


def _is_interim(status: int) -> bool:
    return status < 200 and status != _SWITCHING


@lru_cache(maxsize=1_024)
def _read_usual(head: bytes) -> AnswerReader | None:
    """Return a reader that has read this head; None: it is not the whole head of a final answer."""
    reader = AnswerReader()
    return reader if reader.read_head(head) else None
