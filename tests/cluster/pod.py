"""One simulated process: its clock, its view of the store, its lease; and how they go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.memory import MemoryStore

START_MS = 1_800_000_000_000 + 37_000  # so that a run of 40 s crosses the end of a minute


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Chances per store call."""

    slow: float = 0.0  #: the call takes up to `slow_s`
    slow_s: float = 4.0
    lost_reply: float = 0.0  #: it is carried out and the caller is told nothing
    refused: float = 0.0  #: it is not carried out and the caller is told so


class Pod:
    """Clock and pause switch of one process. Satisfies `Clock`."""

    def __init__(self, name: str, rng: Random, rates: FaultRates, *, skew_ms: int = 0) -> None:
        self.name = name
        self.rng = rng
        self.rates = rates
        self.is_alive = True
        self._skew_ms = skew_ms
        self._frozen_s: float | None = None
        self._running = asyncio.Event()
        self._running.set()

    @property
    def is_paused(self) -> bool:
        return self._frozen_s is not None

    def now_ms(self) -> int:
        return START_MS + self.boot_ms() + self._skew_ms

    def boot_ms(self) -> int:
        time_s = asyncio.get_running_loop().time() if self._frozen_s is None else self._frozen_s
        return int(time_s * 1000)

    def pause(self, seconds: float) -> None:
        """Freeze the process as SIGSTOP does: no call goes out or comes back, the clock seems to stand."""
        loop = asyncio.get_running_loop()
        if self._frozen_s is None:
            self._frozen_s = loop.time()
            self._running.clear()
            loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._frozen_s = None
        self._running.set()

    async def wait_running(self) -> None:
        await self._running.wait()


class PodStore:
    """The shared store as one pod sees it over a network: slow, and not always answering."""

    def __init__(
        self, store: MemoryStore, pod: Pod, spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    ):
        self._store = store
        self._pod = pod
        self._spawn = spawn

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            pod, rng, rates = self._pod, self._pod.rng, self._pod.rates
            await pod.wait_running()
            if rng.random() < rates.refused:
                raise StoreUnavailable(f"{name}: simulated refusal")
            delay_s = rng.uniform(0, rates.slow_s) if rng.random() < rates.slow else 0.004
            # What was sent is carried out, even if the sender dies or stops waiting.
            answer = await asyncio.shield(self._spawn(_later(delay_s, method, args)))
            await pod.wait_running()
            if rng.random() < rates.lost_reply:
                raise OutcomeUnknown(f"{name}: simulated lost reply")
            return answer

        return call


async def _later(delay_s: float, method: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    await asyncio.sleep(delay_s)
    return await method(*args)


class PodSession(MemorySession):
    """A lease whose renewals and calls stop while its pod is paused, and end when it dies."""

    def __init__(self, hub: Hub, pod: Pod, *, ttl_ms: int, margin_ms: int) -> None:
        super().__init__(hub, pod, ttl_ms=ttl_ms, margin_ms=margin_ms)
        self._pod = pod

    async def _reach(self) -> None:
        await self._pod.wait_running()
        await asyncio.sleep(0.002)
        await self._pod.wait_running()

    async def join(self, member: Any) -> None:
        await self._reach()
        await super().join(member)

    async def claim(self, instances: Any) -> Any:
        await self._reach()
        return await super().claim(instances)

    async def release(self, instances: Any) -> None:
        await self._reach()
        await super().release(instances)

    async def wait_for_change(self) -> None:
        await super().wait_for_change()
        await self._pod.wait_running()

    def renew(self, started_ms: int) -> None:
        if self._pod.is_alive and not self._pod.is_paused:
            super().renew(started_ms)
