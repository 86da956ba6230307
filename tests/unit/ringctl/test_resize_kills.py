"""A resize cut off at each of its calls, before or after that is carried out: whoever comes next ends it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from tests.unit.ringctl.resize_rig import CutStore, Killed, ResizeRig, actions, play, quotas

from ringtime_ringctl.resize.runner import Resizer
from ringtime_shared.models.app import App

BEFORE = 4
pytestmark = pytest.mark.timeout(600)  # ./test runs these in time that nobody else asks for


async def run_whole(resizer: Resizer, quota: int) -> None:
    begun = await resizer.begin(quota)
    await resizer.finish(begun, timeout_s=100, is_waiting=True)


def is_sound(app: App, quota: int) -> bool:
    """Whether creates go only where it is polled, and one of the two quotas is what they have."""
    return app.writable <= app.polled and app.writable in (BEFORE, quota)


async def cut(rig: ResizeRig, quota: int, cut_at: int, is_carried_out: bool) -> bool:
    """Run a resize that ends at its `cut_at`-th call; return whether it came so far."""
    rig.dispatch()
    row = await rig.file(partition=3, in_s=20)
    store = CutStore(rig.store, cut_at=cut_at, is_carried_out=is_carried_out)
    try:
        await run_whole(rig.resizer("ana", store=store), quota)
    except Killed:
        app = await rig.app()
        assert is_sound(app, quota)
        stored = await rig.store.fetch_row(row.place, row.schedule.schedule_id)
        assert stored is not None
        assert stored.outcome is not None or row.place.partition < app.polled
        return True
    return False


def play_every_cut(work: Callable[[ResizeRig, int], Coroutine[Any, Any, bool]]) -> int:
    """Play `work` with a cut at call 1, 2 and so on, until it gets by without; return the number of cuts."""

    def was_cut(cut_at: int) -> bool:
        return play(lambda rig: work(rig, cut_at))

    return next(cut_at for cut_at in count(1) if not was_cut(cut_at)) - 1


@pytest.mark.parametrize("is_carried_out", [False, True])
@pytest.mark.parametrize("quota", [8, pytest.param(2, marks=pytest.mark.slow)])
def test_whoever_resumes_finishes_it(quota: int, is_carried_out: bool) -> None:
    async def work(rig: ResizeRig, cut_at: int) -> bool:
        was_cut = await cut(rig, quota, cut_at, is_carried_out)
        app = await rig.app()
        resizer = rig.resizer("bob")
        begun = await resizer.resume() if app.resize is not None else await resizer.begin(quota)
        if begun.resize is not None:
            await resizer.finish(begun, timeout_s=100, is_waiting=True)
        assert quotas(await rig.app()) == (quota, quota, False)
        # Every change of the map is in the log; a cut may have come between an entry and its change.
        changes = [name for name in actions(await rig.audit()) if not name.endswith("failed")]
        assert len(changes) >= (await rig.app()).version - 1
        return was_cut

    assert play_every_cut(work) >= 9


@pytest.mark.parametrize("is_carried_out", [False, True])
@pytest.mark.parametrize("quota", [8, pytest.param(2, marks=pytest.mark.slow)])
def test_whoever_gives_it_up_undoes_it(quota: int, is_carried_out: bool) -> None:
    async def work(rig: ResizeRig, cut_at: int) -> bool:
        was_cut = await cut(rig, quota, cut_at, is_carried_out)
        app = await rig.app()
        if app.resize is not None:
            app = await rig.resizer("bob").abort()
            assert quotas(app) == (BEFORE, BEFORE, False)
        assert quotas(app) in ((BEFORE, BEFORE, False), (quota, quota, False))
        return was_cut

    assert play_every_cut(work) >= 1


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_a_resume_and_an_abort_that_are_cut_off_can_be_repeated(is_carried_out: bool) -> None:
    async def work(rig: ResizeRig, cut_at: int) -> bool:
        rig.dispatch()
        await rig.resizer("ana").begin(2)
        store = CutStore(rig.store, cut_at=cut_at, is_carried_out=is_carried_out)
        resizer = rig.resizer("bob", store=store)
        was_cut = False
        try:
            await resizer.resume()
            await resizer.abort()
        except Killed:
            was_cut = True
        if (await rig.app()).resize is not None:
            await rig.resizer("bob").resume()
            await rig.resizer("bob").abort()
        assert quotas(await rig.app()) == (BEFORE, BEFORE, False)
        return was_cut

    assert play_every_cut(work) >= 1
