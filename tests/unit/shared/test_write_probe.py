"""Readiness asks for a write, and makes one only where none came by itself."""

from __future__ import annotations

import asyncio

import pytest

from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import DiskFull, OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.write_probe import FRESH_MS, PROBE_EVERY_MS, WriteProbe


class Disk:
    """Something to write to, that can be full."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.probe = WriteProbe(self.clock.boot_ms)
        self.error: Exception | None = None
        self.writes = 0

    async def write(self) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        self.probe.written_ms = self.clock.boot_ms() if self.error is None else None
        if self.error is not None:
            raise self.error

    async def check(self) -> None:
        await self.probe.check(self.write)


async def test_an_idle_store_is_probed_once_in_a_while() -> None:
    disk = Disk()
    for _ in range(3):
        await disk.check()
        assert disk.writes == 1
        disk.clock.advance(FRESH_MS // 3 - 1)
    await disk.check()
    disk.clock.advance(FRESH_MS)
    await asyncio.gather(*(disk.check() for _ in range(50)))
    assert disk.writes == 2


async def test_writes_that_come_anyhow_are_enough() -> None:
    disk = Disk()
    for _ in range(10):
        await disk.write()
        await disk.check()
        disk.clock.advance(FRESH_MS - 1)
    assert disk.writes == 10


@pytest.mark.parametrize("error", [DiskFull("full"), StoreUnavailable("away"), OutcomeUnknown("no answer")])
async def test_a_store_that_takes_no_write_is_not_ready_until_it_does(error: Exception) -> None:
    disk = Disk()
    await disk.check()
    disk.error = error
    with pytest.raises(type(error)):
        await disk.write()  # somebody's create, a moment after a good write
    for _ in range(20):
        with pytest.raises(type(error), match=str(error)):
            await disk.check()
    assert disk.writes == 3  # however many ask, once a second
    disk.error = None
    with pytest.raises(type(error)):
        await disk.check()
    disk.clock.advance(PROBE_EVERY_MS)
    await disk.check()
    assert disk.writes == 4


async def test_one_bad_write_alone_does_not_make_it_unready() -> None:
    """A client must not be able to do that to the others."""
    disk = Disk()
    disk.error = StoreUnavailable("not this row")
    with pytest.raises(StoreUnavailable):
        await disk.write()
    disk.error = None
    await disk.check()
