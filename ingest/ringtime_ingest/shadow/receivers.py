"""Passing a call of goscheduler's on to its receiver: one request on a connection of its own.

What holds of callbacks holds here (`ringtime_shared.callbacks`): the host is looked up now, every address it
has must be one that callbacks may reach, and one of those that were checked is connected to. Redirects are
not followed: where to look for the receiver is told to goscheduler, which follows them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin

from ringtime_ingest.shadow.places import Places
from ringtime_shared.callbacks.address_rules import Address
from ringtime_shared.callbacks.egress_policy import NOT_ALLOWED, EgressPolicy
from ringtime_shared.callbacks.http_rules import METHODS, header_fault
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.callbacks.url_rules import DEFAULT_PORTS, MAX_URL_CHARS, Target, parse_target, url_fault
from ringtime_shared.certificates import client_context, fault_text
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.process.descriptors import is_shortage
from ringtime_shared.settings import Settings
from ringtime_shared.shadow.tickets import TapTicket

_MOST_ADDRESSES = 3
_MOST_HEAD_BYTES = 64 * 1024
_MOST_INTERIM = 32
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: |\r?\n)")
_RESOURCE = re.compile(r"[/?]")


class Received(NamedTuple):
    """What a receiver answered."""

    code: int | None = None  #: None: nothing
    error: str = ""  #: why not
    location: str = ""  #: where else to look, as an absolute URL


class Receivers:
    """Calls receivers. Raises StartupError for certificates that cannot be read."""

    def __init__(self, settings: Settings, *, loopback: bool = False) -> None:
        """`loopback`: development mode: this machine may be called on any port."""
        self._policy = EgressPolicy.of(settings.egress, loopback=loopback)
        self._names = Resolver(settings.egress)
        self._trust = client_context(settings.callbacks.ca_file, purpose="callbacks")
        if settings.callbacks.ca_file:
            self._trust.load_default_certs()
        self._timeout_s = settings.shadow.receiver_timeout_ms / 1_000
        self._places = Places(settings.shadow.most_passed)

    async def send(self, ticket: TapTicket, app_id: str, body: bytes) -> Received:
        """Send what goscheduler sent to where the ticket says. Raises StoreUnavailable if this process has as
        many under way as it may, or as the app may."""
        if self._places.are_full(app_id):
            raise StoreUnavailable("too many calls are being passed on; try again")
        try:
            with self._places.one(app_id):
                async with asyncio.timeout(self._timeout_s):
                    return await self._send(ticket, app_id, body)
        except TimeoutError:
            return Received(error=f"no answer within {self._timeout_s:g} s")
        except OSError as error:
            if is_shortage(error):
                raise StoreUnavailable("this process is short of descriptors or memory") from error
            return Received(error=fault_text(error))

    async def _send(self, ticket: TapTicket, app_id: str, body: bytes) -> Received:
        target = parse_target(ticket.url)
        if target is None or url_fault(ticket.url) or ticket.method not in METHODS:
            return Received(error="the request cannot be made from these details")
        if self._policy.refuses(target):
            return Received(error=NOT_ALLOWED)
        addresses: Sequence[Address | None] = (target.address,)
        if target.address is None:
            addresses = await self._names.resolve(target.host, app_id=app_id, timeout_s=self._timeout_s)
            if not addresses:
                return Received(error="could not resolve the host")
            if not self._policy.allows(target, addresses):
                return Received(error=NOT_ALLOWED)
        reader, writer = await self._connect(target, addresses)
        try:
            writer.write(request_bytes(ticket, target, body))
            await writer.drain()
            return await _read(reader, ticket.url)
        finally:
            writer.transport.abort()

    async def _connect(
        self, target: Target, addresses: Sequence[Address | None]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        failure: OSError = OSError("no address")
        for address in [each for each in addresses if each is not None][:_MOST_ADDRESSES]:
            try:
                if target.scheme == "https":
                    return await asyncio.open_connection(
                        str(address),
                        target.port,
                        ssl=self._trust,
                        server_hostname=target.host,
                        limit=_MOST_HEAD_BYTES,
                    )
                return await asyncio.open_connection(str(address), target.port, limit=_MOST_HEAD_BYTES)
            except OSError as error:
                failure = error
        raise failure


def request_bytes(ticket: TapTicket, target: Target, body: bytes) -> bytes:
    """Return the request: goscheduler's, but for the id, which is the one that the client was given."""
    rest = ticket.url[ticket.url.index("://") + 3 :]
    begin = _RESOURCE.search(rest)
    resource = rest[begin.start() :] if begin else ""
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != DEFAULT_PORTS[target.scheme]:
        host = f"{host}:{target.port}"
    given = {name: value for name, value in ticket.headers.items() if header_fault(name, value) is None}
    lines = [
        f"{ticket.method} {resource if resource.startswith('/') else f'/{resource}'} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in given.items()),
    ]
    if "content-type" not in {name.lower() for name in given}:
        lines.append("Content-Type: application/json")
    lines += (
        f"Content-Length: {len(body)}",
        f"Schedule-Id: {ticket.schedule_id}",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii") + body


async def _read(reader: asyncio.StreamReader, url: str) -> Received:
    """Read the head of the answer; what follows it is of no use to goscheduler."""
    size = 0
    for _ in range(_MOST_INTERIM):
        line = await _line(reader)
        size += len(line)
        status = _STATUS.match(line)
        if status is None:
            return Received(error="the answer is not HTTP/1.1" if line else "the connection broke")
        code, location = int(status[1]), ""
        while (line := await _line(reader)).strip():
            size += len(line)
            if size > _MOST_HEAD_BYTES:
                return Received(code=code)
            name, _, value = line.partition(b":")
            if name.lower() == b"location":
                location = _absolute(url, value.strip())
        if code >= 200 or code == 101:
            return Received(code=code, location=location)
    return Received(error="no final answer")


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line; what there was of it if the connection ended, or it is too long."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return b""


def _absolute(url: str, location: bytes) -> str:
    try:
        found = urljoin(url, location.decode("ascii"))
    except ValueError:
        return ""
    return found if found.isprintable() and len(found) <= MAX_URL_CHARS else ""
