"""Every AppStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import NOW_MS, before, make_app, make_letter

from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import AppExists, NotFound, VersionConflict
from ringtime_shared.ids import MAX_APPS
from ringtime_shared.models.app import App, AppConfiguration, Deletion, Instance, Resize, SigningSecret
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.stores.protocol import Marks, MarksWrite, Store

FULL_CONFIGURATION = AppConfiguration(
    future_period_days=30,
    retention_days=7,
    payload_bytes=1024,
    http_attempts=3,
    http_timeout_ms=2_000,
    max_lateness_s=60,
    retry=RetryRules(
        first_delay_ms=500, factor=1.5, max_delay_ms=9_000, max_age_s=60, statuses=("5xx", "404")
    ),
    max_in_flight=7,
    max_per_second=50,
    weight=3,
    hooks=Hooks(on_missed=Hook(callback_type="http", callback_details='{"url":"ü"}'), has_payload=True),
)
SECRETS = tuple(
    SigningSecret(secret_id=f"key-{n}", secret=f"whsec_{'A' * 32}{n}=", created_ms=NOW_MS - n)
    for n in range(3)
)
RESIZE = Resize(quota=8, before=3, operator='ana "ü"', begun_ms=NOW_MS + 3, term=5 << 48 | 17)

DELETION = Deletion(cancels=True, began_at=7, begun_ms=NOW_MS + 4, was_active=False)


def instances(app: App, partitions: range) -> list[Instance]:
    return [Instance(app.app_id, partition) for partition in partitions]


@pytest.mark.parametrize(
    "changes",
    [
        {"configuration": AppConfiguration()},
        {"configuration": FULL_CONFIGURATION},
        {"configuration": AppConfiguration(retry=RetryRules())},
        {"configuration": AppConfiguration(retry=RetryRules(statuses=()))},
        {"secrets": SECRETS},
        {"resize": RESIZE},
        {"resize": replace(RESIZE, term=0)},
        {"halted_ms": NOW_MS + 5},
        {"deletion": DELETION},
        {
            "secrets": SECRETS[:1],
            "halted_ms": 0,
            "deletion": DELETION,
            "configuration": FULL_CONFIGURATION,
            "active": False,
            "resize": RESIZE,
        },
    ],
    ids=[
        "empty",
        "full",
        "no rules",
        "no statuses",
        "secrets",
        "resize",
        "first resize",
        "halted",
        "deletion",
        "all",
    ],
)
async def test_created_app_comes_back_whole(store: Store, changes: dict[str, Any]) -> None:
    asked = make_app(writable=2, polled=5, created_ms=NOW_MS + 7, **changes)
    created = await store.create_app(asked)
    assert replace(created, number=asked.number) == asked
    assert await store.fetch_app(asked.app_id) == created


async def test_numbers_are_given_out_once_and_fit_an_id(store: Store) -> None:
    created = [await store.create_app(make_app(number=12_345)) for _ in range(5)]
    numbers = [app.number for app in created]
    assert len(set(numbers)) == 5
    assert all(0 <= number < MAX_APPS for number in numbers)


async def test_create_of_a_registered_app_changes_nothing(store: Store, app: App) -> None:
    with pytest.raises(AppExists):
        await store.create_app(replace(app, writable=9, polled=9))
    assert await store.fetch_app(app.app_id) == app
    assert await store.fetch_marks(instances(app, range(3, 9))) == {}


async def test_app_ids_are_compared_exactly(store: Store, app: App) -> None:
    upper = await store.create_app(make_app(app_id=app.app_id.upper()))
    assert await store.fetch_app(app.app_id) == app
    assert await store.fetch_app(upper.app_id) == upper


async def test_unknown_app_is_none(store: Store) -> None:
    assert await store.fetch_app("app-nobody") is None


async def test_all_apps_come_by_app_id(store: Store) -> None:
    created = [await store.create_app(make_app()) for _ in range(5)]
    ours = {app.app_id for app in created}
    fetched = [app for app in await store.fetch_apps() if app.app_id in ours]
    assert fetched == sorted(created, key=lambda app: app.app_id)


async def test_apps_and_their_polled_partitions_are_counted(store: Store) -> None:
    before = await store.count_apps()
    app = await store.create_app(make_app(writable=2, polled=5))
    await store.create_app(make_app(writable=1, polled=1, active=False))
    assert await store.count_apps() == (before.apps + 2, before.partitions + 6)
    await store.replace_app(replace(app, version=2, polled=9))
    assert await store.count_apps() == (before.apps + 2, before.partitions + 10)


async def test_create_writes_first_marks_a_minute_before(store: Store) -> None:
    app = await store.create_app(make_app(writable=1, polled=3, created_ms=NOW_MS + 5))
    first = Marks(NOW_MS + 5 - 60_000, NOW_MS + 5 - 60_000)
    found = await store.fetch_marks(instances(app, range(5)))
    assert found == dict.fromkeys(instances(app, range(3)), first)


@pytest.mark.parametrize("term", [0, 1])
async def test_first_marks_are_of_term_zero(store: Store, app: App, term: int) -> None:
    instance = Instance(app.app_id, 0)
    await store.put_marks([MarksWrite(instance, term, Marks(NOW_MS + 1, NOW_MS))])
    assert await store.fetch_marks([instance]) == {instance: Marks(NOW_MS + 1, NOW_MS)}


async def test_replace_stores_the_next_version(store: Store, app: App) -> None:
    changed = replace(
        app, version=2, active=False, writable=2, configuration=FULL_CONFIGURATION, secrets=SECRETS
    )
    await store.replace_app(changed)
    assert await store.fetch_app(app.app_id) == changed
    emptied = replace(changed, version=3, configuration=AppConfiguration(), secrets=())
    await store.replace_app(emptied)
    assert await store.fetch_app(app.app_id) == emptied


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_replace_of_another_version_conflicts(store: Store, app: App, version: int) -> None:
    with pytest.raises(VersionConflict):
        await store.replace_app(replace(app, version=version, polled=9))
    assert await store.fetch_app(app.app_id) == app
    assert await store.fetch_marks(instances(app, range(3, 9))) == {}


async def test_repeated_replace_is_no_conflict(store: Store, app: App) -> None:
    changed = replace(app, version=2, active=False, configuration=FULL_CONFIGURATION, secrets=SECRETS)
    await store.replace_app(changed)
    await store.replace_app(changed)
    assert await store.fetch_app(app.app_id) == changed


async def test_two_different_changes_of_one_version_conflict(store: Store, app: App) -> None:
    await store.replace_app(replace(app, version=2, active=False))
    for change in ({"writable": 1}, {"active": False, "secrets": SECRETS}):
        with pytest.raises(VersionConflict):
            await store.replace_app(replace(app, version=2, **change))


async def test_repeat_after_a_later_change_conflicts(store: Store, app: App) -> None:
    changed = replace(app, version=2, active=False)
    await store.replace_app(changed)
    await store.replace_app(replace(changed, version=3, active=True))
    with pytest.raises(VersionConflict):
        await store.replace_app(changed)


async def test_a_resize_begins_changes_hands_and_ends(store: Store, app: App) -> None:
    begun = replace(app, version=2, polled=8, resize=RESIZE)
    taken = replace(begun, version=3, resize=replace(RESIZE, operator="bob"))
    ended = replace(taken, version=4, writable=8, resize=None)
    for state in (begun, taken, ended):
        for _ in range(2):
            await store.replace_app(state)
            assert await store.fetch_app(app.app_id) == state
        assert state in await store.fetch_apps()
    with pytest.raises(VersionConflict):
        await store.replace_app(taken)


async def test_of_two_resizes_of_one_version_one_conflicts(store: Store, app: App) -> None:
    await store.replace_app(replace(app, version=2, polled=8, resize=RESIZE))
    with pytest.raises(VersionConflict):
        await store.replace_app(replace(app, version=2, polled=8, resize=replace(RESIZE, operator="bob")))


async def test_replace_of_an_unknown_app_is_not_found(store: Store) -> None:
    app = make_app(version=2)
    with pytest.raises(NotFound):
        await store.replace_app(app)
    assert await store.fetch_app(app.app_id) is None


async def test_gained_partitions_get_first_marks_counted_from_now(
    store: Store, app: App, clock: ManualClock
) -> None:
    clock.advance(3_600_000)
    await store.replace_app(replace(app, version=2, polled=5))
    first = Marks(clock.now_ms() - 60_000, clock.now_ms() - 60_000)
    assert await store.fetch_marks(instances(app, range(3, 6))) == dict.fromkeys(
        instances(app, range(3, 5)), first
    )


async def test_partitions_gained_again_keep_their_marks(store: Store, app: App, clock: ManualClock) -> None:
    instance = Instance(app.app_id, 2)
    await store.put_marks([MarksWrite(instance, 4, Marks(NOW_MS + 9, NOW_MS + 8))])
    await store.replace_app(replace(app, version=2, writable=1, polled=1))
    clock.advance(3_600_000)
    await store.replace_app(replace(app, version=3, writable=1, polled=3))
    assert await store.fetch_marks([instance]) == {instance: Marks(NOW_MS + 9, NOW_MS + 8)}


async def test_a_deleted_app_is_gone_and_deleting_it_again_is_no_error(store: Store, app: App) -> None:
    counts = await store.count_apps()
    for _ in range(2):
        await store.delete_app(app)
        assert await store.fetch_app(app.app_id) is None
        assert app.app_id not in {each.app_id for each in await store.fetch_apps()}
        assert await store.count_apps() == (counts.apps - 1, counts.partitions - app.polled)


@pytest.mark.parametrize("version", [0, 2])
async def test_delete_of_another_version_conflicts(store: Store, app: App, version: int) -> None:
    with pytest.raises(VersionConflict):
        await store.delete_app(replace(app, version=version))
    assert await store.fetch_app(app.app_id) == app


async def test_the_next_app_of_an_id_has_nothing_of_the_one_before(store: Store) -> None:
    first = await store.create_app(make_app(secrets=SECRETS, configuration=FULL_CONFIGURATION))
    letter = make_letter(first, NOW_MS)
    await store.put_dead_letters([letter])
    await store.delete_app(first)
    second = await store.create_app(make_app(app_id=first.app_id))
    assert second.number > first.number
    assert await store.fetch_app(first.app_id) == second
    assert second.secrets == ()
    assert await store.fetch_dead_letters(first.app_id, before(NOW_MS), NOW_MS, 10) == []
    assert await store.count_dead_letters(first.app_id, NOW_MS, NOW_MS) == 0


async def test_numbers_rise_over_deletions(store: Store) -> None:
    numbers = []
    for _ in range(3):
        app = await store.create_app(make_app())
        numbers.append(app.number)
        await store.delete_app(app)
    assert numbers == sorted(set(numbers))


async def test_nothing_of_the_one_before_changes_the_next_app_of_an_id(store: Store, app: App) -> None:
    await store.delete_app(app)
    second = await store.create_app(make_app(app_id=app.app_id))
    with pytest.raises(VersionConflict):
        await store.replace_app(replace(app, version=2, active=False))
    await store.delete_app(app)
    assert await store.fetch_app(app.app_id) == second


@pytest.mark.parametrize("term", [0, 5])
async def test_the_next_app_of_an_id_begins_a_minute_before_it_was_made(
    store: Store, app: App, term: int
) -> None:
    old = dict.fromkeys(instances(app, range(3)), Marks(NOW_MS - 50_000, NOW_MS - 50_001))
    await store.put_marks([MarksWrite(each, term, marks) for each, marks in old.items()])
    await store.delete_app(app)
    later_ms = NOW_MS + 86_400_000
    second = await store.create_app(make_app(app_id=app.app_id, polled=4, created_ms=later_ms))
    first = Marks(later_ms - 60_000, later_ms - 60_000)
    found = await store.fetch_marks(instances(second, range(5)))
    assert found == dict.fromkeys(instances(second, range(4)), first)
    # Under a term that lets the next owner in, and an older one no more than before.
    await store.put_marks([MarksWrite(Instance(app.app_id, 0), 6, Marks(later_ms, later_ms))])
    assert (await store.fetch_marks([Instance(app.app_id, 0)])).popitem()[1] == Marks(later_ms, later_ms)


async def test_marks_written_late_for_a_deleted_app_are_no_lower_bound(store: Store, app: App) -> None:
    await store.delete_app(app)
    late = Marks(NOW_MS - 50_000, NOW_MS - 50_000)
    await store.put_marks([MarksWrite(each, 5, late) for each in instances(app, range(3))])
    later_ms = NOW_MS + 86_400_000
    await store.create_app(make_app(app_id=app.app_id, created_ms=later_ms))
    first = Marks(later_ms - 60_000, later_ms - 60_000)
    assert await store.fetch_marks(instances(app, range(3))) == dict.fromkeys(instances(app, range(3)), first)
