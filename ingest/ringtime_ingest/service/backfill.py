"""Backfill: make up for nominal times of a recurring schedule that are over.

Each nominal time of a half-open range that has no run gets one, beside the plan. What has one is told and not
repeated: a run that was sent or will be, or an earlier backfill. One that was recorded as missed, or dropped
for a pause or an edit, has none.

Invariant
---------
However often, and by however many at once, nominal times are backfilled, each gets one run. Before anything
is filed the definition remembers the range, with slot and partition (`Backfilled`), by a write on its
revision. A run's id follows from those and its nominal time, and of ranges that overlap the first counts. So
whoever repeats a backfill that was broken off files the same rows. One that is there is not enough: it may
lie where nobody reads it any more, so it is filed again where it will be, as for a create with a key
(`keyed`), before it is told of.

| what fails | what happens |
|---|---|
| the definition is changed meanwhile | it is read anew, and what to file is looked at again |
| the process dies before the range is stored | nothing was filed |
| it dies later | a repeat finds the range, files what is missing, and confirms and tells the rest |
| the plan is behind, as nobody could send | what it will make yet is told, and not filed |
| the record of a range is older than its rows are kept | it is forgotten, as they are |
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.runs import DAY_MS, RecurringRows, Runs
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.recurring import BACKFILL_SIZE, MAX_BACKFILL, BackfillEffect
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import inactive
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import InvalidRequest, NotFound, RingtimeError, VersionConflict
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import (
    MAX_BACKFILLED,
    Backfilled,
    Definition,
    DefinitionState,
    Origin,
    Overlap,
    RunOf,
    Stage,
    run_id,
)
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.recurring.run_rows import CHECK_AFTER_MS, next_run, run_in, schedule_of, span_of
from ringtime_shared.stores.protocol import RUNS_WINDOW_MS, DefinitionKey

_TRIES = 10  #: each lost one is a change of somebody else's
_ROWS_AT_ONCE = 50
_LOOK_BACK_MS = 31 * DAY_MS  #: a planned run that is due may wait so long for a dispatcher
_LATEST = 100  #: entries looked through for the runs that go on with the plan


@dataclass(frozen=True, slots=True)
class BackfillRun:
    """A nominal time of a backfill."""

    nominal_ms: int
    effect: BackfillEffect
    schedule_id: UUID | None = None  #: of the run that it has, or got
    error: Exception | None = None  #: why that was not filed, or may not be


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What became of each nominal time, in order."""

    runs: Sequence[BackfillRun]
    continues_ms: int | None  #: the range is longer than was asked for at most: it goes on here


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillParts:
    """What `Backfills` is made of."""

    store: RecurringRows
    apps: AppMaps
    commit: CommitPath
    chooser: PartitionChooser
    clock: Clock
    runs: Runs
    margin_ms: int
    trail: AuditTrail
    #: sees to it that a home row is read by a dispatcher, or was: `Keyed.confirm`
    confirm: Callable[[Row, AppReading], Awaitable[Row]]


