"""What the tap is called with: whose call it is, when it was due, and what is sent on, and to whom.

It travels in a header that goscheduler keeps and sends as any header of the client's: so no log of paths has
it, and the URL of the tap is the same for all. The client's own headers are in it too, so that what our
server thinks of headers (of another content type, of an origin) is never asked of those that are meant for
the receiver. The MAC is under `shadow.secret`, so nobody can have the tap call what no create has named.

Source: H. Krawczyk et al., "HMAC: Keyed-Hashing for Message Authentication", RFC 2104, 1997.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder, Encoder

HEADER = "Ringtime-Tap"
PATH = "/goscheduler/shadow/tap"
_MAC_BYTES = 16
_MOST_CHARS = 20_000  #: a URL of 2,048, headers of 8,192, and what JSON and base64 add to them
_PURPOSE = b"ringtime tap 1\0"  #: the same secret may sign other things elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class TapTicket:
    """One schedule that goscheduler is to call us for."""

    schedule_id: UUID  #: Ringtime's
    fire_ms: int
    expires_ms: int  #: what is kept of a call is forgotten then
    url: str  #: of the real receiver
    method: str
    headers: Mapping[str, str] = field(repr=False)  #: of the client, those that are secret among them


class _Text(Struct, array_like=True):
    schedule_id: UUID
    fire_ms: int
    expires_ms: int
    url: str
    method: str
    headers: dict[str, str]


_encode = Encoder().encode
_decode = Decoder(_Text).decode


class TapTickets:
    """Signs and reads them."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def sign(self, ticket: TapTicket) -> str:
        """Return a ticket as text that `read` takes: letters, digits, `-` and `_`."""
        told = _encode(
            [ticket.schedule_id, ticket.fire_ms, ticket.expires_ms, ticket.url, ticket.method, ticket.headers]
        )
        return urlsafe_b64encode(told + self._mac(told)).rstrip(b"=").decode()

    def read(self, text: str) -> TapTicket:
        """Raises ValueError for one that is not ours."""
        if len(text) > _MOST_CHARS or not text.isascii():
            raise ValueError("no ticket")
        try:
            signed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise ValueError("no ticket") from None
        told, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if not told or not hmac.compare_digest(mac, self._mac(told)):
            raise ValueError("not signed by us")
        try:
            said = _decode(told)
        except MsgspecError:
            raise ValueError("of another version") from None
        return TapTicket(
            schedule_id=said.schedule_id,
            fire_ms=said.fire_ms,
            expires_ms=said.expires_ms,
            url=said.url,
            method=said.method,
            headers=said.headers,
        )

    def _mac(self, told: bytes) -> bytes:
        return hmac.digest(self._key, _PURPOSE + told, "sha256")[:_MAC_BYTES]
