"""Sending a request and taking its answer; the one module that knows pyreqwest.

The class of a pyreqwest error does not tell whether the request went out: a connection that the server
cuts after it read the request is a ConnectError, and an answer that does not come is a
ConnectTimeoutError. The chain of causes does: hyper's `client error (Connect)` is in it only while there is
no connection yet. So that a host that swallows packets is found out by that too, connecting has a
deadline of its own, half of the whole.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import TypeVar

from pyreqwest.bytes import Bytes
from pyreqwest.client import ClientBuilder, SyncClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder, SyncRequestBuilder

from ringtime_client.certificates import Certificates, find_certificates
from ringtime_client.exchange import BASE, Answer, Broken, Ending
from ringtime_shared.errors import InvalidRequest

#: pyreqwest writes URLs anew: it takes dots out of paths, and `1.2.3` for an address. What it is given here
#: is plain already, so that what is sent is what was meant: this, paths of checked ids, encoded queries.
_PLAIN_URL = re.compile(
    r"https?://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[a-z0-9_~-][a-z0-9._~-]*)*/*",
    re.IGNORECASE | re.ASCII,
)
_URL_RULE = (
    "must be like https://ringtime.example:8080: http or https, a host in ASCII, perhaps a port and a plain"
    " path, and no user, query or fragment"
)
_REACHES_NOBODY = "none://nobody/"  #: fails without network, but only once the thread has looked at it
_NOT_CONNECTED = "client error (Connect)"
_MAX_BYTES = 64 << 20  #: of one answer; the list of 20,000 apps is a fifth of it
_NONE: Mapping[str, str] = MappingProxyType({})
_IDLE_S = 60  #: under the 75 s after which the server closes an idle connection

_Client = TypeVar("_Client", ClientBuilder, SyncClientBuilder)
_Request = TypeVar("_Request", RequestBuilder, SyncRequestBuilder)


def root_of(url: str) -> str:
    """Return the server's root, whether `url` is that or the API's base. Raises InvalidRequest."""
    given = _PLAIN_URL.fullmatch(url)
    if given is None:
        raise InvalidRequest.of("url", _URL_RULE)
    try:
        host = Url(url).host_str
    except ValueError as error:
        raise InvalidRequest.of("url", f"must be an absolute URL: {error}") from error
    if host is None or host.strip("[]") != given["host"].lower().strip("[]"):
        raise InvalidRequest.of("url", f"the host would be read as {host}")
    return url.rstrip("/").removesuffix(BASE)


class AsyncTransport:
    """Connections to servers, for asyncio. Proxies of the environment are ignored, redirects not followed.

    Args:
        deadline: half of it is for connecting; each request has its own for the whole.
        headers: sent with every request.
        certificates: None: those that the environment names.

    Raises InvalidRequest.
    """

    def __init__(
        self,
        deadline: timedelta,
        headers: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._http = _configure(ClientBuilder(), deadline, headers or {}, certificates).build()
        _settle_at_exit(os.getpid())

    async def close(self) -> None:
        """Close the connections; requests under way end as Broken."""
        await self._http.close()

    async def send(
        self, method: str, url: str, body: bytes | None, left_s: float, headers: Mapping[str, str] = _NONE
    ) -> Ending:
        """Send one request, with JSON if there is a body, and say how it ended."""
        arrived = _Body()
        try:
            request = _fill(self._http.request(method, url), body, left_s, headers).build_streamed()
            async with request as response:
                while arrived.take(await response.body_reader.read_chunk()):
                    pass
        except PyreqwestError as error:
            return _to_broken(error)
        return arrived.ending(response.status, response.get_header("retry-after"))


class Transport:
    """The same for code without asyncio; one may serve many threads."""

    def __init__(
        self,
        deadline: timedelta,
        headers: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._http = _configure(SyncClientBuilder(), deadline, headers or {}, certificates).build()

    def close(self) -> None:
        """Close the connections; requests under way end as Broken."""
        self._http.close()

    def send(
        self, method: str, url: str, body: bytes | None, left_s: float, headers: Mapping[str, str] = _NONE
    ) -> Ending:
        """Send one request, with JSON if there is a body, and say how it ended."""
        arrived = _Body()
        try:
            request = _fill(self._http.request(method, url), body, left_s, headers).build_streamed()
            with request as response:
                while arrived.take(response.body_reader.read_chunk()):
                    pass
        except PyreqwestError as error:
            return _to_broken(error)
        return arrived.ending(response.status, response.get_header("retry-after"))


class _Body:
    """The body of an answer, as it arrives."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._bytes = 0

    def take(self, chunk: Bytes | None) -> bool:
        """Keep a chunk; return whether to ask for another."""
        if chunk is not None:
            self._chunks.append(chunk.to_bytes())
            self._bytes += len(self._chunks[-1])
        return chunk is not None and self._bytes <= _MAX_BYTES

    def ending(self, http: int, retry_after: str | None) -> Ending:
        """Return the answer, unless it was too long to be read to its end."""
        if self._bytes > _MAX_BYTES:
            return Broken(reason=f"the answer is longer than {_MAX_BYTES:,} bytes", sent=True)
        return Answer(http=http, body=b"".join(self._chunks), retry_after=retry_after)


