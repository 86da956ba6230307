"""Seeded runs of a deployment whose app is deleted and registered anew under load. Every seed must keep the
promise; each planted bug must break it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringtime_shared import deleting
from ringtime_shared.models.app import App
from tests.cluster.deletion_world import DeletionPlan, DeletionWorld
from tests.cluster.planted import Plant
from tests.harness.virtual import run_virtual


def play(seed: int, plan: DeletionPlan | None = None) -> tuple[list[str], int]:
    """Return the violations of one run, and how often the app was gone."""

    async def run() -> tuple[list[str], int]:
        world = DeletionWorld(seed, plan)
        return await world.run(), world.deleted

    return run_virtual(run())


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
    assert play(seed)[0] == []


def test_the_app_is_deleted_now_and_then_in_these_runs() -> None:
    assert sum(play(seed)[1] for seed in range(3)) > 0


@pytest.mark.parametrize("plant", [delete_without_waiting, delete_without_looking])
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(play(seed)[0] for seed in range(40))
