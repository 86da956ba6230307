"""The in-process driver: one `Hub` stands for the coordination service, each node opens a session on it.

Embedded mode runs one node on a hub whose sessions never lapse; the cluster tests run several, whose
leases lapse on a clock when renewals stop getting through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ringtime_shared.clock import Clock
from ringtime_shared.coordination.protocol import Claim, Drain, Member, View
from ringtime_shared.errors import LeaseLost, NotFound
from ringtime_shared.models.app import Instance


class Hub:
    """Members, claims and leases of one deployment."""

    def __init__(self, *, era: int = 1) -> None:
        self.era = era
        self.members: dict[str, Member] = {}
        self.claims: dict[Instance, Claim] = {}
        self.drains: dict[str, Drain] = {}
        self._epoch = 0
        self._view: View | None = None
        self._sessions: dict[MemorySession, None] = {}  # in order, for runs that can be repeated

    def next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def attach(self, session: MemorySession) -> None:
        self._sessions[session] = None

    def expire(self, session: MemorySession) -> None:
        """End a session's lease: its membership, its claims and a drain that ends with it go together."""
        self._sessions.pop(session, None)
        self.members.pop(session.node, None)
        if session.node in self.drains and self.drains[session.node].ends_with_node:
            del self.drains[session.node]
        for instance in [key for key, claim in self.claims.items() if claim.node == session.node]:
            del self.claims[instance]
        self.announce()

    def view(self) -> View:
        """Return members, claims and drains; the same object until one of them changes."""
        if self._view is None:
            self._view = View(dict(self.members), dict(self.claims), frozenset(self.drains))
        return self._view

    def announce(self) -> None:
        self._view = None
        for session in self._sessions:
            session.notify()


class MemorySession:
    """One node's lease on a hub. `ttl_ms` None: the lease lasts until `close`."""

    def __init__(self, hub: Hub, clock: Clock, *, ttl_ms: int | None = None, margin_ms: int = 3_000) -> None:
        self.node = ""
        self._hub = hub
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._margin_ms = margin_ms
        self._renewed_ms = 0
        self._lost = False
        self._changed = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    @property
    def era(self) -> int:
        return self._hub.era

    async def join(self, member: Member) -> None:
        self.node = member.node
        self._hub.attach(self)
        self._hub.members[member.node] = member
        if self._ttl_ms is not None:
            self.renew(self._clock.boot_ms())
            self._renewal = asyncio.create_task(
                self._renew_every(self._ttl_ms / 3000), name=f"lease of {self.node}"
            )
        self._hub.announce()

    async def leave(self) -> None:
        if self._hub.members.pop(self.node, None) is not None:
            self._hub.announce()

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        self._end()

    def trusted_until_ms(self) -> int:
        if self._lost:
            return 0
        if self._ttl_ms is None:
            return 1 << 62
        return self._renewed_ms + self._ttl_ms - self._margin_ms

    def is_lost(self) -> bool:
        return self._lost

    async def claim(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        self._require_lease()
        won = {}
        for instance in instances:
            if instance not in self._hub.claims:
                epoch = self._hub.next_epoch()
                self._hub.claims[instance] = Claim(self.node, epoch)
                won[instance] = epoch
        if won:
            self._hub.announce()
        return won

    async def release(self, instances: Sequence[Instance]) -> None:
        self._require_lease()
        claims = self._hub.claims
        held = [each for each in instances if each in claims and claims[each].node == self.node]
        for instance in held:
            del claims[instance]
        if held:
            self._hub.announce()

    async def forget_history(self) -> None:
        self._hub.era += 1
        self._end()

    def view(self) -> View:
        return self._hub.view()

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def notify(self) -> None:
        self._changed.set()

    def renew(self, started_ms: int) -> None:
        """The service got a renewal that the node began at boot time `started_ms`."""
        if self._lost or self._ttl_ms is None:
            return
        self._renewed_ms = started_ms
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(self._ttl_ms / 1000, self._end)

    async def _renew_every(self, period_s: float) -> None:
        while not self._lost:
            await asyncio.sleep(period_s)
            self.renew(self._clock.boot_ms())

    def _end(self) -> None:
        if not self._lost:
            self._lost = True
            self._hub.expire(self)
            self._changed.set()

    def _require_lease(self) -> None:
        if self._lost:
            raise LeaseLost(f"the lease of {self.node} ended")


class MemoryOperator:
    """The operator's side of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def fetch_view(self) -> View:
        return self._hub.view()

    async def fetch_drains(self) -> dict[str, Drain]:
        return dict(self._hub.drains)

    async def put_drain(self, drain: Drain) -> None:
        if drain.node not in self._hub.members:
            raise NotFound("node", drain.node)
        if self._hub.drains.setdefault(drain.node, drain) is drain:
            self._hub.announce()

    async def delete_drain(self, node: str) -> None:
        if self._hub.drains.pop(node, None) is not None:
            self._hub.announce()

    async def forget_history(self) -> None:
        self._hub.era += 1

    async def close(self) -> None:
        return
