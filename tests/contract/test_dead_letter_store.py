"""Every DeadLetterStore driver passes this file."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import START_MS, before, key_of_letter, make_app, make_letter

from ringtime_shared.models.app import App
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.protocol import LAST_ID, Position, Store

DAY_MS = 86_400_000
MIDNIGHT_MS = START_MS - START_MS % DAY_MS + DAY_MS
LATER_MS = START_MS + 60 * DAY_MS


async def fetch(
    store: Store, app: App, from_ms: int = START_MS, upto_ms: int = START_MS + DAY_MS, limit: int = 500
) -> list[DeadLetter]:
    return await store.fetch_dead_letters(app.app_id, before(from_ms), upto_ms, limit)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"code": 503, "error": 'bu\nsy "\\ ü 😀 \x00', "replay": 4, "attempts": 1},
        {"callback_type": "kafka-ü", "fire_ms": 0, "failed_ms": START_MS + 10**9},
        {"expires_ms": 0},
    ],
    ids=["least", "most", "extremes", "expired"],
)
async def test_every_field_of_a_letter_comes_back(store: Store, app: App, changes: dict[str, Any]) -> None:
    letter = make_letter(app, **changes)
    await store.put_dead_letters([letter])
    assert await fetch(store, app) == [letter]


async def test_nothing_is_no_error(store: Store, app: App) -> None:
    await store.put_dead_letters([])
    await store.put_replayed(app.app_id, [], START_MS)
    for asked in (app, make_app()):
        assert await fetch(store, asked) == []
        assert await store.count_dead_letters(asked.app_id, START_MS, LATER_MS) == 0


async def test_letters_come_by_slot_and_id(store: Store, app: App) -> None:
    letters = [make_letter(app, START_MS + n // 3) for n in range(300)]
    random.Random(3).shuffle(letters)
    await store.put_dead_letters(letters)
    assert await fetch(store, app) == sorted(letters, key=key_of_letter)


async def test_letters_of_another_app_are_not_seen(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    ours, theirs = make_letter(app), make_letter(other)
    await store.put_dead_letters([theirs, ours])
    await store.put_replayed(app.app_id, [key_of_letter(theirs)], START_MS)
    assert await fetch(store, app) == [ours]
    assert await fetch(store, other) == [theirs]


async def test_a_range_includes_its_ends(store: Store, app: App) -> None:
    letters = [make_letter(app, START_MS + n) for n in range(4)]
    await store.put_dead_letters(letters)
    assert await fetch(store, app, START_MS + 1, START_MS + 2) == letters[1:3]
    assert await fetch(store, app, START_MS + 4) == []
    assert await fetch(store, app, START_MS + 2, START_MS + 1) == []
    assert await store.count_dead_letters(app.app_id, START_MS + 1, START_MS + 2) == 2
    assert await store.count_dead_letters(app.app_id, START_MS + 2, START_MS + 1) == 0


async def test_a_range_goes_on_after_a_letter_and_not_after_its_slot(store: Store, app: App) -> None:
    first, second = sorted([make_letter(app), make_letter(app)], key=key_of_letter)
    await store.put_dead_letters([first, second])
    position = key_of_letter(first)
    assert await store.fetch_dead_letters(app.app_id, position, START_MS, 500) == [second]
    assert await store.fetch_dead_letters(app.app_id, Position(START_MS, LAST_ID), START_MS, 500) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_pages_put_together_are_the_whole(store: Store, app: App, limit: int) -> None:
    """Over several days, some of them empty, with letters at both sides of each midnight."""
    slots_ms = [
        MIDNIGHT_MS + day * DAY_MS + offset_ms
        for day in (0, 1, 2, 9, 11, 25, 26)
        for offset_ms in (-1, 0, 0, 5_000)
    ]
    letters = sorted([make_letter(app, slot_ms) for slot_ms in slots_ms], key=key_of_letter)
    await store.put_dead_letters(letters)
    found: list[DeadLetter] = []
    position = before(MIDNIGHT_MS - 1)
    while page := await store.fetch_dead_letters(app.app_id, position, LATER_MS, limit):
        assert len(page) <= limit
        found += page
        position = key_of_letter(page[-1])
    assert found == letters
    assert await store.count_dead_letters(app.app_id, MIDNIGHT_MS, LATER_MS) == len(letters) - 1


async def test_a_replayed_letter_says_when_and_is_not_counted(store: Store, app: App) -> None:
    letters = [make_letter(app, START_MS + n) for n in range(130)]
    await store.put_dead_letters(letters)
    chosen = letters[::2]
    for _ in range(2):  # repeated: no second effect
        await store.put_replayed(app.app_id, [key_of_letter(each) for each in chosen], START_MS + 9)
    expected = [replace(each, replayed_ms=START_MS + 9) if each in chosen else each for each in letters]
    assert await fetch(store, app) == expected
    assert await store.count_dead_letters(app.app_id, START_MS, LATER_MS) == 65
    await store.put_replayed(app.app_id, [key_of_letter(letters[0])], START_MS + 99)
    assert (await fetch(store, app, limit=1))[0].replayed_ms == START_MS + 99


async def test_a_letter_written_again_is_overwritten_and_stays_replayed(store: Store, app: App) -> None:
    letter = make_letter(app)
    await store.put_dead_letters([letter])
    await store.put_replayed(app.app_id, [key_of_letter(letter)], START_MS + 9)
    again = replace(letter, failed_ms=START_MS + 50, attempts=4, error="later", expires_ms=LATER_MS)
    await store.put_dead_letters([again])
    assert await fetch(store, app) == [replace(again, replayed_ms=START_MS + 9)]
    assert await store.count_dead_letters(app.app_id, START_MS, LATER_MS) == 0


async def test_replaying_what_is_not_there_creates_nothing(store: Store, app: App) -> None:
    letter = make_letter(app)
    near = UUID(int=letter.schedule_id.int ^ 1)
    await store.put_dead_letters([letter])
    unknown = [Position(START_MS, near), Position(START_MS + 1, letter.schedule_id)]
    await store.put_replayed(app.app_id, unknown, START_MS)
    await store.put_replayed(make_app().app_id, unknown, START_MS)
    assert await fetch(store, app) == [letter]
    assert await store.count_dead_letters(app.app_id, START_MS, LATER_MS) == 1
    late = replace(letter, schedule_id=near)
    await store.put_dead_letters([late])  # what was noted before it was there does not count
    assert (await fetch(store, app, limit=500)) == sorted([letter, late], key=key_of_letter)
