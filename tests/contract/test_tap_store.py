"""Every TapStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from tests.contract.builders import NOW_MS

from ringtime_shared.buckets import BUCKET_MS, bucket_of
from ringtime_shared.models.app import App
from ringtime_shared.models.shadow import Handover, Shadow, Side, Tap
from ringtime_shared.stores.protocol import Store, TapKey

DAY_MS = 86_400_000


@pytest.fixture
def app_id() -> str:
    """Another for each test: they share tables."""
    return f"shop-{uuid4()}"


def make_tap(app_id: str, schedule_id: UUID, **changes: object) -> Tap:
    tap = Tap(
        app_id=app_id,
        schedule_id=schedule_id,
        tap_id=uuid4(),
        fire_ms=NOW_MS,
        at_ms=NOW_MS - 59_000,
        expires_ms=NOW_MS + DAY_MS,
        is_passed=True,
        took_ms=12,
        code=503,
        error="ø",
    )
    return replace(tap, **changes)  # type: ignore[arg-type]


async def test_calls_of_a_minute_come_page_by_page_each_once(store: Store, app_id: str) -> None:
    ids = [uuid4() for _ in range(4)]
    taps = [make_tap(app_id, each) for each in ids for _ in range(3)]
    kept = make_tap(
        app_id, ids[0], is_passed=False, took_ms=None, code=None, error="", fire_ms=NOW_MS + BUCKET_MS
    )
    for tap in (*taps, kept, make_tap(f"{app_id}-other", ids[0])):
        await store.put_tap(tap)
    found: list[Tap] = []
    after: TapKey | None = None
    while page := await store.fetch_taps(app_id, bucket_of(NOW_MS), after, 5):
        found += page
        after = TapKey(page[-1].schedule_id, page[-1].tap_id)
    assert len(found) == len(taps)
    assert {each.tap_id: each for each in found} == {each.tap_id: each for each in taps}
    assert [each.schedule_id for each in found[::3]] == [each.schedule_id for each in found[2::3]]
    assert await store.fetch_taps(app_id, bucket_of(NOW_MS) + 1, None, 5) == [kept]


async def test_a_call_that_is_put_again_is_the_same_one(store: Store, app_id: str) -> None:
    tap = make_tap(app_id, uuid4())
    await store.put_tap(tap)
    await store.put_tap(changed := replace(tap, code=200))
    assert await store.fetch_taps(app_id, bucket_of(NOW_MS), None, 5) == [changed]


async def test_the_shadow_of_an_app_is_kept_with_it(store: Store, app: App) -> None:
    assert app.shadow is None
    handovers = (Handover(at_ms=NOW_MS, to=Side.RINGTIME), Handover(at_ms=NOW_MS + 1, to=Side.GOSCHEDULER))
    shadow = Shadow(begun_ms=NOW_MS, handovers=handovers, is_over=True)
    await store.replace_app(changed := replace(app, shadow=shadow, version=app.version + 1))
    assert await store.fetch_app(app.app_id) == changed
    await store.replace_app(replace(changed, shadow=None, version=changed.version + 1))
    found = await store.fetch_app(app.app_id)
    assert found is not None
    assert found.shadow is None
