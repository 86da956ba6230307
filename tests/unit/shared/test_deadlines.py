"""Deadlines that share timers end what `asyncio.timeout` would end, when it would."""

from __future__ import annotations

import asyncio

import pytest

from ringtime_shared.callbacks.deadlines import Deadlines


async def test_each_ends_at_its_own_time_and_those_that_have_ended_are_forgotten() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()

    async def wait(seconds: float, starts_in_s: float) -> float:
        await asyncio.sleep(starts_in_s)
        began_s = loop.time()
        with pytest.raises(TimeoutError), deadlines.after(seconds):
            await asyncio.Event().wait()
        return loop.time() - began_s - seconds

    async def end_in_time(seconds: float) -> float:
        with deadlines.after(seconds) as deadline:
            await asyncio.sleep(0)
        assert not deadline.is_over
        return 0

    starts_s = [n / 200 for n in range(20)]
    late_s = await asyncio.gather(
        *(wait(0.05, start_s) for start_s in starts_s),
        *(wait(0.08, start_s) for start_s in starts_s),
        *(end_in_time(0.05) for _ in starts_s),
    )
    assert min(late_s) >= -0.002  # the resolution of the event loop
    assert not deadlines._lines


async def test_a_line_in_which_somebody_does_not_go_serves_those_that_come_after() -> None:
    deadlines = Deadlines()

    async def tarry() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)

    async def stay() -> None:
        with pytest.raises(TimeoutError), deadlines.after(0.01):
            await tarry()

    async def come_later() -> None:
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError), deadlines.after(0.01):
            await asyncio.Event().wait()

    await asyncio.wait_for(asyncio.gather(stay(), come_later()), 60)
    assert not deadlines._lines


async def test_a_cancel_by_others_stays_one() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.after(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines._lines


async def test_what_ends_by_itself_at_the_same_moment_does_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    own, guards = Deadlines(), Deadlines(waits_a_turn=True)
    loop = asyncio.get_running_loop()
    time = loop.time

    async def work() -> str:
        with guards.after(31):
            try:
                with own.after(30):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "said what it knew"
        raise AssertionError

    loop.call_soon(monkeypatch.setattr, loop, "time", lambda: time() + 60)  # the loop is late for both
    assert await work() == "said what it knew"
