"""The head of a request: from bytes to its parts, and whether who sent it may ask at all. Pure, and strict.

Whoever stands in front of us (a gateway that knows users, a proxy that balances) decides by what it reads. A
head that two readers can read in two ways lets one request hide in another, or a path pass a rule that was
written for it. So there is one spelling of everything that decides, and the others are refused, though a
lenient reader would understand them:

- lines end in CRLF; no folded lines, no space before a colon, no control characters;
- `Host`, `Content-Length`, `Transfer-Encoding`, `Content-Type`, `Origin` at most once; exactly one `Host`;
- the length of the body by `Content-Length` or by `Transfer-Encoding: chunked`, never by both;
- the target is a path in its plain form: no name in our paths needs percent-encoding, so there is none.

`Upgrade` is passed over, as RFC 9110 (7.8) lets a server do: the request is answered as if it were not there.

A page that somebody looks at can send requests to a service on the same machine, or in the same network: by a
form or a `fetch` of `text/plain`, which browsers send without asking the service first, and by a name of its
own that it lets point to 127.0.0.1 (DNS rebinding), after which the browser takes the service for the page's
own. The API has no keys that would stop it, so three things in a request do, which a page cannot forge:

- `Host` is the name that the browser thinks it talks to: a name nobody gave the service is refused;
- `Origin` and `Sec-Fetch-Site` say whose page it is: a foreign one is refused;
- a JSON content type makes browsers ask first, and the service does not say yes. Only the dashboard's own
  paths take forms, and of these only what has its token in it.

The first and the last hold where the service knows its names: on a loopback address, and wherever
`server.hosts` is set. Elsewhere a gateway decides, and what `Host` it sends is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from ringtime_shared.errors import ErrorWord, Violation
from ringtime_shared.settings import ServerSettings

MOST_FIELDS = 100  #: each costs many times its bytes in objects

_SHORT_BLOCK_BYTES = 1_024  #: heads up to here, without the first line, are remembered
_SHORT_BYTES = 128  #: so are lines

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[A-Za-z0-9._~/-]*)(?:\?([!-\"$-~]*))? HTTP/1\.([01])")
_ANY_REQUEST = re.compile(rb"[A-Z]{1,20} [!-~]+ HTTP/([0-9]\.[0-9])")
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_JSON, _FORM = b"application/json", b"application/x-www-form-urlencoded"
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOCAL = "localhost"  #: and names under it: browsers and RFC 6761 keep them on the machine
_READS = ("GET", "HEAD")
_FOREIGN_PAGES = (b"cross-site", b"same-site")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_ONCE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"expect",
        b"origin",
        b"sec-fetch-site",
    )
)


_WORDS = {
    400: ErrorWord.MALFORMED_HTTP,
    403: ErrorWord.FOREIGN_PAGE,
    408: ErrorWord.TOO_SLOW,
    413: ErrorWord.BODY_TOO_LARGE,
    415: ErrorWord.NOT_JSON,
    417: ErrorWord.MALFORMED_HTTP,
    421: ErrorWord.UNKNOWN_HOST,
    431: ErrorWord.HEADERS_TOO_LARGE,
    503: ErrorWord.SERVER_BUSY,
    505: ErrorWord.MALFORMED_HTTP,
}  #: every status this server refuses with by itself


class Refusal(NamedTuple):
    """Why a request is not taken: an HTTP status, and what would have been right."""

    status: int
    word: ErrorWord
    violation: Violation

    @classmethod
    def of(cls, status: int, field: str, rule: str) -> Refusal:
        return cls(status, _WORDS[status], Violation(field, rule))


SECURITY_TXT = "/.well-known/security.txt"  #: the one path of ours with a dot first
_SECURITY_TXT = SECURITY_TXT.encode()
_NOT_PLAIN = Refusal.of(
    400,
    "path",
    "must be plain: letters, digits, - . _ ~ between single slashes, nothing encoded, no dots first",
)
_UNKNOWN_HOST = Refusal.of(421, "Host", "must be a name of this service; server.hosts adds names")
_FOREIGN_PAGE = Refusal.of(403, "Origin", "web pages of other origins may not send requests here")
_NOT_JSON = Refusal.of(415, "Content-Type", "must be application/json where there is a body")


class Head(NamedTuple):
    """A request without its body."""

    method: str
    path: str  #: plain: what was sent is what it means
    query: bytes
    version: str  #: "1.0" or "1.1"
    headers: list[tuple[bytes, bytes]]  #: as sent, names in lower case
    once: dict[bytes, bytes]  #: of these, the fields that may be given once
    host: str  #: the name or address in `Host`, in lower case, without port and brackets
    length: int | None  #: bytes of the body; None: it comes in chunks
    keeps_alive: bool  #: whether the client may send another request on the connection


def may_become_head(arrived: bytearray, searched: int) -> bool:
    """Whether what has no end yet can be the beginning of a head; what cannot need not be waited for."""
    line_end = arrived.find(b"\n", searched)
    return (not arrived or arrived[0] in _LETTERS or arrived == b"\r") and (
        line_end < 1 or arrived[line_end - 1] == 0x0D
    )


def parse_head(block: bytes) -> Head | Refusal:
    """Return what is in a head, or why it is refused.

    Args:
        block: everything before the empty line, without the last CRLF.
    """
    first, _, rest = block.partition(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        return _refuse_request(first)
    method, path, query, minor = request.groups()
    if b"//" in path or (b"/." in path and path != _SECURITY_TXT):
        return _NOT_PLAIN
    is_short = len(rest) <= _SHORT_BLOCK_BYTES
    fields = _read_fields(rest, minor) if is_short else _read_fields.__wrapped__(rest, minor)
    if isinstance(fields, Refusal):
        return fields
    return Head(method.decode(), path.decode(), query or b"", f"1.{minor.decode()}", *fields)


def _refuse_request(line: bytes) -> Refusal:
    """Return what is wrong with a request line."""
    match = _ANY_REQUEST.fullmatch(line)
    if match is None:
        return Refusal.of(400, "request", "must begin with a method, a path and HTTP/1.1, one space between")
    return _NOT_PLAIN if match[1] in (b"1.1", b"1.0") else Refusal.of(505, "request", "must be HTTP/1.1")


class _Fields(NamedTuple):
    """The last fields of a `Head`."""

    headers: list[tuple[bytes, bytes]]
    once: dict[bytes, bytes]
    host: str
    length: int | None
    keeps_alive: bool


@lru_cache(maxsize=512)
def _read_fields(block: bytes, minor: bytes) -> _Fields | Refusal:
    """Read the lines after the first. A client sends the same ones again and again, at most of another
    length, so what is returned is shared: nobody changes it."""
    lines = block.split(b"\r\n") if block else []
    if len(lines) > MOST_FIELDS:
        return Refusal.of(431, "header", f"must be at most {MOST_FIELDS} lines")

    headers: list[tuple[bytes, bytes]] = []
    once: dict[bytes, bytes] = {}
    keeps_alive = minor == b"1"
    for line in lines:
        field = _read_line(line) if len(line) <= _SHORT_BYTES else _read_line.__wrapped__(line)
        if field is None:
            rule = "each line must be a name, a colon and a value, without control characters"
            return Refusal.of(400, "header", rule)
        headers.append(field)
        name, value = field
        if name in _ONCE:
            if name in once:
                return Refusal.of(400, name.decode().title(), "must be given once")
            once[name] = value
        elif name == b"connection" and b"close" in value.lower():
            keeps_alive = False

    host = read_host(once.get(b"host", b""))
    if host is None:
        return Refusal.of(400, "Host", "must be given once: a name or an address, and a port if need be")
    length = _read_length(once, minor)
    if isinstance(length, Refusal):
        return length
    return _Fields(headers, once, host, length, keeps_alive)


@lru_cache(maxsize=2_048)
def _read_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Return name and value; None if it is no header. Clients send the same lines again and again."""
    name, colon, value = line.partition(b":")
    name = name.lower()
    if not colon or not name or name.translate(None, _TOKEN) or _CONTROL.search(value):
        return None
    return name, value.strip(b" \t")