@cache
def _settle_at_exit(process: int) -> None:
    """Have this process, once, wait at its exit until pyreqwest's thread is out of Python.

    That thread wakes the event loop up when a request has ended. The loop may be done with its work, and the
    program at its end, before the thread has come back from that; then Python ends it where it must not be
    ended, and the process is aborted: of programs that made one call on a busy machine, every sixth. The
    thread does one thing after the other, so after a call without asyncio, which does not wake anybody in
    Python, it is idle. A forked child does not have the thread, and would wait for ever.
    """

    def settle() -> None:
        if os.getpid() == process:
            with suppress(PyreqwestError):
                # Nobody's certificate will be looked at; without this it would first read all authorities.
                maker = SyncClientBuilder().no_proxy().danger_accept_invalid_certs(True)
                maker.build().get(_REACHES_NOBODY).build().send()

    atexit.register(settle)


def _certify(maker: _Client, certificates: Certificates) -> _Client:
    try:
        for authority in certificates.authorities:
            maker = maker.add_root_certificate_pem(authority)
        return maker.identity_pem(certificates.identity) if certificates.identity else maker
    except ValueError as error:
        raise InvalidRequest.of("ca_file", f"a certificate or its key cannot be used: {error}") from error


def _configure(
    maker: _Client, deadline: timedelta, headers: Mapping[str, str], certificates: Certificates | None
) -> _Client:
    if deadline <= timedelta(0):
        raise InvalidRequest.of("deadline", "must be more than 0")
    try:
        maker = maker.default_headers(dict(headers))
    except ValueError as error:
        raise InvalidRequest.of("headers", str(error)) from error
    maker = _certify(maker, find_certificates() if certificates is None else certificates)
    return (
        maker.follow_redirects(False)
        .no_proxy()
        .connect_timeout(deadline / 2)
        .pool_idle_timeout(timedelta(seconds=_IDLE_S))
        .user_agent("ringtime-client")
    )


def _fill(maker: _Request, body: bytes | None, left_s: float, headers: Mapping[str, str]) -> _Request:
    maker = maker.timeout(timedelta(seconds=left_s))
    for name, value in headers.items():
        maker = maker.header(name, value)
    if body is None:
        return maker
    return maker.header("content-type", "application/json").body_bytes(body)


def _to_broken(error: PyreqwestError) -> Broken:
    """Say what an error means for the request."""
    causes = (error.details["causes"] or []) if isinstance(error, DetailedPyreqwestError) else []
    messages = [cause["message"] for cause in causes]
    if _NOT_CONNECTED in messages:
        return Broken(reason=f"could not connect: {messages[-1]}", sent=False)
    if isinstance(error, RequestTimeoutError):
        return Broken(reason="no answer in time", sent=True)
    about = messages[-1] if messages else error.message
    return Broken(reason=f"the connection broke before the answer was complete: {about}", sent=True)
