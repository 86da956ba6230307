"""Reading request bodies: each bounded in bytes and in time, all together bounded in bytes.

Counted as it arrives, chunked or not, so that what a sender holds here is never more than it has sent.
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from ringtime_ingest.http.strict_json import Unreadable
from ringtime_shared.errors import RingtimeError
from ringtime_shared.settings import ServerSettings

_OTHER_CHARSET = re.compile(rb"charset\s*+=\s*+\"?+(?!utf-?8\b)", re.IGNORECASE)


class BodyTooLarge(RingtimeError):
    """The body is longer than the server reads."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"the body must be at most {most_bytes} bytes")


class BodyTooSlow(RingtimeError):
    """The body did not arrive in time."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body must arrive within {deadline_s:g} s")


class TooMuchAtOnce(RingtimeError):
    """The bodies that are arriving take all the memory there is for them."""

    def __init__(self) -> None:
        super().__init__("too many bytes of requests at once; try again")


class BodyReader:
    """Reads the bodies of one server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._most_bytes = settings.max_body_bytes
        self._deadline_s = settings.read_deadline_s
        self._free_bytes = settings.max_reading_bytes

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body.

        Raises BodyTooLarge, BodyTooSlow, TooMuchAtOnce, Unreadable, ClientDisconnect.
        """
        _check_headers(scope, self._most_bytes)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    self._free_bytes -= len(chunk)
                    if size > self._most_bytes:
                        raise BodyTooLarge(self._most_bytes)
                    if self._free_bytes < 0:
                        raise TooMuchAtOnce
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return chunk if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:
            raise BodyTooSlow(self._deadline_s) from None
        finally:
            self._free_bytes += size


def _check_headers(scope: Scope, most_bytes: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            # the server has checked that it is a number, and gives no more bytes than it says
            if len(value) > 18 or int(value) > most_bytes:
                raise BodyTooLarge(most_bytes)
        elif name == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
            raise Unreadable.of("Content-Encoding", "must be left out: send the body uncompressed")
        elif name == b"content-type" and _OTHER_CHARSET.search(value):
            raise Unreadable.of("Content-Type", "the charset must be utf-8")
