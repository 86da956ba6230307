"""How the two clients use pyreqwest.

The class of a pyreqwest error does not tell whether the request went out: a connection that the server
cuts after it read the request is a ConnectError, and an answer that does not come is a
ConnectTimeoutError. The chain of causes does: hyper's `client error (Connect)` is in it only while there is
no connection yet. So that a host that swallows packets is found out by that too, connecting has a
deadline of its own, half of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from pyreqwest.client import ClientBuilder, SyncClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.request import RequestBuilder, SyncRequestBuilder

from ringtime_client.exchange import Broken, Call, T
from ringtime_client.protocol import BASE
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
_NOT_CONNECTED = "client error (Connect)"
_IDLE_S = 60  #: under the 75 s after which the server closes an idle connection

ClientMaker = TypeVar("ClientMaker", ClientBuilder, SyncClientBuilder)
RequestMaker = TypeVar("RequestMaker", RequestBuilder, SyncRequestBuilder)


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


def configure(maker: ClientMaker, deadline: timedelta, headers: Mapping[str, str]) -> ClientMaker:
    """Return the builder with everything set. Raises InvalidRequest."""
    if deadline <= timedelta(0):
        raise InvalidRequest.of("deadline", "must be more than 0")
    try:
        maker = maker.default_headers(dict(headers))
    except ValueError as error:
        raise InvalidRequest.of("headers", str(error)) from error
    return (
        maker.follow_redirects(False)
        .no_proxy()
        .connect_timeout(deadline / 2)
        .pool_idle_timeout(timedelta(seconds=_IDLE_S))
        .user_agent("ringtime-client")
    )


def fill(maker: RequestMaker, call: Call[T], left_s: float) -> RequestMaker:
    """Return the request's builder with body and deadline set."""
    maker = maker.timeout(timedelta(seconds=left_s))
    if call.body is None:
        return maker
    return maker.header("content-type", "application/json").body_bytes(call.body)


def to_broken(error: PyreqwestError) -> Broken:
    """Say what an error means for the request."""
    causes = (error.details["causes"] or []) if isinstance(error, DetailedPyreqwestError) else []
    messages = [cause["message"] for cause in causes]
    if _NOT_CONNECTED in messages:
        return Broken(reason=f"could not connect: {messages[-1]}", sent=False)
    if isinstance(error, RequestTimeoutError):
        return Broken(reason="no answer in time", sent=True)
    about = messages[-1] if messages else error.message
    return Broken(reason=f"the connection broke before the answer was complete: {about}", sent=True)
