"""HTTP from the tool: to the health endpoints of nodes, and to the API for what only ingest may do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import orjson

from ringtime_shared.errors import InvalidRequest

MAX_BYTES = 16 << 20  #: of one answer; fronts of 100,000 busy poller instances are a tenth of it
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, if anything did."""

    status: int | None  #: None: no answer; `error` says why
    body: Mapping[str, Any] = field(default_factory=dict)  #: empty unless it was a JSON object
    error: str = ""
    asked_ms: int  #: wall clock of this machine, before and after
    answered_ms: int


async def get_all(urls: Sequence[str], *, timeout_s: float) -> list[Answer]:
    """Ask all side by side, each with this deadline for every step; no order of failing ends the others."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=min(len(urls), _AT_ONCE) or 1) as pool:
        calls = [loop.run_in_executor(pool, _call, "GET", url, None, timeout_s) for url in urls]
        return list(await asyncio.gather(*calls))


async def post(url: str, body: object, *, timeout_s: float) -> Answer:
    """Send JSON."""
    return await asyncio.to_thread(_call, "POST", url, orjson.dumps(body), timeout_s)


def check_url(option: str, url: str) -> str:
    """Return `url` without a slash at its end. Raises InvalidRequest, which names the option."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest.of(option, "must be a URL like http://127.0.0.1:8080/goscheduler")
    return url.rstrip("/")


def _call(method: str, url: str, body: bytes | None, timeout_s: float) -> Answer:
    asked_ms = _now_ms()
    try:
        status, text = _exchange(method, url, body, timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        why = str(error) or type(error).__name__
        return Answer(status=None, error=why, asked_ms=asked_ms, answered_ms=_now_ms())
    answered_ms = _now_ms()
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        read = None
    found = read if isinstance(read, dict) else {}
    return Answer(status=status, body=found, asked_ms=asked_ms, answered_ms=answered_ms)


def _exchange(method: str, url: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BYTES)
    finally:
        connection.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
