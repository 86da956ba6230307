"""HTTP callbacks: one request an attempt, to an address that was checked for it.

The body is the payload, for every method, as the seed sends it. Redirects are answers, not followed;
proxies and netrc of the environment are ignored; an answer is read up to 16 KiB and the piece that passes
them, as it came off the wire, never unpacked.

Each attempt asks what the host's name means now, refuses the target unless every address is allowed, and
connects to one of the addresses it checked. Nothing is left to be looked up in between, so a name that
means one thing to the check and another to the connection gains nothing.

| answer | outcome of the attempt |
|---|---|
| 2xx | success |
| 410 | failure, and trying again is of no use |
| any other status | failure, tried again by policy; `Retry-After` in seconds is honoured |
| none: no such host, refused, reset, timed out | failure, tried again by policy |
| none: the target is not allowed | failure, and trying again is of no use |
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from pyreqwest.client import Client
from pyreqwest.exceptions import (
    BuilderError,
    PyreqwestError,
    RequestTimeoutError,
    TransportError,
)
from pyreqwest.http import Url
from pyreqwest.response import Response

from ringtime_dispatcher.callbacks.http_clients import PinnedClients
from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_shared.callbacks.address_rules import Address, parse_address
from ringtime_shared.callbacks.egress_policy import NOT_ALLOWED, EgressPolicy
from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.callbacks.targets import Target, parse_target
from ringtime_shared.clock import Clock, SystemClock

_ANSWER_BYTES = 16 * 1024
_MOST_ADDRESSES = 3  #: tried in one attempt
_MOST_FAILED = 1_024  #: hosts of which a failed address is remembered
_GONE = 410
_UNUSABLE = Reply(ok=False, error="the request cannot be made from these details", is_final=True)
_BLOCKED = Reply(ok=False, error=NOT_ALLOWED, is_final=True)
_UNRESOLVED = Reply(ok=False, error="could not resolve the host")


class HttpCallback(HttpRules, CallbackType):
    """The `http` callback type.

    Args:
        max_connections: requests under way at once to one host.
        clock: dates signatures; None: the machine's.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        resolver: Resolver,
        *,
        max_connections: int = 500,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(policy, resolver)
        self._names = resolver
        self._clock = clock or SystemClock()
        self._clients = PinnedClients(max_connections=max_connections)
        self._failed: dict[str, Address] = {}  # by host, where an attempt got no answer last

    def destination(self, details: Mapping[str, object]) -> str:
        """Return scheme, host and port: what is down together."""
        target = parse_target(str(details.get("url")))
        return target.origin if target else self.name

    async def invoke(self, delivery: Delivery) -> Reply:
        """Send once and read the answer; names, connecting and all else within the delivery's timeout."""
        until_s = asyncio.get_running_loop().time() + delivery.timeout_ms / 1_000
        read = _read_url(str(delivery.details.get("url")))
        if read is None:
            return _UNUSABLE
        url, target = read
        if self._is_refused(target):  # an address in the URL has been judged with that
            return _BLOCKED
        addresses: tuple[Address | None, ...] = (target.address,)
        if target.address is None:
            addresses = await self._names.resolve(
                target.host, app_id=delivery.schedule.app_id, timeout_s=delivery.timeout_ms / 1_000
            )
            if not addresses:
                return _UNRESOLVED
            if not self._policy.allows(target, addresses):
                return _BLOCKED
        for address in self._in_order(target.host, addresses):
            try:
                client = await self._clients.fetch(target, address, until_s=until_s)
            except TimeoutError:
                return _no_answer(delivery)
            reply = await _send(client, url, delivery, until_s, self._clock.now_ms() // 1_000)
            if (reply is None or reply.code is None) and len(addresses) > 1:
                self._note_failed(target.host, address)
            if reply is not None:
                return reply
        return Reply(ok=False, error="could not connect")

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._clients.close()

    def _in_order(self, host: str, addresses: Iterable[Address | None]) -> list[Address]:
        """Return the few to try; the one that failed last comes last."""
        usable = [address for address in addresses if address is not None]
        if len(usable) > 1:
            failed = self._failed.get(host)
            usable.sort(key=lambda address: address == failed)
        return usable[:_MOST_ADDRESSES]

    def _note_failed(self, host: str, address: Address) -> None:
        if len(self._failed) >= _MOST_FAILED:
            self._failed.clear()
        self._failed[host] = address


async def _send(client: Client, url: Url, delivery: Delivery, until_s: float, now_s: int) -> Reply | None:
    """Make one request, signed as of `now_s`. None: could not connect, so nothing was sent."""
    left_s = until_s - asyncio.get_running_loop().time()
    if left_s <= 0:
        return _no_answer(delivery)
    details = delivery.details
    given = details.get("headers") or {}
    try:
        request = (
            client.request(str(details["method"]), url)
            .headers(_headers(given if isinstance(given, Mapping) else {}, delivery, now_s))
            .body_text(delivery.schedule.payload)
            .timeout(timedelta(seconds=left_s))
            .streamed_read_buffer_limit(_ANSWER_BYTES)  # so much is read before the block is entered
        )
        async with request.build_streamed() as response:
            return _reply(response)
    except TransportError as error:
        # The client's own class is no proof that nothing was sent; only this cause is.
        if any("(Connect)" in str(cause) for cause in (error.details or {}).get("causes") or ()):
            return None
        if isinstance(error, RequestTimeoutError):
            return _no_answer(delivery)
        return Reply(ok=False, error="the connection broke")
    except BuilderError:
        return _UNUSABLE
    except PyreqwestError as error:
        return Reply(ok=False, error=f"the request failed: {type(error).__name__}")


def _no_answer(delivery: Delivery) -> Reply:
    return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")


@lru_cache(maxsize=1_024)
def _read_url(text: str) -> tuple[Url, Target] | None:
    """Return the URL as the client reads it and as the check does; None unless both read it alike."""
    target = parse_target(text)
    try:
        url = Url(text)
    except ValueError:
        return None
    host = url.host_str or ""
    if target is None or (url.scheme, url.port_or_known_default) != (target.scheme, target.port):
        return None
    same = (
        host == target.host if target.address is None else parse_address(host.strip("[]")) == target.address
    )
    return (url, target) if same else None


def _headers(given: Mapping[str, str], delivery: Delivery, now_s: int) -> dict[str, str]:
    schedule = delivery.schedule
    headers = {"content-type": "application/json"}
    headers.update((name.lower(), value) for name, value in given.items())
    fire_time = datetime.fromtimestamp(schedule.fire_ms / 1000, UTC).isoformat(timespec="milliseconds")
    headers["schedule-id"] = str(schedule.schedule_id)
    headers["ringtime-attempt"] = str(delivery.attempt)
    headers["ringtime-fire-time"] = fire_time.replace("+00:00", "Z")
    headers["ringtime-term"] = str(delivery.term)
    return headers | signature_headers(delivery, schedule.payload, now_s)


def _reply(response: Response) -> Reply:
    status = response.status
    if 200 <= status < 300:
        return Reply(ok=True, code=status)
    retry_after = response.get_header("retry-after") or ""
    return Reply(
        ok=False,
        code=status,
        error=f"answered {status}",
        is_final=status == _GONE,
        retry_after_ms=int(retry_after) * 1000 if retry_after.isascii() and retry_after.isdigit() else None,
    )
