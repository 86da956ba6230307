"""The lease: granted once, renewed until it is lost."""

from __future__ import annotations

import asyncio
import logging
import secrets

from aetcd import rpc

from ringtime_shared.clock import Clock
from ringtime_shared.coordination.etcd.connection import Connection, Refused
from ringtime_shared.coordination.etcd.keys import Layout
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import CoordinationSettings

_log = logging.getLogger(__name__)


class KeptLease:
    """A lease and the time of its last renewal."""

    def __init__(self, connection: Connection, clock: Clock, settings: CoordinationSettings) -> None:
        self.id = secrets.randbelow((1 << 63) - 1) + 1  # ours to choose: a grant can be sent again
        self.is_asked_for = False  # etcd may have it, so it has to be revoked
        self._connection = connection
        self._clock = clock
        self._layout = Layout(settings.prefix)
        self._ttl_ms = settings.ttl_s * 1000
        self._margin_ms = settings.margin_ms
        self._begun_ms: int | None = None  # start of the last renewal that succeeded

    def trusted_until_ms(self) -> int:
        return 0 if self._begun_ms is None else self._begun_ms + self._ttl_ms - self._margin_ms

    async def grant(self) -> None:
        """Take the lease; an attempt whose answer was lost may have taken it already."""
        self.is_asked_for = True
        request = rpc.LeaseGrantRequest(ID=self.id, TTL=self._ttl_ms // 1000)
        for is_last in (False, True):
            begun_ms = self._clock.boot_ms()
            try:
                await self._connection.grant(request)
            except Refused as refusal:
                if not refusal.is_lease_there or not await self._renew(self._ttl_ms / 6000):
                    raise
                return
            except (StoreUnavailable, OutcomeUnknown):
                if is_last:
                    raise
            else:
                self._begun_ms = begun_ms
                return

    async def keep(self) -> str:
        """Renew until the lease is lost; return why it was."""
        pause_s = self._ttl_ms / 3000
        while True:
            await asyncio.sleep(max(min(pause_s, self._left_s()), 0))
            left_s = self._left_s()
            if left_s <= 0:
                return "no renewal got through for as long as it lives"
            try:
                async with asyncio.timeout(left_s):
                    if not await self._renew(min(self._ttl_ms / 6000, left_s)):
                        return "etcd does not know it any more"
                pause_s = self._ttl_ms / 3000
            except (StoreUnavailable, OutcomeUnknown, TimeoutError) as error:
                _log.warning("the lease was not renewed, %.1f s left: %r", self._left_s(), error)
                pause_s = self._ttl_ms / 20_000
            except Exception:  # noqa: BLE001 - a bug here must not end the lease without a word
                _log.exception("the lease was not renewed, %.1f s left: a bug", self._left_s())
                pause_s = self._ttl_ms / 20_000

    async def revoke(self) -> bool:
        """End the lease, and all keys under it with it. False when there was no answer."""
        try:
            await self._connection.revoke(rpc.LeaseRevokeRequest(ID=self.id))
        except Refused as refusal:
            return refusal.is_lease_gone
        except (StoreUnavailable, OutcomeUnknown):
            return False
        return True

    async def _renew(self, timeout_s: float) -> bool:
        """Renew; False when the lease is gone. The time that counts is the one before the question."""
        for is_second in (False, True):
            if is_second:
                # A server that just started may lack the latest leases: it has them after this read.
                await self._connection.fetch_range(rpc.RangeRequest(key=self._layout.identity), timeout_s)
            begun_ms = self._clock.boot_ms()
            answer = await self._connection.renew(rpc.LeaseKeepAliveRequest(ID=self.id), timeout_s)
            if answer.TTL > 0:
                self._begun_ms = begun_ms
                return True
        return False

    def _left_s(self) -> float:
        begun_ms = self._begun_ms or 0
        return (begun_ms + self._ttl_ms - self._clock.boot_ms()) / 1000
