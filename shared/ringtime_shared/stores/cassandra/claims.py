"""Operations of `ClaimStore`: one LWT a claim, on the whole of what is stored, which its refusal tells.

A claim has one cell, which ends by its TTL. Every LWT is an update: an insert would leave the mark of a row
behind, which has a TTL of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.claim import Claim, ClaimKey
from ringtime_shared.stores.cassandra.lwt import ROUNDS, back_off
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_claim, read_claim

_BY_KEY = "WHERE app_id = ? AND kind = ? AND claimed = ?"
_GET = f"SELECT claim FROM $claims {_BY_KEY}"
_PUT = f"UPDATE $claims USING TTL ? SET claim = ? {_BY_KEY} IF claim = ?"


class Claims:
    """`ClaimStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get, self._put = statements
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        return cls(session, await session.prepare(_GET, _PUT), now_ms)

    async def fetch_claim(self, key: ClaimKey) -> Claim | None:
        stored = await self._fetch(key, is_serial=False)
        return None if stored is None else read_claim(key, stored)

    async def replace_claim(self, claim: Claim, before: Claim | None) -> Claim:
        key, text = claim.key, encode_claim(claim)
        expected = None if before is None else encode_claim(before)
        allowed = (expected, None)  # the earlier one may have ended by now
        is_unsure = False
        for n in range(ROUNDS):
            ttl = claim_ttl_s(claim, self._now_ms())
            try:
                record = await self._session.write_if(self._put.bind(ttl, text, *_values(key), expected))
                if record is None:
                    is_unsure = True
                    stored = await self._fetch(key, is_serial=True)
                elif record[0]:
                    return claim
                else:
                    stored = record[1] if len(record) > 1 else None
            except StoreUnavailable as error:
                if is_unsure:
                    raise OutcomeUnknown(str(error)) from error
                raise
            if stored == text:
                return claim
            if stored not in allowed:
                return read_claim(key, stored)
            expected = stored
            await back_off(n)
        raise OutcomeUnknown(f"Cassandra: no answer to a claim of app {key.app_id}")

    async def _fetch(self, key: ClaimKey, *, is_serial: bool) -> str | None:
        records = await self._session.read(self._get.bind(*_values(key)), is_serial=is_serial)
        return records[0][0] if records else None


def claim_ttl_s(claim: Claim, now_ms: int) -> int:
    """Return the TTL to write a claim with: at least a second, 0 for longer than the server can count."""
    return ttl_s(max(claim.expires_ms, now_ms + 1_000), now_ms)


def _values(key: ClaimKey) -> tuple[str, str, str]:
    return key.app_id, key.kind.value, key.text
