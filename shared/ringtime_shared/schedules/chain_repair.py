"""The chains of recurring schedules: which has broken, and how one is begun anew, in a partition that stays.
Operators and ingest share it.

`ringtime_shared.recurring.chain` says what a chain is, and why it does not break. What may break one all the
same is damage: a row that cannot be read or was lost, or that a false clock let be passed over.

Beginning anew is a change of the definition like any other, in the steps of an edit that changes nothing: a
check of the new version is filed, the definition replaced, the first run filed. Each is durable before the
next, so whoever dies in between has changed nothing, or left a check that finishes the change. What is filed
is looked at as in the commit path (`ringtime_ingest.service.commit`): a row under `sealed` is filed again. If
the app's map has lost the partition by then, the definition is moved once more; the one who looks is the
caller, who reads the app anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple, Protocol
from uuid import UUID, uuid4

from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import Damaged, MarksAhead, OutcomeUnknown, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition, DefinitionState, Origin, run_id
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.partition_choice import nth_partition
from ringtime_shared.recurring.run_rows import (
    CHECK_AFTER_MS,
    check_row,
    first_row,
    next_run,
    next_version,
)
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    DefinitionKey,
    MarkStore,
    RecurringStore,
    RunEntry,
    ScheduleStore,
)

_DAY_MS = 86_400_000
_LATELY_MS = 7 * _DAY_MS
_LOOK_BACK_MS = 31 * _DAY_MS  #: a run that is due may wait so long for a dispatcher
_LATEST = 10  #: entries looked through for the latest run of a version
_AT_A_TIME = 50
_MOST_WALKED = 50_000  #: nominal times that are counted one by one: five weeks of each minute
_PAGE = 100  #: definitions read at once
_AT_ONCE = 20  #: definitions whose runs are looked for side by side
_ROUNDS = 3  #: filings of one row before giving up
_CALENDARS_MS = 366 * 86_400_000  #: how much later a run may have been filed before a calendar was changed
_MARGIN_MS = 1_000  #: between now and the slot of a row that is filed again


class ChainStore(RecurringStore, ScheduleStore, MarkStore, Protocol):
    """What seeing to chains needs of a store."""


class RunStore(RecurringStore, ScheduleStore, Protocol):
    """What counting runs needs of a store."""


async def count_planned(store: RunStore, definition: Definition, upto_ms: int, now_ms: int) -> int:
    """Return how many planned runs a definition has had up to a nominal time.

    Its latest run knows how many there were before it; what comes after that one is counted, up to
    `_MOST_WALKED`: nobody has made runs for so long then, and it is at least what is returned.
    """
    if definition.state in (DefinitionState.PAUSED, DefinitionState.DELETED):
        return definition.ordinal
    after_ms, index = definition.starts_after_ms, definition.ordinal
    lately_ms = max(after_ms, now_ms - _LATELY_MS)
    if lately_ms <= upto_ms:
        entries = await store.fetch_runs(_key(definition), lately_ms, upto_ms, _LATEST, newest_first=True)
        for entry in entries:
            try:
                row = await store.fetch_row(_home(definition, entry.schedule_id), entry.schedule_id)
            except Damaged:
                continue
            run = None if row is None else row.schedule.run
            if run is not None and run.origin is Origin.PLAN and run.version == definition.version:
                after_ms, index = run.nominal_ms, run.ordinal + 1
                break
    for n in range(_MOST_WALKED):
        if n % _AT_A_TIME == _AT_A_TIME - 1:
            await asyncio.sleep(0)  # others have their turn
        planned = next_run(definition.current, definition.recurring_id, after_ms, index)
        if planned is None or planned.nominal_ms > upto_ms:
            break
        after_ms, index = planned.nominal_ms, planned.index
    return index


async def read_active(store: RecurringStore, app_id: str) -> AsyncIterator[list[Definition]]:
    """Yield the definitions of an app that are ACTIVE, and those that cannot be read, a page at a time."""
    after: UUID | None = None
    while page := await store.list_definitions(app_id, after, _PAGE):
        yield [each for each in page if each.damage or each.state is DefinitionState.ACTIVE]
        if len(page) < _PAGE:
            return
        after = page[-1].recurring_id


class Looked(NamedTuple):
    """A part of a look for chains that have broken."""

    looked_at: int  #: definitions that should make runs
    broken: list[Definition]  #: those that make none; of what cannot be read, its `damage` says why


async def find_broken(store: RunStore, app_id: str, clock: Clock) -> AsyncIterator[Looked]:
    """Yield which definitions of an app make no run, a page at a time. Raises StoreUnavailable."""
    async for page in read_active(store, app_id):
        readable = [each for each in page if not each.damage]
        broken = [each for each in page if each.damage]
        for start in range(0, len(readable), _AT_ONCE):
            part = readable[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(has_broken(store, each, clock.now_ms()) for each in part))
            broken += [each for each, is_broken in zip(part, answers, strict=True) if is_broken]
        yield Looked(len(page), broken)


async def repair(
    store: ChainStore, clock: Clock, app: App, definition: Definition, retention_ms: int
) -> Definition:
    """Begin a definition anew whose chain has broken, or mark it as ended if no run is to come; return it.

    What should have run in between is not made up for. Raises as `begin_anew`.
    """
    begun = await begin_anew(store, clock, app, definition, retention_ms)
    if begun is not None:
        return begun
    over = DefinitionState.ENDED if definition.keeps else DefinitionState.DELETED
    ended = replace(definition, revision=definition.revision + 1, changed_ms=clock.now_ms(), state=over)
    await store.replace_definition(ended)
    return ended


async def has_broken(store: RunStore, definition: Definition, now_ms: int) -> bool:
    """Whether nothing is left in the store that would make the next run of an ACTIVE definition.

    Of a version that was stored a moment ago, its first run may be under way. Raises StoreUnavailable.
    """
    if now_ms < definition.changed_ms + 2 * CHECK_AFTER_MS or await _is_going_on(store, definition, now_ms):
        return False
    # A run ends when the next one is stored; so one that ended between two reads shows in the second. And the
    # definition may have been changed, or may have ended.
    stored = await store.fetch_definition(_key(definition))
    if stored is None or stored.revision != definition.revision:
        return False
    return not await _is_going_on(store, definition, now_ms)


async def _is_going_on(store: RunStore, definition: Definition, now_ms: int) -> bool:
    """Whether a run of the version in force, or its check, has no outcome yet."""
    key = _key(definition)
    after_ms = max(now_ms, definition.starts_after_ms)
    planned = next_run(definition.current, definition.recurring_id, after_ms, 0)
    entries: list[RunEntry] = []
    if planned is not None:
        from_ms, upto_ms = planned.nominal_ms, planned.nominal_ms
        if definition.times.calendars:  # it was filed by what they said then
            from_ms, upto_ms = after_ms + 1, planned.nominal_ms + _CALENDARS_MS
        entries = await store.fetch_runs(key, from_ms, upto_ms, _LATEST)
    from_ms = max(definition.from_ms, now_ms - _LOOK_BACK_MS)
    places = [each.schedule_id for each in entries]
    if not await _is_any_live(store, definition, places):
        late = await store.fetch_runs(key, from_ms, max(from_ms, after_ms), _LATEST, newest_first=True)
        checks = [] if definition.check_id is None else [definition.check_id]
        return await _is_any_live(store, definition, [*(each.schedule_id for each in late), *checks])
    return True


async def _is_any_live(store: RunStore, definition: Definition, ids: list[UUID]) -> bool:
    for schedule_id in ids:
        try:
            row = await store.fetch_row(_home(definition, schedule_id), schedule_id)
        except Damaged:
            continue  # whoever reads it ends it
        run = None if row is None else row.schedule.run
        if row is None or row.outcome is not None or run is None or run.version != definition.version:
            continue
        if run.origin in (Origin.PLAN, Origin.CHECK):
            return True
    return False


async def begin_anew(
    store: ChainStore, clock: Clock, app: App, definition: Definition, retention_ms: int
) -> Definition | None:
    """Store a version of an ACTIVE definition that goes on as the one before, from a second from now; return
    it. None: the times name no run to come, so that there is nothing to begin.

    Args:
        app: as it was read a moment ago; the runs are filed in a partition that is writable.

    Raises VersionConflict (it was changed meanwhile), ClockInDoubt, StoreUnavailable, OutcomeUnknown (it may
    be stored, and goes on within a minute then), MarksAhead.
    """
    require_trust(clock)
    now_ms = clock.now_ms()
    moved = next_version(definition, now_ms)
    moved = replace(
        moved,
        ordinal=await count_planned(store, definition, moved.from_ms, now_ms),
        starts_after_ms=max(moved.from_ms, definition.starts_after_ms),
    )
    if next_run(moved.current, moved.recurring_id, moved.starts_after_ms, moved.ordinal) is None:
        return None
    slot_ms = now_ms + CHECK_AFTER_MS
    partition = nth_partition(app.number, bucket_of(slot_ms) ^ definition.recurring_id.int, app.writable, 0)
    check_id = run_id(
        recurring_id=moved.recurring_id,
        version=moved.version,
        nominal_ms=moved.starts_after_ms,
        origin=Origin.CHECK,
        slot_ms=slot_ms,
        partition=partition,
        app_number=app.number,
        request=uuid4().hex,
    )
    moved = replace(moved, partition=partition, check_id=check_id)
    check = check_row(moved, slot_ms=slot_ms, now_ms=now_ms, retention_ms=retention_ms)
    await _file(store, clock, check)
    await store.replace_definition(moved)
    first = first_row(moved, check, now_ms=now_ms, retention_ms=retention_ms)
    if first is not None:
        await _file(store, clock, first)
    return moved


async def move_off(
    store: ChainStore, clock: Clock, app: App, definition: Definition, retention_ms: int
) -> bool:
    """Begin a definition anew if it lies in a partition that is not writable; False: it need not be looked
    at again. If it has filed its last run, that stays where it is. Raises as `begin_anew`, conflicts
    excepted."""
    if definition.partition < app.writable:
        return False
    try:
        return await begin_anew(store, clock, app, definition, retention_ms) is not None
    except VersionConflict:
        return True


async def _file(store: ChainStore, clock: Clock, home: Row) -> None:
    """Put a home row, and again at a later slot while its owner may not read it."""
    row = home
    for _ in range(_ROUNDS):
        await store.put_rows([row])
        if row is not home:
            update = RowUpdate(place=home.place, schedule_id=home.schedule.schedule_id, moved_to=row.place)
            await store.put_updates([update])
        mark = (await store.fetch_marks([row.place.instance])).get(row.place.instance)
        if mark == DAMAGED_MARKS:
            raise OutcomeUnknown(f"the marks of {row.place.instance} cannot be read")
        if mark is None or mark.sealed_ms < row.place.slot_ms:
            return
        now_ms = clock.now_ms()
        if mark.sealed_ms > now_ms + CLOCK_SKEW_MS:
            raise MarksAhead(str(row.place.instance), mark.sealed_ms - now_ms)
        row = replace(home, place=home.place._replace(slot_ms=max(now_ms + _MARGIN_MS, mark.sealed_ms + 1)))
    raise OutcomeUnknown("a run was overtaken repeatedly; its check files it again")


def _key(definition: Definition) -> DefinitionKey:
    return DefinitionKey(definition.app_id, definition.recurring_id)


def _home(definition: Definition, schedule_id: UUID) -> Place:
    return Place.of_home(definition.app_id, schedule_id)
