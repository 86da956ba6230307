"""Calls that come while one is under way go together in the next: a group commit, without a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Gathering(Generic[A, R]):
    """One call at a time, each for all who have asked since the one before it began. For one event loop."""

    def __init__(self, carry_out: Callable[[Sequence[A]], Awaitable[Sequence[R]]], *, most: int) -> None:
        """
        Args:
            carry_out: from what was asked to the answers, in order; what it raises, all of them get.
            most: how many go together.
        """
        self._carry_out = carry_out
        self._most = most
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, question: A) -> R:
        """Return the answer of a call that begins after this one."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="gathered calls")
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer([each for each in asked if not each[1].done()])  # else nobody waits
        finally:
            self._work = None

    async def _answer(self, asked: Sequence[tuple[A, asyncio.Future[R]]]) -> None:
        if not asked:
            return
        try:
            answers = await self._carry_out([question for question, _ in asked])
        except Exception as error:  # noqa: BLE001 - whoever asked must be told, whatever it is
            for _, waiting in asked:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        except BaseException:  # the event loop ends
            for _, waiting in [*asked, *self._waiting]:
                waiting.cancel()
            raise
        for (_, waiting), answer in zip(asked, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