class Backfills:
    """Files runs of nominal times that are over."""

    def __init__(self, parts: BackfillParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._clock = parts.clock

    async def backfill(
        self,
        definition: Definition,
        from_ms: int,
        to_ms: int,
        *,
        most: int = BACKFILL_SIZE,
        is_dry: bool = False,
    ) -> BackfillReport:
        """File a run for each nominal time from `from_ms` on and before `to_ms` that has none, at most so
        many; also of one that is paused or has ended.

        They go out at once, or one after the other unless the definition allows runs to overlap.

        Args:
            is_dry: say what would be filed, and file nothing.

        Raises InvalidRequest, NotFound, AppInactive, VersionConflict (others change it all the time),
        StoreUnavailable, OutcomeUnknown.
        """
        reading = await self._parts.apps.get(definition.app_id)
        if not reading.app.active:
            raise inactive(reading.app)
        require_trust(self._clock)
        _check(from_ms, to_ms, most, self._clock.now_ms())
        for _ in range(_TRIES):
            runs, made, continues_ms = await self._look(definition, from_ms, to_ms, most)
            missing = [each.nominal_ms for each in runs if each.effect is BackfillEffect.WOULD_BE_FILED]
            if is_dry:
                return BackfillReport(runs, continues_ms)
            if not missing:
                unsure = await self._confirm(made, reading)
                return BackfillReport([unsure.get(each.nominal_ms, each) for each in runs], continues_ms)
            noted = self._note(definition, missing, reading.app)
            span = {"from": to_iso(missing[0]), "to": to_iso(missing[-1]), "runs": len(missing)}
            subject = f"{definition.app_id}/{definition.name}"
            try:
                async with self._parts.trail.change(definition.app_id, subject, None, span):
                    await self._store.replace_definition(noted)
            except VersionConflict:
                stored = await self._store.fetch_definition(self._key(definition))
                if stored is None or stored.state is DefinitionState.DELETED:
                    raise NotFound("recurring schedule", definition.name) from None
                definition = stored
                continue
            told = await self._confirm(made, reading)  # first: what is missing may have to wait for these
            told |= await self._file(noted, missing, reading)
            return BackfillReport([told.get(each.nominal_ms, each) for each in runs], continues_ms)
        raise VersionConflict(f"recurring schedule {definition.name} is changed by others all the time")

    async def _look(
        self, definition: Definition, from_ms: int, to_ms: int, most: int
    ) -> tuple[list[BackfillRun], list[Row], int | None]:
        """Return what is to be said of each nominal time, the runs of earlier backfills among them that have
        not ended, and where the range goes on."""
        nominals, after_ms, continues_ms = list[int](), from_ms - 1, None
        while planned := next_run(definition.current, definition.recurring_id, after_ms, 0):
            if planned.nominal_ms >= to_ms:
                break
            if len(nominals) == most:
                continues_ms = planned.nominal_ms
                break
            nominals.append(planned.nominal_ms)
            after_ms = planned.nominal_ms
            if len(nominals) % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)  # a step takes up to a tenth of a millisecond: others have their turn
        if not nominals:
            return [], [], continues_ms
        rows = await self._rows(definition, nominals)
        behind = await self._behind(definition, nominals[0], rows)
        judged = []
        for nominal_ms in nominals:
            judged.append(_judge(definition, nominal_ms, rows[nominal_ms], behind))
            if len(judged) % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        made = [
            row
            for nominal_ms in nominals
            for row in rows[nominal_ms]
            if run_in(row).origin is Origin.BACKFILL and row.outcome is None
        ]
        return judged, made, continues_ms

    async def _rows(self, definition: Definition, nominals: Sequence[int]) -> Mapping[int, list[Row]]:
        """Return the runs of the plan, and of earlier backfills, that these nominal times have."""
        wanted, ids = set(nominals), list[UUID]()
        firsts = [at for before, at in pairwise([-RUNS_WINDOW_MS, *nominals]) if at - before > RUNS_WINDOW_MS]
        for first_ms, next_ms in pairwise([*firsts, nominals[-1] + 1]):  # what lies between is not read
            last_ms = nominals[bisect_left(nominals, next_ms) - 1]
            async for page in self._parts.runs.read_entries(definition, first_ms, last_ms):
                ids += [each.schedule_id for each in page if each.nominal_ms in wanted]
        rows = defaultdict[int, list[Row]](list)
        for row in await self._fetch(definition, ids):
            run = run_in(row)
            if run.origin in (Origin.PLAN, Origin.BACKFILL):
                rows[run.nominal_ms].append(row)
        return rows

    async def _behind(
        self, definition: Definition, first_ms: int, rows: Mapping[int, list[Row]]
    ) -> Mapping[int, int]:
        """Return up to which nominal time each version has made its runs that may make some yet.

        One whose latest run has ended has made the next one before that; it may be stored since the entries
        were read. After a while it is not on its way any more, and the chain has broken.
        """
        key, lately_ms = self._key(definition), self._clock.now_ms() - 2 * CHECK_AFTER_MS
        before = await self._store.fetch_runs(
            key, first_ms - _LOOK_BACK_MS, first_ms - 1, _LATEST, newest_first=True
        )
        earlier = await self._fetch(definition, [each.schedule_id for each in before])
        spans = (definition.current, *definition.earlier)
        behind = {  # whose first run may be under way
            each.version: each.from_ms
            for each in spans
            if each.check_id is not None and each.from_ms > lately_ms
        }
        for row in [*earlier, *(row for found in rows.values() for row in found)]:
            run, outcome = run_in(row), row.outcome
            is_latest = run.origin is Origin.PLAN and run.stage is Stage.NEW
            if is_latest and (outcome is None or outcome.ended_ms > lately_ms):
                behind[run.version] = max(behind.get(run.version, 0), run.nominal_ms)
        return behind

    @staticmethod
    def _key(definition: Definition) -> DefinitionKey:
        return DefinitionKey(definition.app_id, definition.recurring_id)

    async def _fetch(self, definition: Definition, ids: Sequence[UUID]) -> list[Row]:
        rows: list[Row] = []
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            part = ids[start : start + _ROWS_AT_ONCE]
            calls = (self._store.fetch_row(Place.of_home(definition.app_id, each), each) for each in part)
            found = await asyncio.gather(*calls)
            rows += [row for row in found if row is not None and row.schedule.run is not None]
        return rows

    def _note(self, definition: Definition, missing: Sequence[int], app: App) -> Definition:
        """Return the definition with a range that has all of these, as it is to be stored. It is stored also
        if it knew of them: then no change is on its way that takes one of them for its own."""
        now_ms = self._clock.now_ms()
        oldest_ms = now_ms - self._parts.runs.retention_ms(app)
        kept = [each for each in definition.backfilled if each.slot_ms > oldest_ms]
        if any(_range_of(kept, each) is None for each in missing):
            slot_ms = now_ms + self._parts.margin_ms
            partition = self._parts.chooser.choose(app.number, bucket_of(slot_ms), app.writable)
            kept.append(Backfilled(missing[0], missing[-1] + 1, slot_ms, partition))
        return replace(definition, revision=definition.revision + 1, backfilled=tuple(kept[-MAX_BACKFILLED:]))

    async def _confirm(self, made: Sequence[Row], reading: AppReading) -> dict[int, BackfillRun]:
        """See to it that these home rows are read; return those of which that is not known."""
        unsure: dict[int, BackfillRun] = {}
        for start in range(0, len(made), _ROWS_AT_ONCE):
            part = made[start : start + _ROWS_AT_ONCE]
            calls = (self._parts.confirm(row, reading) for row in part)
            for row, answer in zip(part, await asyncio.gather(*calls, return_exceptions=True), strict=True):
                if isinstance(answer, RingtimeError):
                    nominal_ms, schedule_id = run_in(row).nominal_ms, row.schedule.schedule_id
                    unsure[nominal_ms] = BackfillRun(nominal_ms, BackfillEffect.FAILED, schedule_id, answer)
                elif isinstance(answer, BaseException):
                    raise answer
        return unsure

    async def _file(
        self, definition: Definition, missing: Sequence[int], reading: AppReading
    ) -> dict[int, BackfillRun]:
        """File the runs of these nominal times; return what became of each."""
        running = await self._parts.runs.find_running(definition, self._clock.now_ms())
        rows: list[tuple[Row, AppReading]] = []
        for nominal_ms in missing:
            found = _range_of(definition.backfilled, nominal_ms)
            if found is None:
                raise RuntimeError(f"no range of {definition.name} has {nominal_ms}")
            row = self._row(definition, nominal_ms, found, reading.app, running)
            rows.append((row, reading))
            if definition.overlap is not Overlap.ALLOW:
                running = row.schedule.schedule_id
            if len(rows) % _ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        filed: dict[int, BackfillRun] = {}
        for nominal_ms, (row, _), answer in zip(
            missing, rows, await self._parts.commit.file_many(rows), strict=True
        ):
            error = answer if isinstance(answer, Exception) else None
            effect = BackfillEffect.FILED if error is None else BackfillEffect.FAILED
            filed[nominal_ms] = BackfillRun(nominal_ms, effect, row.schedule.schedule_id, error)
        return filed

    def _row(
        self, definition: Definition, nominal_ms: int, found: Backfilled, app: App, running: UUID | None
    ) -> Row:
        schedule_id = run_id(
            recurring_id=definition.recurring_id,
            version=0,  # an edit in between makes no second run
            nominal_ms=nominal_ms,
            origin=Origin.BACKFILL,
            slot_ms=found.slot_ms,
            partition=found.partition,
            app_number=app.number,
        )
        run = RunOf(
            recurring_id=definition.recurring_id,
            version=definition.version,
            nominal_ms=nominal_ms,
            origin=Origin.BACKFILL,
            running=running,
        )
        schedule = schedule_of(
            definition,
            schedule_id,
            run,
            fire_ms=found.slot_ms - self._parts.margin_ms,
            now_ms=self._clock.now_ms(),
            expires_ms=found.slot_ms + self._parts.runs.retention_ms(app),
        )
        return Row(schedule=schedule, place=Place(app.app_id, found.partition, found.slot_ms))


