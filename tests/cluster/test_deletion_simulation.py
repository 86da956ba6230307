"""Seeded runs of a deployment whose app is deleted and registered anew under load. Every seed must keep the
promise; each planted bug must break it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringtime_shared import deleting
from ringtime_shared.models.app import App
from tests.cluster.campaign import first_failure, play_deletion_seed, play_seeds
from tests.cluster.deletion_world import DeletionWorld
from tests.cluster.planted import Plant
from tests.harness.report import IS_LONG
from tests.harness.virtual import run_virtual


def delete_without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Creates on an older map are still to come."""
    real = deleting.Deleter.__init__

    def init(self: deleting.Deleter, *args: Any) -> None:
        real(self, *args)
        self._quiet_s = 0

    patch.setattr(deleting.Deleter, "__init__", init)


def delete_without_looking(patch: pytest.MonkeyPatch) -> None:
    """What was acknowledged while the deletion began."""

    async def nothing(self: deleting.Deleter, app: App) -> None:
        await asyncio.sleep(0)

    patch.setattr(deleting.Deleter, "_clear", nothing)


@pytest.mark.parametrize("seed", range(6))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_deletion_seed(seed) == []


def test_the_app_is_deleted_now_and_then_in_these_runs() -> None:
    async def count(seed: int) -> int:
        world = DeletionWorld(seed)
        await world.run()
        return world.deleted

    assert sum(run_virtual(count(seed)) for seed in range(3)) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_seeds_keep_the_promise() -> None:
    assert play_seeds(range(1_000, 1_300 if IS_LONG else 1_050), play_deletion_seed) == {}


@pytest.mark.parametrize("plant", [delete_without_waiting, delete_without_looking])
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert first_failure(range(40), play_deletion_seed) is not None
