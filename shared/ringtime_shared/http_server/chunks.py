"""A body that comes in chunks, put together as it arrives. Pure, and bounded in all that a sender chooses."""

from __future__ import annotations

import re

from ringtime_shared.http_server.heads import Refusal

_MOST_LINE_BYTES = 1_024
_MOST_EXTRA_BYTES = 8_192  #: extensions of chunks and trailers, which nobody reads
_FREE_CHUNKS = 1_024
_MEAN_BYTES = 64  #: chunks may be smaller than this on average only while they are few

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?")
_NOT_CHUNKS = Refusal.of(400, "body", "must be chunks: a hexadecimal size, CRLF, so many bytes, CRLF")


def too_large(most_bytes: int) -> Refusal:
    """Return the refusal of a body that is longer than the server reads."""
    return Refusal.of(413, "body", f"the body must be at most {most_bytes} bytes")


class Chunks:
    """The body of one request."""

    def __init__(self, most_bytes: int) -> None:
        self.body = bytearray()
        self._most_bytes = most_bytes
        self._chunks_left = _FREE_CHUNKS + most_bytes // _MEAN_BYTES
        self._extra_bytes = 0
        self._left = 0  # of the present chunk, without its CRLF
        self._is_inside = False  # a chunk, or before its CRLF
        self._is_over = False  # the last chunk was seen: trailers follow

    def take(self, arrived: bytearray) -> bool | Refusal:
        """Take off the front of `arrived` what belongs to the body; return whether the body is complete."""
        while True:
            if self._is_inside:
                size = min(self._left, len(arrived))
                self.body += arrived[:size]
                del arrived[:size]
                self._left -= size
                if self._left or len(arrived) < 2:
                    return False
                if not arrived.startswith(b"\r\n"):
                    return _NOT_CHUNKS
                del arrived[:2]
                self._is_inside = False
            end = arrived.find(b"\r\n", 0, _MOST_LINE_BYTES)
            if end < 0:
                return _NOT_CHUNKS if len(arrived) >= _MOST_LINE_BYTES else False
            line = bytes(arrived[:end])
            del arrived[: end + 2]
            if self._is_over and not line:
                return True
            refusal = self._pass_over(line) if self._is_over else self._begin(line)
            if refusal is not None:
                return refusal

    def _begin(self, line: bytes) -> Refusal | None:
        size = _SIZE.fullmatch(line)
        self._chunks_left -= 1
        if size is None or self._chunks_left < 0:
            return _NOT_CHUNKS
        self._left = int(size[1], 16)
        if len(self.body) + self._left > self._most_bytes:
            return too_large(self._most_bytes)
        self._is_over = not self._left
        self._is_inside = not self._is_over
        return self._pass_over(line[len(size[1]) :])

    def _pass_over(self, extra: bytes) -> Refusal | None:
        self._extra_bytes += len(extra)
        if self._extra_bytes > _MOST_EXTRA_BYTES:
            rule = f"extensions of chunks and trailers must be at most {_MOST_EXTRA_BYTES} bytes"
            return Refusal.of(431, "body", rule)
        return None
