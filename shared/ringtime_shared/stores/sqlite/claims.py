"""Operations of `ClaimStore`."""

from __future__ import annotations

from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.stores.codec.documents import encode_claim, read_claim
from ringtime_shared.stores.sqlite.session import Session

_GET = "SELECT claim FROM claims WHERE app = ? AND kind = ? AND claimed = ?"
_PUT = "REPLACE INTO claims (app, kind, claimed, claim, expires_ms) VALUES (?, ?, ?, ?, ?)"


def fetch_claim(session: Session, key: ClaimKey) -> Claim | None:
    app_id, kind, text = key
    for (stored,) in session.fetch(_GET, (session.number_of(app_id), kind.value, text)):
        return read_claim(key, stored)
    return None


def replace_claim(session: Session, claim: Claim, before: Claim | None) -> Claim:
    stored = fetch_claim(session, claim.key)
    if stored is not None and stored != before:
        return stored
    app_id, kind, text = claim.key
    number = session.give_number(app_id)
    session.connection.execute(_PUT, (number, kind.value, text, encode_claim(claim), claim.expires_ms))
    return claim
