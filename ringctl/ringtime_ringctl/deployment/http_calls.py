"""HTTP from the tool: to the health endpoints of nodes, and to the API for what only ingest may do.

Requests go through the transport of `ringtime_client`, which also says whether one that failed went out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from ringtime_client.certificates import Certificates, find_certificates
from ringtime_client.exchange import Broken, Ending
from ringtime_client.transport import AsyncTransport
from ringtime_ringctl.deployment.context import Context
from ringtime_shared.api.audit import REASON, REQUEST_ID
from ringtime_shared.auditing import CAUSE
from ringtime_shared.errors import InvalidRequest

_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, if anything did."""

    status: int | None  #: None: no answer; `error` says why
    body: Mapping[str, Any] = field(default_factory=dict)  #: empty unless it was a JSON object
    error: str = ""
    is_sent: bool = True  #: the request may have arrived, whether there was an answer or not
    asked_ms: int  #: wall clock of this machine, before and after
    answered_ms: int


async def get_all(urls: Sequence[str], *, timeout_s: float) -> list[Answer]:
    """Ask all side by side, each with this deadline; no order of failing ends the others."""
    transport = AsyncTransport(timedelta(seconds=timeout_s), certificates=_certificates())
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def ask(url: str) -> Answer:
        async with at_once:
            return await _call(transport, "GET", url, None, timeout_s)

    try:
        return list(await asyncio.gather(*map(ask, urls)))
    finally:
        await transport.close()


async def send(
    method: str, url: str, body: object, *, timeout_s: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a request, with JSON unless `body` is None, and with what is noted of the change it is for."""
    transport = AsyncTransport(timedelta(seconds=timeout_s), {**_noted(), **(headers or {})}, _certificates())
    sent = None if body is None else orjson.dumps(body)
    try:
        return await _call(transport, method, url, sent, timeout_s)
    finally:
        await transport.close()


def _noted() -> Mapping[str, str]:
    """Return the headers from which the API writes its own audit entries."""
    cause = CAUSE.get()
    given = {} if cause is None else {REQUEST_ID: cause.request_id, REASON: cause.reason}
    return {name: value for name, value in given.items() if value}


def check_url(option: str, url: str) -> str:
    """Return `url` without a slash at its end. Raises InvalidRequest, which names the option."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest.of(option, "must be a URL like http://127.0.0.1:8080/goscheduler")
    return url.rstrip("/")


def _certificates() -> Certificates:
    """Return those of the command that runs. Raises InvalidRequest."""
    command = click.get_current_context(silent=True)
    context = Context() if command is None else command.ensure_object(Context)
    return find_certificates(context.ca_file, environ=context.environ)


async def _call(
    transport: AsyncTransport, method: str, url: str, body: bytes | None, timeout_s: float
) -> Answer:
    asked_ms = _now_ms()
    ending: Ending
    try:
        ending = await transport.send(method, url, body, timeout_s)
    except ValueError as error:  # a node may have told an address that is none
        ending = Broken(reason=f"{url} cannot be asked: {error}", sent=False)
    answered_ms = _now_ms()
    if isinstance(ending, Broken):
        return Answer(
            status=None,
            error=ending.reason,
            is_sent=ending.sent,
            asked_ms=asked_ms,
            answered_ms=answered_ms,
        )
    try:
        shown = orjson.loads(ending.body)
    except orjson.JSONDecodeError:
        shown = None
    read = shown if isinstance(shown, dict) else {}
    return Answer(status=ending.http, body=read, asked_ms=asked_ms, answered_ms=answered_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
