"""Calls that go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.spy_store import spin

from ringtime_shared.stores.cassandra.gathering import Gathering


class Server:
    """Doubles numbers, when it is let."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.gathering: Gathering[int, int] = Gathering(self._carry_out, most=3)

    async def _carry_out(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [2 * number for number in numbers]

    def ask(self, number: int) -> asyncio.Task[int]:
        return asyncio.create_task(self.gathering.ask(number))


async def test_who_comes_meanwhile_goes_together_some_at_a_time() -> None:
    server = Server()
    first = server.ask(1)
    await spin()
    others = [server.ask(number) for number in range(2, 7)]
    await spin()
    assert server.calls == [[1]], "what began before somebody asked is not for him"
    server.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12]
    assert server.calls == [[1], [2, 3, 4], [5, 6]]


async def test_an_error_is_for_those_who_went_together_and_the_next_are_served() -> None:
    server = Server()
    server.gate.set()
    server.error = ValueError("no")
    told = await asyncio.gather(server.ask(1), server.ask(2), return_exceptions=True)
    assert [type(each) for each in told] == [ValueError, ValueError]
    server.error = None
    assert await server.ask(3) == 6


async def test_who_is_cancelled_keeps_nobody_else_back() -> None:
    server = Server()
    first, second, third = server.ask(1), server.ask(2), server.ask(3)
    await spin()
    first.cancel()
    server.gate.set()
    assert [await second, await third] == [4, 6]
    with pytest.raises(asyncio.CancelledError):
        await first
    late, later = server.ask(4), server.ask(5)
    late.cancel()
    assert await later == 10
    assert server.calls[-1] == [5]
