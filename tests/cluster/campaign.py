"""Play many seeds on all cores: `python -m tests.cluster.campaign FIRST COUNT KIND...`.

KIND is faults, resize, deletion, clocks, crons, changes or wide; all of them if none is named. Says what
breaks.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from hashlib import sha256

from ringtime_shared.process.service import settle_memory
from tests.cluster.change_world import ChangePlan, ChangeWorld
from tests.cluster.clock_world import ClockWorld
from tests.cluster.cron_world import CronPlan, CronWorld
from tests.cluster.deletion_world import DeletionPlan, DeletionWorld
from tests.cluster.resize_world import ResizePlan, ResizeWorld
from tests.cluster.verifier import Send
from tests.cluster.wide_world import WidePlan, WideWorld
from tests.cluster.world import Plan, World
from tests.harness.virtual import run_virtual

_BLOCK = 10

Play = Callable[[int], list[str]]  #: from a seed to the violations of its run


def _run(make_world: Callable[[], World]) -> list[str]:
    async def run() -> list[str]:
        return await make_world().run()

    return run_virtual(run())


def play_seed(seed: int, plan: Plan | None = None) -> list[str]:
    """Return the violations of one run."""
    return _run(lambda: World(seed, plan))


def play_resize_seed(seed: int, plan: ResizePlan | None = None) -> list[str]:
    """Return the violations of one run in which an app is resized."""
    return _run(lambda: ResizeWorld(seed, plan))


def play_deletion_seed(seed: int, plan: DeletionPlan | None = None) -> list[str]:
    """Return the violations of one run in which an app is deleted and registered anew."""
    return _run(lambda: DeletionWorld(seed, plan))


def play_clock_seed(seed: int) -> list[str]:
    """Return the violations of one run in which clocks lie."""
    return _run(lambda: ClockWorld(seed))


def play_cron_seed(seed: int, plan: CronPlan | None = None) -> list[str]:
    """Return the violations of one run with recurring schedules."""
    return _run(lambda: CronWorld(seed, plan))


def play_change_seed(seed: int, plan: ChangePlan | None = None) -> list[str]:
    """Return the violations of one run in which schedules are changed."""
    return _run(lambda: ChangeWorld(seed, plan))


def play_wide_seed(seed: int, plan: WidePlan | None = None) -> list[str]:
    """Return the violations of one run with many apps."""
    return _run(lambda: WideWorld(seed, plan))


async def _play_and_recall(world_type: type[World], seed: int) -> tuple[list[str], list[Send], float]:
    world = world_type(seed)
    return await world.run(), world.sends, world.rng.random()


def recall(kind: str, seed: int) -> str:
    """Return what tells the run of a seed from every other: what broke, all that was sent, and the number
    drawn next."""
    history = run_virtual(_play_and_recall(WORLDS[kind], seed))
    return f"{kind} {seed} {sha256(repr(history).encode()).hexdigest()}"


def begin_player() -> None:
    """For a process that does nothing but play: nobody reads what it logs, and what it imported stays."""
    logging.disable(logging.CRITICAL)
    settle_memory()


def _play_block(seeds: range, play: Play) -> dict[int, list[str]]:
    return {seed: found for seed in seeds if (found := play(seed))}


@cache
def _players() -> ProcessPoolExecutor:
    """One pool for all campaigns of a process: each new one imports everything in every player."""
    return ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), begin_player)


def end_players() -> None:
    """End the processes that `play_seeds` started; it starts others when it is called again."""
    if _players.cache_info().currsize:
        _players().shutdown()
        _players.cache_clear()


def play_seeds(seeds: range, play: Play = play_seed) -> dict[int, list[str]]:
    """Return the violations of each seed that has any; `end_players` comes at the end."""
    blocks = [seeds[start : start + _BLOCK] for start in range(0, len(seeds), _BLOCK)]
    answers = _players().map(partial(_play_block, play=play), blocks)
    return {seed: found for block in answers for seed, found in block.items()}


def first_failure(seeds: range, play: Play = play_seed) -> int | None:
    """Return the first seed with a violation, playing one after the other in this process."""

    def failing() -> Iterator[int]:
        for seed in seeds:
            try:
                found = play(seed)
            except AssertionError as error:
                found = [str(error)]
            if found:
                yield seed

    return next(failing(), None)


KINDS: dict[str, Play] = {
    "faults": play_seed,
    "resize": play_resize_seed,
    "deletion": play_deletion_seed,
    "clocks": play_clock_seed,
    "crons": play_cron_seed,
    "changes": play_change_seed,
    "wide": play_wide_seed,
}

WORLDS: dict[str, type[World]] = {
    "faults": World,
    "resize": ResizeWorld,
    "deletion": DeletionWorld,
    "clocks": ClockWorld,
    "crons": CronWorld,
    "changes": ChangeWorld,
    "wide": WideWorld,
}

if __name__ == "__main__":
    first, count, named = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    broken = 0
    for kind in named or KINDS:
        found = play_seeds(range(first, first + count), KINDS[kind])
        broken += len(found)
        for seed, violations in found.items():
            print(kind, seed, violations)
        print(f"{kind}: {count} seeds, {len(found)} broken", flush=True)
    end_players()
    sys.exit(broken > 0)
