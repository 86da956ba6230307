"""The bytes of one HTTP request. Pure.

Path and query are those of the URL, byte for byte; an empty path is `/`, as HTTP demands. The host is in
lower case and without the scheme's own port, which is what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_shared.callbacks.http_rules import METHODS, header_fault
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.callbacks.url_rules import DEFAULT_PORTS, Target, parse_target, url_fault

_USUAL = {"accept": "Accept: */*", "user-agent": "User-Agent: ringtime"}  #: unless the schedule has its own
_JSON = "Content-Type: application/json"
_EXPECT_BODY = frozenset(["POST", "PUT", "PATCH"])  #: servers ask these for a length, be it 0


class Route(NamedTuple):
    """A callback URL, read."""

    target: Target
    resource: str  #: what the request line asks for: path and query
    host: str  #: the Host header


@lru_cache(maxsize=1_024)
def parse_route(url: str) -> Route | None:
    """Return where a URL leads; None for one that no create would accept."""
    target = None if url_fault(url) is not None else parse_target(url)
    if target is None:
        return None
    rest = url[url.index("://") + 3 :]
    begin = next((place for place, character in enumerate(rest) if character in "/?"), len(rest))
    resource = rest[begin:]
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != DEFAULT_PORTS[target.scheme]:
        host = f"{host}:{target.port}"
    return Route(target, resource if resource.startswith("/") else f"/{resource}", host)


def request_bytes(route: Route, delivery: Delivery, now_s: int) -> bytes:
    """Return the request of one attempt, signed as of `now_s`, seconds since 1970.

    Raises ValueError for details that no create would accept.
    """
    details, schedule = delivery.details, delivery.schedule
    method, given = details.get("method"), details.get("headers") or {}
    if method not in METHODS or not isinstance(given, Mapping):
        raise ValueError("no method, or no headers")
    body = schedule.payload.encode()
    lines = [f"{method} {route.resource} HTTP/1.1", f"Host: {route.host}"]
    names = set()
    for name, value in given.items():
        if (fault := header_fault(name, value)) is not None:
            raise ValueError(fault)
        names.add(name.lower())
        lines.append(f"{name}: {value}")
    lines += [line for name, line in _USUAL.items() if name not in names]
    if body and "content-type" not in names:
        lines.append(_JSON)
    if body or method in _EXPECT_BODY:
        lines.append(f"Content-Length: {len(body)}")
    fire_time = datetime.fromtimestamp(schedule.fire_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    lines += (
        f"Schedule-Id: {schedule.schedule_id}",
        f"Ringtime-Attempt: {delivery.attempt}",
        f"Ringtime-Fire-Time: {fire_time.replace('+00:00', 'Z')}",
        f"Ringtime-Term: {delivery.term}",
    )
    lines += [
        f"{name}: {value}" for name, value in signature_headers(delivery, schedule.payload, now_s).items()
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
