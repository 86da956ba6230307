"""Lanes: work that is done a few at a time, in order, by whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """What waits for some work, and is taken up in order, a few at a time."""

    def __init__(self, name: str, work: Callable[[list[T]], Awaitable[None]], at_once: int) -> None:
        self._name = name
        self._work = work
        self._at_once = at_once
        self._task: asyncio.Task[None] | None = None
        self.waiting: list[T] = []

    def go(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Begin to work, if something waits and nobody does."""
        if self.waiting and not self._is_at_work and may_go_on():
            self._task = asyncio.create_task(self._run(may_go_on), name=self._name)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self._is_at_work)

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self, may_go_on: Callable[[], bool]) -> None:
        while self.waiting and may_go_on():
            some, self.waiting = self.waiting[: self._at_once], self.waiting[self._at_once :]
            await self._work(some)

    async def close(self) -> list[T]:
        """Stop at once; return what was not taken up."""
        if self._task is not None and self._is_at_work:
            self._task.cancel()
            await asyncio.wait([self._task])
        left, self.waiting = self.waiting, []
        return left
