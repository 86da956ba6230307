"""What is in no hurry goes to the store along with what is."""

from __future__ import annotations

import asyncio

import pytest
from tests.harness.virtual import on_virtual_time

from ringtime_dispatcher.rounds import Beat


@pytest.mark.parametrize(
    ("every_s", "waited_s"),
    [(0.4, 0.8), (0.2, 0.8), (0.9, 0.9), (0.3, 0.9), (0.6, 1.0), (7.0, 1.0)],
    ids=lambda seconds: f"{seconds} s",
)
@on_virtual_time
async def test_a_pause_ends_at_a_beat_in_its_last_part_or_in_time(every_s: float, waited_s: float) -> None:
    beat, loop = Beat(), asyncio.get_running_loop()

    async def strike() -> None:
        while True:
            await asyncio.sleep(every_s)
            beat.strike()

    striking = asyncio.create_task(strike())
    begun_s = loop.time()
    await beat.wait(1.0)
    assert loop.time() - begun_s == pytest.approx(waited_s)
    striking.cancel()


@on_virtual_time
async def test_a_beat_cuts_off_only_what_still_pauses() -> None:
    beat, loop = Beat(), asyncio.get_running_loop()
    async with beat.pause(1.0):
        await asyncio.sleep(0.9)  # what is waited for comes first

    begun_s = loop.time()
    loop.call_later(0.8, beat.strike)
    loop.call_later(0.8, beat.strike)  # before the first one is heard
    with pytest.raises(TimeoutError):
        async with beat.pause(1.0):
            await asyncio.sleep(5)
    assert loop.time() - begun_s == pytest.approx(0.8)

    loop.call_later(1.0, loop.call_soon, beat.strike)  # in the moment in which it is over
    with pytest.raises(TimeoutError):
        async with beat.pause(1.0):
            await asyncio.sleep(5)
    assert loop.time() - begun_s == pytest.approx(1.8)