def _check(from_ms: int, to_ms: int, most: int, now_ms: int) -> None:
    """Raise InvalidRequest."""
    if from_ms < EPOCH_2020_MS:
        raise InvalidRequest.of("from", "must not be before 2020")
    if to_ms <= from_ms:
        raise InvalidRequest.of("to", "must be later than from")
    if to_ms > now_ms:
        raise InvalidRequest.of("to", "must not be later than now: what is to come is the plan's")
    if not 1 <= most <= MAX_BACKFILL:
        raise InvalidRequest.of("max", f"must be from 1 to {MAX_BACKFILL:,}")


def _range_of(backfilled: Sequence[Backfilled], nominal_ms: int) -> Backfilled | None:
    """Return the first range that a nominal time is in."""
    return next((each for each in backfilled if each.from_ms <= nominal_ms < each.to_ms), None)


def _judge(
    definition: Definition, nominal_ms: int, rows: Sequence[Row], behind: Mapping[int, int]
) -> BackfillRun:
    """Return what is to be said of a nominal time before anything is filed."""
    for row in rows:
        is_backfill = run_in(row).origin is Origin.BACKFILL
        if is_backfill or row.outcome is None or row.outcome.status not in (Status.MISS, Status.DELETED):
            return BackfillRun(nominal_ms, BackfillEffect.HAS_RUN, row.schedule.schedule_id)
    for version, made_ms in behind.items():
        span = span_of(definition, version)
        if span is None or nominal_ms <= made_ms or nominal_ms > (span.until_ms or nominal_ms):
            continue
        planned = next_run(span.version, definition.recurring_id, nominal_ms - 1, 0)
        if planned is not None and planned.nominal_ms == nominal_ms:
            return BackfillRun(nominal_ms, BackfillEffect.PLANNED)
    return BackfillRun(nominal_ms, BackfillEffect.WOULD_BE_FILED)