@lru_cache(maxsize=256)
def read_host(value: bytes) -> str | None:
    """Return the name or address in a `Host`, in lower case and without port; None if it is not one."""
    match = _HOST.fullmatch(value)
    return None if match is None else (match[1] or match[2]).decode().lower()


def _read_length(once: dict[bytes, bytes], minor: bytes) -> int | Refusal | None:
    length, coding = once.get(b"content-length"), once.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or minor != b"1":
            rule = "must not be given together with Content-Length, nor in HTTP/1.0"
            return Refusal.of(400, "Transfer-Encoding", rule)
        if coding.lower() != b"chunked":
            return Refusal.of(400, "Transfer-Encoding", "must be chunked, and nothing else")
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 40:
        return Refusal.of(400, "Content-Length", "must be a number of bytes")
    return int(length)


def takes_no_forms(path: str) -> bool:  # noqa: ARG001
    """Say of every path that forms are not to be sent there: so it is where there are no pages."""
    return False


class Door:
    """The rules of one server."""

    def __init__(self, settings: ServerSettings, takes_forms: Callable[[str], bool] = takes_no_forms) -> None:
        """`takes_forms`: says of a path whether it is one of pages, which know their own forms by a token."""
        self._takes_forms = takes_forms
        self._names = {name.lower() for name in settings.hosts}
        self._knows_names = bool(settings.hosts) or is_loopback(settings.host)
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
        if self._knows_names and head.length != 0:
            kind = _kind(head.once.get(b"content-type", b""))
            if kind != _JSON and not (kind == _FORM and self._takes_forms(head.path)):
                return _NOT_JSON
        return None

    def _is_known(self, host: str, address: str) -> bool:
        return host == address or host in self._own or host in self._names or host.endswith(f".{_LOCAL}")


def _kind(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is one that only this machine reaches."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCAL
