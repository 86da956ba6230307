"""Every MarkStore driver passes this file."""

from __future__ import annotations

import pytest
from tests.contract.builders import NOW_MS, make_app

from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.protocol import Marks, MarksWrite, Store

TERM = (3 << 48) | 1_234_567  # as large as real ones: era << 48 | epoch


@pytest.fixture
def instance(app: App) -> Instance:
    return Instance(app.app_id, 1)


def marks(sealed: int, settled: int) -> Marks:
    return Marks(NOW_MS + sealed, NOW_MS + settled)


async def put(store: Store, instance: Instance, term: int, value: Marks) -> None:
    await store.put_marks([MarksWrite(instance, term, value)])


async def test_marks_come_back(store: Store, instance: Instance) -> None:
    await put(store, instance, TERM, marks(7, 5))
    assert await store.fetch_marks([instance]) == {instance: marks(7, 5)}


async def test_instances_without_marks_are_left_out(store: Store, app: App, instance: Instance) -> None:
    nobody, beyond = Instance("app-nobody", 0), Instance(app.app_id, 99)
    assert await store.fetch_marks([]) == {}
    assert await store.fetch_marks([nobody, beyond]) == {}
    assert list(await store.fetch_marks([nobody, instance, beyond])) == [instance]


async def test_marks_of_an_instance_that_has_none_yet_are_stored(store: Store, app: App) -> None:
    beyond = Instance(app.app_id, 99)
    await put(store, beyond, TERM, marks(1, 0))
    assert await store.fetch_marks([beyond]) == {beyond: marks(1, 0)}


@pytest.mark.parametrize("older", [0, 1, TERM - 1])
async def test_a_write_of_an_older_term_is_ignored(store: Store, instance: Instance, older: int) -> None:
    await put(store, instance, TERM, marks(7, 5))
    await put(store, instance, older, marks(900, 900))
    assert await store.fetch_marks([instance]) == {instance: marks(7, 5)}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (marks(8, 6), marks(8, 6)),
        (marks(6, 4), marks(7, 5)),
        (marks(9, 1), marks(9, 5)),
        (marks(1, 6), marks(7, 6)),
        (marks(7, 5), marks(7, 5)),
    ],
    ids=["both up", "both down", "sealed up", "settled up", "repeat"],
)
async def test_within_a_term_each_mark_keeps_the_greater(
    store: Store, instance: Instance, second: Marks, expected: Marks
) -> None:
    await put(store, instance, TERM, marks(7, 5))
    await put(store, instance, TERM, second)
    assert await store.fetch_marks([instance]) == {instance: expected}


async def test_a_newer_term_may_lower_marks(store: Store, instance: Instance) -> None:
    await put(store, instance, TERM, marks(7, 5))
    await put(store, instance, TERM + 1, marks(6, 2))
    assert await store.fetch_marks([instance]) == {instance: marks(6, 2)}
    await put(store, instance, TERM, marks(9, 9))
    assert await store.fetch_marks([instance]) == {instance: marks(6, 2)}


async def test_a_newer_era_wins_over_any_epoch(store: Store, instance: Instance) -> None:
    await put(store, instance, (1 << 48) | ((1 << 48) - 1), marks(7, 5))
    await put(store, instance, 2 << 48, marks(6, 4))
    assert await store.fetch_marks([instance]) == {instance: marks(6, 4)}


async def test_many_instances_in_one_call(store: Store) -> None:
    apps = [await store.create_app(make_app(polled=100, writable=100)) for _ in range(2)]
    instances = [Instance(app.app_id, partition) for app in apps for partition in range(100)]
    await store.put_marks([MarksWrite(one, TERM, marks(n + 1, n)) for n, one in enumerate(instances)])
    found = await store.fetch_marks(instances)
    assert found == {one: marks(n + 1, n) for n, one in enumerate(instances)}


async def test_instances_of_many_apps_in_one_call(store: Store) -> None:
    apps = [await store.create_app(make_app(polled=2, writable=2)) for _ in range(30)]
    instances = [Instance(app.app_id, n) for app in apps for n in range(2)] + [Instance(apps[0].app_id, 2)]
    written = {one: marks(n + 1, n) for n, one in enumerate(instances) if n % 3}
    await store.put_marks([MarksWrite(one, TERM, each) for one, each in written.items()])
    asked = instances[::2] + instances[1:12:2]
    found = await store.fetch_marks(asked)
    assert {one: each for one, each in found.items() if one in written} == {
        one: written[one] for one in asked if one in written
    }
    assert list(found) == [one for one in asked if one in found]


async def test_writes_of_one_instance_in_one_call_follow_the_same_rules(
    store: Store, instance: Instance
) -> None:
    await store.put_marks(
        [
            MarksWrite(instance, TERM, marks(7, 5)),
            MarksWrite(instance, TERM, marks(6, 6)),
            MarksWrite(instance, TERM - 1, marks(99, 99)),
        ]
    )
    assert await store.fetch_marks([instance]) == {instance: marks(7, 6)}
    await store.put_marks([])
