"""Recurring schedules: every change of a definition, and how one is found; `runs` has what it makes.

A change that makes runs is made in four steps, each durable before the next, so that whoever dies in between
leaves a chain that goes on (`ringtime_shared.recurring.chain` has the proof):

1. A check of the new version is filed, a minute ahead.
2. The definition is replaced, if it is still the one that was read. From here on the change is made.
3. The first run is filed.
4. If the app's map was read too long ago, it is read anew; if the version's partition is not writable any
   more, the definition is changed once again, into one that is.

| what fails | what the caller gets |
|---|---|
| step 1, or somebody else's change comes before step 2 | StoreUnavailable, or it is tried anew |
| step 2 without an answer | OutcomeUnknown; the check finishes the change if it was made |
| later | OutcomeUnknown; as above |

A version that makes no runs, of a definition that is paused or deleted, is step 2 alone. A planned run is
cancelled in its definition, never in its row: a row that is cancelled is not read, and nothing would follow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.calendars import Calendars
from ringtime_ingest.service.census import Census
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.requests import NewRecurring, check_shown
from ringtime_ingest.service.runs import DAY_MS, RecurringRows, Runs, check_size, read_token, shown_by
from ringtime_ingest.service.tokens import encode_token
from ringtime_ingest.shadow import in_shadow
from ringtime_shared.api.recurring import LIST_SIZE, MAX_REASON_CHARS, recurring_to_json
from ringtime_shared.api.schedules import outline_of
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import inactive
from ringtime_shared.auditing import CAUSE, AuditTrail
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import (
    AlreadyDone,
    Conflict,
    Damaged,
    InvalidRequest,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import (
    MAX_SKIPPED,
    SHOWN,
    Definition,
    DefinitionState,
    Origin,
    RunOf,
    recurring_id_of,
    run_id,
)
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.times import Run
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.recurring.run_rows import (
    CHANGE_AHEAD_MS,
    CHECK_AFTER_MS,
    check_row,
    first_row,
    next_run,
    next_version,
    schedule_of,
)
from ringtime_shared.recurring.zones import LAST_MS
from ringtime_shared.schedules.cancelling import CANCEL_PROMISE_MS, Cancelled
from ringtime_shared.settings import AppLimits
from ringtime_shared.shadow.moves import is_forwarding
from ringtime_shared.stores.protocol import (
    DefinitionKey,
    Position,
)

TRIES = 10  #: each lost one is a change of somebody else's


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringParts:
    """What `Recurring` is made of."""

    store: RecurringRows
    apps: AppMaps
    commit: CommitPath
    chooser: PartitionChooser
    clock: Clock
    limits: AppLimits
    runs: Runs
    census: Census
    calendars: Calendars
    margin_ms: int
    map_age_ms: int
    #: returns the details as they will be kept, if a request keeps the rules; raises InvalidRequest
    screen: Callable[[NewRecurring, App], Awaitable[bytes]]
    kept: Callable[[Sending | None, App], Sending | None]  #: returns how runs are sent, and payloads stored
    mint: Callable[[int, int, int], Awaitable[UUID]]  #: a new id of kind RUN: slot, partition, app number
    trail: AuditTrail


class DefinitionPage(NamedTuple):
    """By id. A page with a token may hold fewer than were asked for, or none."""

    definitions: Sequence[Definition]
    token: str  #: goes on after this page; "": there is nothing more


Change = Callable[[Definition], NewRecurring]
"""From a recurring schedule to the one to put in its place."""

Edit = Callable[[Definition, int], dict[str, Any] | None]
"""From a definition and now to the fields to change; None: nothing is to change."""


class Recurring:
    """The recurring schedules of all apps."""

    def __init__(self, parts: RecurringParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._clock = parts.clock
        self._runs = parts.runs

    async def put(
        self,
        new: NewRecurring,
        revision: int | None = None,
        *,
        is_plan: bool = False,
        may_be_inactive: bool = False,
    ) -> Definition:
        """Create a recurring schedule, or put it in place of the one of its name; its runs go on being
        numbered, and its id stays. If nothing would change, nothing does. In place of one that cannot be read
        it begins anew.

        Args:
            revision: the one it must be at; 0: there must be none; None: whatever there is.
            is_plan: change nothing, and return what it would be.
            may_be_inactive: its app may; what comes due meanwhile is by its misfire policy.

        Raises NotFound (app), AppInactive, InvalidRequest, VersionConflict, StoreUnavailable, OutcomeUnknown.
        """
        reading = await self._writable(new.app_id, may_be_inactive=may_be_inactive)
        if is_forwarding(reading.app):
            raise in_shadow(reading.app, "recurring schedules are not forwarded; create them there")
        details = await self._parts.screen(new, reading.app)
        fields: dict[str, Any] = {
            "times": new.times,
            "exclusions": await self._parts.calendars.resolve(new.app_id, new.times.calendars),
            "payload": new.payload,
            "callback_type": new.callback_type,
            "callback_details": details,
            "retry": new.retry,
            "sending": self._parts.kept(new.sending, reading.app),
            "misfire": new.misfire,
            "misfire_most": new.misfire_most,
            "misfire_age_ms": new.misfire_age_ms,
            "overlap": new.overlap,
            "keeps": new.keeps,
        }

        def edit(stored: Definition, now_ms: int) -> dict[str, Any] | None:  # noqa: ARG001
            check_shown(new.payload, stored.sending)
            if stored.state in (DefinitionState.ENDED, DefinitionState.DELETED):
                return fields | _UNPAUSED
            same = all(getattr(stored, name) == value for name, value in fields.items())
            return None if same else fields

        key = DefinitionKey(new.app_id, recurring_id_of(reading.app.number, new.name))
        for _ in range(TRIES):
            stored = await self._fetch_any(key)
            is_there = stored is not None and stored.state is not DefinitionState.DELETED
            if revision is not None and revision != (stored.revision if stored and is_there else 0):
                raise _conflict(new.name, stored if is_there else None)
            try:
                if stored is not None and not stored.damage:
                    if is_plan:
                        return await self._changed(stored, edit, is_new=not is_there)
                    return await self._change(stored, edit, reading, is_new=not is_there)
                now_ms = self._clock.now_ms()
                from_ms = now_ms + CHANGE_AHEAD_MS
                first = Definition(
                    recurring_id=key.recurring_id,
                    app_id=new.app_id,
                    name=new.name,
                    revision=1 if stored is None else stored.revision + 1,
                    version=1 if stored is None else _version_over_damage(now_ms),
                    created_ms=now_ms,
                    changed_ms=now_ms,
                    partition=0,
                    from_ms=from_ms,
                    starts_after_ms=from_ms,
                    **fields,
                )
                _require_runs(first)
                if is_plan:
                    return first
                if stored is None:
                    await self._parts.census.admit(new.app_id)
                async with self._noted(None, first):
                    return await self._begin(first, reading)
            except VersionConflict:
                if revision is not None:
                    raise
        raise _conflict(new.name, None)

    async def patch(self, app_id: str, name: str, change: Change, revision: int | None = None) -> Definition:
        """Put what a change makes of the recurring schedule that is there, if it is there still.

        Args:
            revision: the one it must be at; None: the one it is found at, again and again.

        Raises what `fetch`, `put` and the change raise.
        """
        for _ in range(TRIES):
            stored = await self.fetch(app_id, name)
            try:
                return await self.put(change(stored), stored.revision if revision is None else revision)
            except VersionConflict:
                if revision is not None:
                    raise
        raise VersionConflict(f"recurring schedule {name} is changed by others all the time", "revision")

    async def fetch(self, app_id: str, name: str) -> Definition:
        """Return a recurring schedule as it is now. Raises NotFound, Damaged."""
        app = (await self._parts.apps.get(app_id)).app
        definition = await self._store.fetch_definition(
            DefinitionKey(app_id, recurring_id_of(app.number, name))
        )
        if definition is None or definition.state is DefinitionState.DELETED:
            raise NotFound("recurring schedule", name)
        return definition

    async def _fetch_any(self, key: DefinitionKey) -> Definition | None:
        """Return a recurring schedule; one that cannot be read has its revision, and its `damage`."""
        try:
            return await self._store.fetch_definition(key)
        except Damaged:
            return (await self._store.fetch_definitions([key])).get(key)

    async def fetch_by_id(self, recurring_id: UUID) -> Definition:
        """Return a recurring schedule, also one that is deleted. Raises NotFound, Damaged."""
        app_id = await self._parts.apps.app_id_of(app_number_of(recurring_id))
        definition = None
        if app_id is not None:
            definition = await self._store.fetch_definition(DefinitionKey(app_id, recurring_id))
        if definition is None:
            raise NotFound("schedule", str(recurring_id))
        return definition

    async def fetch_page(
        self,
        app_id: str,
        states: Sequence[DefinitionState] = SHOWN,
        size: int = LIST_SIZE,
        token: str = "",
    ) -> DefinitionPage:
        """Return a page of an app's recurring schedules, by id, those in one of these states.

        Raises NotFound (app), InvalidRequest.
        """
        check_size(size)
        app = (await self._parts.apps.get(app_id)).app
        after = read_token(app_id, token).schedule_id if token else None
        page = await self._store.list_definitions(app_id, after, size)
        now_ms = self._clock.now_ms()
        shown = [
            each
            for each in page
            if each.state_at(now_ms) in states and app_number_of(each.recurring_id) == app.number
        ]
        if len(page) < size:
            return DefinitionPage(shown, "")
        return DefinitionPage(shown, encode_token(app_id, Position(0, page[-1].recurring_id)))

    async def pause(
        self, definition: Definition, reason: str = "", until_ms: int | None = None
    ) -> Definition:
        """Make no runs until `until_ms`, or until somebody resumes it; what was planned meanwhile is not made
        up for.

        Raises InvalidRequest, Conflict if it has ended, VersionConflict, AppInactive.
        """
        if len(reason) > MAX_REASON_CHARS:
            raise InvalidRequest.of("reason", f"must be at most {MAX_REASON_CHARS} characters")
        if until_ms is not None and not self._clock.now_ms() < until_ms < LAST_MS:
            raise InvalidRequest.of("until", "must be an instant to come")

        def edit(stored: Definition, now_ms: int) -> dict[str, Any] | None:  # noqa: ARG001
            _require_live(stored)
            state = DefinitionState.PAUSED if until_ms is None else DefinitionState.ACTIVE
            return {"state": state, "reason": reason, "paused_until_ms": until_ms}

        return await self._edit(definition, edit)

    async def resume(self, definition: Definition) -> Definition:
        """Make runs again, from now on. Raises Conflict if it has ended, VersionConflict, AppInactive."""

        def edit(stored: Definition, now_ms: int) -> dict[str, Any] | None:
            _require_live(stored)
            is_paused = stored.state_at(now_ms) is DefinitionState.PAUSED
            return dict(_UNPAUSED) if is_paused else None

        return await self._edit(definition, edit)

    async def delete(self, definition: Definition, revision: int | None = None) -> Definition:
        """Make no more runs; those that come due later are not sent. Deleting twice is no error.

        Args:
            revision: the one it must be at; None: whatever it is by now.

        Raises VersionConflict.
        """

        def edit(stored: Definition, now_ms: int) -> dict[str, Any] | None:  # noqa: ARG001
            if stored.state is DefinitionState.DELETED:
                return None
            if revision not in (None, stored.revision):
                raise _conflict(stored.name, stored)
            return {"state": DefinitionState.DELETED, "reason": "", "paused_until_ms": None}

        return await self._edit(definition, edit, may_be_inactive=True)

    async def trigger(self, definition: Definition) -> Row:
        """File a run now, beside the plan, by the overlap policy; also of one that is paused or has ended.

        Raises AppInactive, StoreUnavailable, OutcomeUnknown.
        """
        reading = await self._writable(definition.app_id)
        app, now_ms = reading.app, self._clock.now_ms()
        slot_ms, partition = now_ms + self._parts.margin_ms, definition.partition
        if partition >= app.writable:
            partition = self._parts.chooser.choose(app.number, bucket_of(slot_ms), app.writable)
        run = RunOf(
            recurring_id=definition.recurring_id,
            version=definition.version,
            nominal_ms=now_ms,
            origin=Origin.TRIGGER,
            running=await self._runs.find_running(definition, now_ms),
        )
        schedule_id = run_id(
            recurring_id=run.recurring_id,
            version=run.version,
            nominal_ms=now_ms,
            origin=run.origin,
            slot_ms=slot_ms,
            partition=partition,
            app_number=app.number,
            request=uuid4().hex,
        )
        expires_ms = slot_ms + self._runs.retention_ms(app)
        schedule = schedule_of(
            definition, schedule_id, run, fire_ms=now_ms, now_ms=now_ms, expires_ms=expires_ms
        )
        row = Row(schedule=schedule, place=Place(app.app_id, partition, slot_ms))
        subject, made = f"{app.app_id}/{definition.name}", {"scheduleId": str(schedule_id)}
        async with self._parts.trail.change(app.app_id, subject, None, made):
            return await self._parts.commit.file(row, reading)

    async def cancel_run(self, row: Row) -> Cancelled:
        """Cancel a planned run; cancelling twice is no error.

        The cancel is promised if it was durable more than a second before the run's slot: what is not wanted
        is found out at the slot or later.

        Raises AlreadyDone, LimitReached, VersionConflict, StoreUnavailable, OutcomeUnknown.
        """
        run, schedule_id = row.schedule.run, row.schedule.schedule_id
        if run is None:
            raise NotFound("run", str(schedule_id))
        if row.outcome is not None:
            raise AlreadyDone(str(schedule_id), row.outcome.status)
        key = DefinitionKey(row.place.app_id, run.recurring_id)
        for _ in range(TRIES):
            definition = await self._store.fetch_definition(key)
            if definition is None:
                raise NotFound("recurring schedule", str(run.recurring_id))
            if shown_by(row, definition).cancelled_ms is not None:
                return self._cancelled(row, definition)
            now_ms = self._clock.now_ms()
            kept = [each for each in definition.skipped if each > now_ms - self._longest_ms(definition)]
            if len(kept) >= MAX_SKIPPED:
                raise LimitReached(
                    f"{MAX_SKIPPED} runs of recurring schedule {definition.name} are cancelled already",
                    "scheduleId",
                )
            changed = replace(
                definition,
                revision=definition.revision + 1,
                changed_ms=now_ms,
                skipped=tuple(sorted({*kept, run.nominal_ms})),
            )
            try:
                await self._store.replace_definition(changed)
            except VersionConflict:
                continue
            return self._cancelled(row, changed)
        raise _conflict(str(run.recurring_id), None)

    def _longest_ms(self, definition: Definition) -> int:
        """For how long after its nominal time a run that was cancelled may still be looked at."""
        return self._parts.limits.max_retention_days * DAY_MS if definition.is_live else DAY_MS

    def _cancelled(self, row: Row, definition: Definition) -> Cancelled:
        slot_ms = (row.moved_to or row.place).slot_ms
        is_sure = self._clock.doubt() is None and self._clock.now_ms() < slot_ms - CANCEL_PROMISE_MS
        return Cancelled(shown_by(row, definition), promised=is_sure)

    async def _writable(self, app_id: str, *, may_be_inactive: bool = False) -> AppReading:
        reading = await self._parts.apps.get(app_id)
        if not reading.app.active and (reading.app.deletion is not None or not may_be_inactive):
            raise inactive(reading.app)
        require_trust(self._clock)
        return reading

    async def _edit(self, definition: Definition, edit: Edit, *, may_be_inactive: bool = False) -> Definition:
        """Change a definition that was read a moment ago, or as it is by now, if others have changed it."""
        if may_be_inactive:
            reading = await self._parts.apps.get(definition.app_id)
            require_trust(self._clock)
        else:
            reading = await self._writable(definition.app_id)
        key, stored = DefinitionKey(definition.app_id, definition.recurring_id), definition
        for _ in range(TRIES):
            try:
                return await self._change(stored, edit, reading)
            except VersionConflict:
                found = await self._store.fetch_definition(key)
                if found is None:
                    raise NotFound("recurring schedule", definition.name) from None
                stored = found
        raise _conflict(definition.name, stored)

    async def _change(
        self, stored: Definition, edit: Edit, reading: AppReading, *, is_new: bool = False
    ) -> Definition:
        """Make the next version of a definition. Raises VersionConflict if others were faster.

        Args:
            is_new: it was deleted, and begins anew: its runs are counted from the first.
        """
        changed = await self._changed(stored, edit, is_new=is_new)
        if changed is stored:
            return stored
        async with self._noted(None if is_new else stored, changed):
            if changed.state is not DefinitionState.ACTIVE:
                await self._store.replace_definition(changed)
                return changed
            return await self._begin(changed, reading)

    def _noted(self, before: Definition | None, after: Definition) -> AbstractAsyncContextManager[None]:
        """Note that one becomes the other, if somebody has asked for it."""
        if CAUSE.get() is None:  # a job changes thousands
            return nullcontext()
        now_ms = self._clock.now_ms()
        old, new = (
            None if each is None else outline_of(orjson.loads(orjson.dumps(recurring_to_json(each, now_ms))))
            for each in (before, after)
        )
        return self._parts.trail.change(after.app_id, f"{after.app_id}/{after.name}", old, new)

    async def _changed(self, stored: Definition, edit: Edit, *, is_new: bool) -> Definition:
        """Return a definition as it is to be after an edit; itself: nothing is to change."""
        now_ms = self._clock.now_ms()
        changes = edit(stored, now_ms)
        if changes is None:
            return stored
        changed = next_version(stored, now_ms, **changes)
        if is_new:  # what was cancelled of the versions before stays so
            skipped = tuple(each for each in stored.skipped if each <= changed.from_ms)
            changed = replace(changed, ordinal=0, created_ms=now_ms, skipped=skipped)
        else:
            changed = replace(changed, ordinal=await self._runs.count_planned(stored, changed.from_ms))
        if changed.paused_until_ms is not None:
            starts_after_ms = max(changed.from_ms, changed.paused_until_ms - 1)
            changed = replace(changed, starts_after_ms=starts_after_ms)
        if "times" in changes:
            _require_runs(changed)
        if changed.state is DefinitionState.ACTIVE and _first_run(changed) is None:
            changed = replace(
                changed, state=DefinitionState.ENDED if changed.keeps else DefinitionState.DELETED
            )
        return changed

    async def _begin(self, definition: Definition, reading: AppReading) -> Definition:
        """Store a version that makes runs, and file its check and its first run: see this module."""
        app, now_ms = reading.app, self._clock.now_ms()
        slot_ms = now_ms + CHECK_AFTER_MS
        partition = self._parts.chooser.choose(app.number, bucket_of(slot_ms), app.writable)
        check_id = await self._parts.mint(slot_ms, partition, app.number)
        definition = replace(definition, partition=partition, check_id=check_id)
        retention_ms = self._runs.retention_ms(app)
        check = check_row(definition, slot_ms=slot_ms, now_ms=now_ms, retention_ms=retention_ms)
        await self._parts.commit.file(check, reading)
        await self._store.replace_definition(definition)
        try:
            first = first_row(definition, check, now_ms=now_ms, retention_ms=retention_ms)
            if first is not None:
                await self._parts.commit.file(first, reading)
            if self._clock.boot_ms() - reading.read_boot_ms < self._parts.map_age_ms:
                return definition
            reading = await self._parts.apps.reread(definition.app_id)
            if definition.partition < reading.app.writable:
                return definition
            moved = next_version(definition, self._clock.now_ms())
            ordinal = await self._runs.count_planned(definition, moved.from_ms)
            starts_after_ms = max(moved.from_ms, definition.starts_after_ms)
            return await self._begin(
                replace(moved, ordinal=ordinal, starts_after_ms=starts_after_ms), reading
            )
        except StoreUnavailable as error:
            raise OutcomeUnknown(
                f"recurring schedule {definition.name} is stored, and its first run is filed within"
                f" {CHECK_AFTER_MS // 1_000} s: {error}"
            ) from error


_UNPAUSED: dict[str, Any] = {"state": DefinitionState.ACTIVE, "reason": "", "paused_until_ms": None}


def _first_run(definition: Definition) -> Run | None:
    return next_run(
        definition.current, definition.recurring_id, definition.starts_after_ms, definition.ordinal
    )


def _require_runs(definition: Definition) -> None:
    """Raise InvalidRequest for times that name none to come."""
    if _first_run(definition) is not None:
        return
    times = definition.times
    if times.count is not None and definition.ordinal >= times.count:
        raise InvalidRequest.of("maxRuns", f"it has had {definition.ordinal} runs already")
    raise InvalidRequest.of("endTime" if times.end_ms is not None else "cronExpression", "no run is to come")


def _require_live(definition: Definition) -> None:
    if definition.state is DefinitionState.DELETED:
        raise NotFound("recurring schedule", definition.name)
    if definition.state is DefinitionState.ENDED:
        raise Conflict(f"recurring schedule {definition.name} has ended; give it other times", "name")


def _version_over_damage(now_ms: int) -> int:
    """Return a version for a definition that cannot be read: one that none of it has had, so that none of its
    runs is taken for one of this."""
    return now_ms // 60_000  # one a minute since 1970


def _conflict(name: str, stored: Definition | None) -> VersionConflict:
    found = "is not there" if stored is None else f"is at revision {stored.revision}"
    return VersionConflict(f"recurring schedule {name} {found}; read it again", "revision")
