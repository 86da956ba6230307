"""Seeded runs of a deployment whose app is deleted and registered anew under load. Every seed must keep the
promise; each planted bug must break it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any

import pytest

from ringtime_shared.apps import deleting
from ringtime_shared.apps.feed import FULL_MS, Proof
from ringtime_shared.models.app import App
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import AppChange
from tests.cluster.campaign import first_failure, play_deletion_seed, play_seeds
from tests.cluster.conftest import many_seeds
from tests.cluster.deletion_world import INGEST, DeletionPlan, DeletionWorld
from tests.cluster.planted import Plant
from tests.cluster.pod import PodStore
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


def wait_without_counting(patch: pytest.MonkeyPatch) -> None:
    """Whoever noted the deletion may have died before its change was counted."""

    async def nothing(self: MemoryStore, app_id: str) -> None:
        await asyncio.sleep(0)

    real = PodStore.__getattr__

    def getattr_(self: PodStore, name: str) -> Any:
        return partial(nothing, self._store) if name == "announce_app" else real(self, name)

    patch.setattr(PodStore, "__getattr__", getattr_)


def leave_a_gap_in_the_feed(patch: pytest.MonkeyPatch) -> None:
    """Changes are named, and not counted."""
    real = MemoryStore.announce_app

    async def announce_app(self: MemoryStore, app_id: str) -> None:
        count = self._app_changes
        await real(self, app_id)
        self._app_changes = count

    patch.setattr(MemoryStore, "announce_app", announce_app)


def vouch_for_the_apps_for_a_minute(patch: pytest.MonkeyPatch) -> None:
    """A feed that stands still passes for one without changes."""
    real = Proof.note_full

    def note_full(self: Proof, count: int, begun_ms: int, told: Collection[AppChange]) -> None:
        real(self, count, begun_ms + FULL_MS, told)

    patch.setattr(Proof, "note_full", note_full)


#: The seed to begin at for one that few seeds show: a little before the first that does.
FIRST_SEEDS: dict[Plant, int] = {vouch_for_the_apps_for_a_minute: 73}


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
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(15, long=300), play_deletion_seed) == {}


#: Operators who always die before their change is counted, and creates all the time.
_UNTOLD = DeletionPlan(
    schedules=300, load_s=100.0, lead_s=1.0, kill_rate=0, cancel_share=1.0, uncounted=1.0, ingest=INGEST
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "plan"),
    [
        (delete_without_waiting, None),
        (delete_without_looking, None),
        (wait_without_counting, _UNTOLD),
        (leave_a_gap_in_the_feed, None),
        (vouch_for_the_apps_for_a_minute, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Plant, plan: DeletionPlan | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 120), partial(play_deletion_seed, plan=plan)) is not None


@pytest.mark.slow
def test_changes_that_nobody_was_told_of_lose_nothing() -> None:
    assert [play_deletion_seed(seed, _UNTOLD) for seed in range(2)] == [[], []]
