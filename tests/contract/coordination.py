"""Drivers of coordination, for the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import uuid4

from ringtime_shared.clock import Clock
from ringtime_shared.coordination.etcd import EtcdOperator, EtcdSession
from ringtime_shared.coordination.memory import Hub, MemoryOperator, MemorySession
from ringtime_shared.coordination.protocol import OperatorCoordination, Session, View
from ringtime_shared.settings import CoordinationSettings

TTL_S = 5  # etcd knows 2, in which a busy machine may come to no renewal
MARGIN_MS = 500

Join = Callable[..., Awaitable[Session]]


class Driver(Protocol):
    """How the tests make sessions of one deployment, and cut their renewals off."""

    def new(self, clock: Clock) -> Session: ...
    def new_operator(self) -> OperatorCoordination: ...
    def cut_renewals(self, session: Any) -> None: ...


class MemoryDriver:
    def __init__(self) -> None:
        self._hub = Hub(era=3)

    def new(self, clock: Clock) -> Session:
        return MemorySession(self._hub, clock, ttl_ms=TTL_S * 1000, margin_ms=MARGIN_MS)

    def new_operator(self) -> OperatorCoordination:
        return MemoryOperator(self._hub)

    def cut_renewals(self, session: MemorySession) -> None:
        assert session._renewal is not None
        session._renewal.cancel()


class EtcdDriver:
    def __init__(self, endpoint: str) -> None:
        self.settings = CoordinationSettings(
            endpoints=(endpoint,), prefix=f"/contract/{uuid4().hex}", ttl_s=TTL_S, margin_ms=MARGIN_MS
        )

    def new(self, clock: Clock) -> Session:
        return EtcdSession(self.settings, clock, era=3)

    def new_operator(self) -> OperatorCoordination:
        return EtcdOperator(self.settings)

    def cut_renewals(self, session: Any) -> None:
        async def never(*_: object) -> None:
            await asyncio.get_running_loop().create_future()

        session._connection.renew = never


async def until(session: Session, is_so: Callable[[View], bool]) -> View:
    """Wait, by the session's own signal, for a view of which `is_so` holds."""
    async with asyncio.timeout(60):
        while not is_so(session.view()):
            await session.wait_for_change()
    return session.view()
