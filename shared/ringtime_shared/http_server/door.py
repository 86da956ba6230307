"""Who may ask at all: the names the service answers to, and what web pages may not do.

A page that somebody looks at can send requests to a service on the same machine, or in the same network: by a
form or a `fetch` of `text/plain`, which browsers send without asking the service first, and by a name of its
own that it lets point to 127.0.0.1 (DNS rebinding), after which the browser takes the service for the page's
own. The API has no keys that would stop it, so three things in a request do, which a page cannot forge:

- `Host` is the name that the browser thinks it talks to: a name nobody gave the service is refused;
- `Origin` and `Sec-Fetch-Site` say whose page it is: a foreign one is refused;
- a JSON content type makes browsers ask first, and the service does not say yes.

The first and the last hold where the service knows its names: on a loopback address, and wherever
`server.hosts` is set. Elsewhere a gateway decides, and what `Host` it sends is not known here.
"""

from __future__ import annotations

from ipaddress import ip_address

from ringtime_shared.http_server.heads import Head, Refusal, read_host
from ringtime_shared.settings import ServerSettings

_LOCAL = "localhost"  #: and names under it: browsers and RFC 6761 keep them on the machine
_READS = ("GET", "HEAD")
_FOREIGN_PAGES = (b"cross-site", b"same-site")

_UNKNOWN_HOST = Refusal.of(421, "Host", "must be a name of this service; server.hosts adds names")
_FOREIGN_PAGE = Refusal.of(403, "Origin", "web pages of other origins may not send requests here")
_NOT_JSON = Refusal.of(415, "Content-Type", "must be application/json where there is a body")


class Door:
    """The rules of one server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._names = {name.lower() for name in settings.hosts}
        self._knows_names = bool(settings.hosts) or _is_loopback(settings.host)
        self._own = {_LOCAL, settings.host.lower()}

    def judge(self, head: Head, address: str) -> Refusal | None:
        """Return why a request may not come in, if so.

        Args:
            address: that the connection came in at, which is always a name of this service.
        """
        if self._knows_names and not self._is_known(head.host, address):
            return _UNKNOWN_HOST
        origin = head.once.get(b"origin")
        if origin is not None:
            authority = origin.partition(b"://")[2].lower()
            if authority != head.once[b"host"].lower() and read_host(authority) not in self._names:
                return _FOREIGN_PAGE
        elif head.method not in _READS and head.once.get(b"sec-fetch-site") in _FOREIGN_PAGES:
            return _FOREIGN_PAGE
        if self._knows_names and head.has_body and not _is_json(head.once.get(b"content-type", b"")):
            return _NOT_JSON
        return None

    def _is_known(self, host: str, address: str) -> bool:
        return host == address or host in self._own or host in self._names or host.endswith(f".{_LOCAL}")


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCAL
