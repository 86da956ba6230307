"""Reading a request body: bounded in bytes and in time, counted as it arrives, chunked or not."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from ringtime_ingest.strict_json import Unreadable
from ringtime_shared.errors import RingtimeError

_OTHER_CHARSET = re.compile(rb"charset\s*+=\s*+\"?+(?!utf-?8\b)", re.IGNORECASE)


class BodyTooLarge(RingtimeError):
    """The body is longer than the server reads."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"the body must be at most {most_bytes} bytes")


class BodyTooSlow(RingtimeError):
    """The body did not arrive in time."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body must arrive within {deadline_s:g} s")


async def read_body(scope: Scope, receive: Receive, most_bytes: int, deadline_s: float) -> bytes:
    """Return the whole body. Raises BodyTooLarge, BodyTooSlow, Unreadable, ClientDisconnect."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # the server has checked that it is a number, and gives no more bytes than it says
            if len(value) > 18 or int(value) > most_bytes:
                raise BodyTooLarge(most_bytes)
        elif name == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
            raise Unreadable.of("Content-Encoding", "must be left out: send the body uncompressed")
        elif name == b"content-type" and _OTHER_CHARSET.search(value):
            raise Unreadable.of("Content-Type", "the charset must be utf-8")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > most_bytes:
                    raise BodyTooLarge(most_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunk if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise BodyTooSlow(deadline_s) from None
