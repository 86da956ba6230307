"""Groups and parts; how a process uses the part map that it holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from tests.harness.virtual import run_virtual

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.parts import (
    GROUPS,
    MAP_AGE_MS,
    REFRESH_MS,
    HeldParts,
    PartChange,
    PartMap,
    Phase,
    group_of,
    is_part_count,
    part_of,
    parts_of,
)

CHANGING = PartMap(4, 1, PartChange(64, Phase.READING, "ana", 0))
CHANGED = PartMap(64, 4)


class TestGroups:
    def test_a_group_never_changes(self) -> None:
        groups = [group_of(name) for name in ("pay.0", "pay.1", "mail.17")]
        assert [part_of(group, 4_096) for group in groups] == [3563, 3453, 2676]
        assert groups == [81387, 93565, 47732]

    def test_groups_are_about_even(self) -> None:
        counts = Counter(part_of(group_of(f"app-{number}.0"), 4) for number in range(10_000))
        assert max(counts.values()) < 2_750

    @pytest.mark.parametrize("count", [1, 4, 64, 4096])
    def test_a_part_is_made_of_whole_parts_of_twice_as_many(self, count: int) -> None:
        for group in range(0, GROUPS, 7):
            assert part_of(group, count) == part_of(part_of(group, 2 * count), count)

    def test_parts_of_some_groups_under_two_counts(self) -> None:
        assert parts_of([5, 69, 130], (4, 64)) == [1, 2, 5]
        assert parts_of([], (4,)) == []

    def test_parts_of_all_groups_are_all_parts(self) -> None:
        assert parts_of(None, (4, 16)) == parts_of(range(GROUPS), (16, 4)) == list(range(16))

    def test_counts_are_powers_of_two(self) -> None:
        assert [count for count in range(-4, 5_000) if is_part_count(count)] == [2**n for n in range(13)]


@dataclass(slots=True)
class Rig:
    """A map in a store that can be changed and cut off; what was written under which count."""

    map: PartMap = field(default_factory=PartMap)
    fetches: int = 0
    is_away: bool = False
    written: list[int] = field(default_factory=list)
    answer_s: float = 0.001
    on_write: Callable[[], None] = lambda: None

    async def fetch(self) -> PartMap:
        self.fetches += 1
        await asyncio.sleep(self.answer_s)
        if self.is_away:
            raise StoreUnavailable("away")
        return self.map

    async def write(self, count: int) -> None:
        self.written.append(count)
        self.on_write()
        self.on_write = lambda: None

    async def read(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        return counts

    def held(self) -> HeldParts:
        return HeldParts(self.fetch, boot_ms, self.map)


def boot_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)


def play(work: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        await work(Rig())

    run_virtual(run())


class TestHeld:
    def test_the_map_is_read_once_each_half_of_its_age_while_in_use(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            for _ in range(100):
                await held.write(rig.write)
                await asyncio.sleep(0.4)
            assert 40_000 / REFRESH_MS - 2 <= rig.fetches <= 40_000 / REFRESH_MS + 2
            fetches = rig.fetches
            await asyncio.sleep(3_600)
            assert rig.fetches == fetches
            await held.close()

        play(work)

    def test_a_young_map_costs_no_wait(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            await held.write(rig.write)
            rig.answer_s = 1.0
            await asyncio.sleep(REFRESH_MS / 1_000 + 0.5)
            before_ms = boot_ms()
            await held.write(rig.write)
            assert boot_ms() == before_ms
            await held.close()

        play(work)

    def test_an_entry_written_by_an_old_map_is_filed_again_under_the_new_count(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            await held.write(rig.write)
            await asyncio.sleep(MAP_AGE_MS / 1_000 + 1)
            rig.map = CHANGED
            await held.write(rig.write)
            assert rig.written == [4, 4, 64]
            await held.close()

        play(work)

    def test_a_count_that_is_read_but_not_written_is_not_enough(self) -> None:
        """The copy may have passed already."""

        async def work(rig: Rig) -> None:
            held = rig.held()
            rig.map = PartMap(64, 2, PartChange(4, Phase.COPYING, "ana", 0))
            await held.write(rig.write)
            assert rig.written == [4, 64]

        play(work)

    def test_a_write_that_outlives_its_map_is_checked_however_young_it_was(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            await held.write(rig.write)
            slow = asyncio.Event()

            async def write(count: int) -> None:
                rig.written.append(count)
                await slow.wait()

            writing = asyncio.create_task(held.write(write))
            await asyncio.sleep(MAP_AGE_MS / 1_000 + 1)
            rig.map = CHANGED
            slow.set()
            await writing
            assert rig.written == [4, 4, 64]

        play(work)

    def test_an_index_read_by_an_old_map_is_read_again(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            assert await held.read(rig.read) == (4,)
            await asyncio.sleep(MAP_AGE_MS / 1_000 + 1)
            rig.map = CHANGING
            assert await held.read(rig.read) == (4, 64)

        play(work)

    def test_a_change_and_its_reverse_are_not_taken_for_none(self) -> None:
        """What was read in between may have been filed under the count that came and went."""

        async def work(rig: Rig) -> None:
            held = rig.held()
            await held.read(rig.read)
            await asyncio.sleep(MAP_AGE_MS / 1_000 + 1)
            rig.map = replace(PartMap(), version=8)
            reads = 0

            async def read(counts: tuple[int, ...]) -> None:
                nonlocal reads
                reads += 1

            await held.read(read)
            assert reads == 2

        play(work)

    def test_without_the_map_a_write_is_unknown_and_a_read_fails(self) -> None:
        async def work(rig: Rig) -> None:
            held = rig.held()
            await held.write(rig.write)
            rig.is_away = True
            await asyncio.sleep(MAP_AGE_MS / 1_000 - 1)
            await held.write(rig.write)  # young enough yet
            await asyncio.sleep(2)
            with pytest.raises(OutcomeUnknown, match="perhaps not to be found: away"):
                await held.write(rig.write)
            with pytest.raises(StoreUnavailable, match="away"):
                await held.read(rig.read)
            rig.is_away = False
            await held.write(rig.write)

        play(work)

    def test_a_failed_write_is_the_failure_of_the_write(self) -> None:
        async def work(rig: Rig) -> None:
            async def write(count: int) -> None:
                raise StoreUnavailable("full")

            with pytest.raises(StoreUnavailable, match="full"):
                await rig.held().write(write)

        play(work)
