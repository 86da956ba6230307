"""Play many seeds on all cores: `python -m tests.cluster.campaign FIRST COUNT` prints what breaks."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.cluster.virtual import run_virtual
from tests.cluster.world import World

_BLOCK = 25


async def _play(seed: int) -> list[str]:
    return await World(seed).run()


def play_seed(seed: int) -> list[str]:
    """Return the violations of one run."""
    return run_virtual(_play(seed))


def _play_block(seeds: range) -> dict[int, list[str]]:
    logging.disable(logging.CRITICAL)
    return {seed: found for seed in seeds if (found := play_seed(seed))}


def play_seeds(seeds: range) -> dict[int, list[str]]:
    """Return the violations of each seed that has any."""
    blocks = [seeds[start : start + _BLOCK] for start in range(0, len(seeds), _BLOCK)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        return {seed: found for block in pool.map(_play_block, blocks) for seed, found in block.items()}


def first_failure(seeds: range) -> int | None:
    """Return the first seed with a violation, playing one after the other in this process."""

    def failing() -> Iterator[int]:
        for seed in seeds:
            try:
                found = play_seed(seed)
            except AssertionError as error:
                found = [str(error)]
            if found:
                yield seed

    return next(failing(), None)


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2])
    broken = play_seeds(range(first, first + count))
    for seed, found in broken.items():
        print(seed, found)
    print(f"{count} seeds, {len(broken)} broken")
