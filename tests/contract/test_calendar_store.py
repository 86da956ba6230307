"""Every CalendarStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from tests.contract.builders import NOW_MS, make_app, make_calendar, make_definition

from ringtime_shared.errors import Damaged, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import VersionSpan
from ringtime_shared.models.times import Exclusions, Times
from ringtime_shared.recurring.calendars import MAX_DAYS, MAX_SPANS
from ringtime_shared.stores.protocol import DefinitionKey, Store


async def test_calendars_come_back_by_name(store: Store, app: App) -> None:
    full = Exclusions(
        frozenset(date(2027, 1, 1) + timedelta(days=3 * n) for n in range(MAX_DAYS)),
        tuple((NOW_MS + 2 * n, NOW_MS + 2 * n + 1) for n in range(MAX_SPANS)),
    )
    stored = [
        make_calendar(app, "b", exclusions=full),
        make_calendar(app, "a"),
        make_calendar(app, "C", is_deleted=True, exclusions=Exclusions()),
    ]
    for calendar in stored:
        await store.replace_calendar(calendar)
    await store.replace_calendar(make_calendar(await store.create_app(make_app()), "a"))
    assert await store.fetch_calendars(app.app_id) == sorted(stored, key=lambda each: each.name)
    assert await store.fetch_calendars("nobody") == []


async def test_a_calendar_is_changed_and_dropped_from_the_revision_before(store: Store, app: App) -> None:
    first = make_calendar(app)
    second = replace(first, revision=2, exclusions=Exclusions(), is_deleted=True)
    with pytest.raises(VersionConflict):
        await store.replace_calendar(second)
    for calendar in (first, second):
        for _ in range(2):  # a repeat is no conflict
            await store.replace_calendar(calendar)
            assert await store.fetch_calendars(app.app_id) == [calendar]
    with pytest.raises(VersionConflict):
        await store.replace_calendar(first)
    with pytest.raises(VersionConflict):
        await store.drop_calendar(first)
    for _ in range(2):
        await store.drop_calendar(second)
        assert await store.fetch_calendars(app.app_id) == []
    await store.replace_calendar(first)


async def test_a_definition_is_read_with_what_its_calendars_say_now(store: Store, app: App) -> None:
    plain = make_definition(app)
    named = make_definition(
        app,
        times=Times(cron="@daily", calendars=("a", "b")),
        earlier=(VersionSpan(1, NOW_MS - 5, Times(cron="@daily", calendars=("b", "gone")), 1),),
    )
    key = DefinitionKey(app.app_id, named.recurring_id)
    a, b = (
        make_calendar(app, "a"),
        make_calendar(app, "b", exclusions=Exclusions(frozenset([date(2027, 5, 1)]))),
    )
    for definition in (plain, named):
        await store.replace_definition(definition)
    await store.replace_calendar(a)
    with pytest.raises(Damaged, match="calendar b: it is not there"):
        await store.fetch_definition(key)
    await store.replace_calendar(b)
    read = await store.fetch_definition(key)
    listed = await store.list_definitions(app.app_id, None, 10)
    gathered = (await store.fetch_definitions([key]))[key]
    assert read is not None
    both = Exclusions(a.exclusions.dates | b.exclusions.dates, a.exclusions.spans)
    for found in (read, gathered, next(each for each in listed if each == named)):
        assert (found, found.exclusions, found.current.exclusions) == (named, both, both)
        assert [span.exclusions for span in found.earlier] == [b.exclusions]
    await store.replace_definition(replace(read, revision=2))  # what they say is not stored with it
    await store.replace_calendar(replace(b, revision=2, exclusions=Exclusions(), is_deleted=True))
    read = await store.fetch_definition(key)
    assert read is not None
    assert (read.exclusions, read.earlier[0].exclusions) == (a.exclusions, Exclusions())
    without = await store.fetch_definition(DefinitionKey(app.app_id, plain.recurring_id))
    assert without is not None
    assert without.exclusions == Exclusions()


async def test_a_deleted_app_leaves_no_calendars(store: Store, app: App) -> None:
    await store.replace_calendar(make_calendar(app))
    await store.delete_app(app)
    assert await store.fetch_calendars(app.app_id) == []
