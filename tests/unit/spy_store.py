"""A store whose calls are written down, held up, or made to fail."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from ringtime_shared.stores.memory import MemoryStore


class SpyStore:
    """Passes every call on to a `MemoryStore`."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.real = MemoryStore(now_ms)
        self.failure: BaseException | None = None  #: what every call raises, if not None
        self.calls: list[tuple[str, Any]] = []  #: name and first argument, in order of their start
        self._faults: dict[str, list[tuple[BaseException, bool]]] = defaultdict(list)
        self._gates: dict[str, asyncio.Event] = {}

    def fail(self, name: str, *errors: BaseException, carried_out: bool = False) -> None:
        """Let the next calls of `name` raise these; `carried_out`: only their answers are lost."""
        self._faults[name] += [(error, carried_out) for error in errors]

    def heal(self, name: str) -> None:
        """Let calls of `name` succeed again."""
        self._faults[name].clear()

    def hold(self, name: str) -> asyncio.Event:
        """Keep calls of `name` waiting until the event is set."""
        gate = self._gates[name] = asyncio.Event()
        return gate

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def sizes(self, name: str) -> list[int]:
        """Return how many things each call of `name` was given."""
        return [len(argument) for called, argument in self.calls if called == name]

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.real, name)

        async def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, args[0] if args else None))
            if name in self._gates:
                await self._gates[name].wait()
            if self.failure is not None:
                raise self.failure
            error, carried_out = self._faults[name].pop(0) if self._faults[name] else (None, True)
            answer = await method(*args, **named) if carried_out else None
            if error is not None:
                raise error
            return answer

        return call


async def spin(turns: int = 20) -> None:
    """Let every task run until it waits for something outside."""
    for _ in range(turns):
        await asyncio.sleep(0)
