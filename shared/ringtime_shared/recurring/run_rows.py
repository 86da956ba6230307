"""The rows that runs of a recurring schedule are: which id and place each has, and what is in it.

Everybody who files a run files the same row: ingest the first of a version, and its check; a dispatcher the
one that follows another. `chain` says when, and what a check is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from ringtime_shared.ids import app_number_of, partition_of
from ringtime_shared.models.recurring import (
    MAX_EARLIER,
    Definition,
    Origin,
    RunOf,
    Stage,
    VersionSpan,
    run_id,
)
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.models.times import Run
from ringtime_shared.recurring.runs import next_after

CHECK_AFTER_MS = 60_000  #: from a change to its check: more than the slowest write takes
CHANGE_AHEAD_MS = 1_000  #: from a change to its version's begin: more than clocks differ


class Span(NamedTuple):
    """A version of a definition."""

    version: VersionSpan
    until_ms: int | None  #: nominal times up to here are its own; None: it is the one in force


def span_of(definition: Definition, version: int) -> Span | None:
    """Return a version; None: it is too old to be known, or not stored yet."""
    if definition.version == version:
        return Span(definition.current, None)
    until_ms = definition.from_ms
    for each in definition.earlier:
        if each.version == version:
            return Span(each, until_ms)
        until_ms = each.from_ms
    return None


def next_version(definition: Definition, now_ms: int, **changes: Any) -> Definition:
    """Return the version that follows, which begins in a second, as it is to be stored.

    Args:
        changes: fields that differ; among them `check_id`, unless it makes no runs, and `starts_after_ms` if
            that is not its begin.
    """
    from_ms = max(now_ms + CHANGE_AHEAD_MS, definition.from_ms + 1)
    filed_upto_ms = max(definition.filed_upto_ms, _reach(definition, from_ms))
    fields: dict[str, Any] = {"starts_after_ms": from_ms, "check_id": None, "filed_upto_ms": filed_upto_ms}
    return replace(
        definition,
        revision=definition.revision + 1,
        version=definition.version + 1,
        changed_ms=now_ms,
        from_ms=from_ms,
        earlier=(definition.current, *definition.earlier)[:MAX_EARLIER],
        **{**fields, **changes},
    )


def forgotten_at(definition: Definition, kept_ms: int) -> int:
    """Return from when on a definition that is deleted may be dropped.

    No row of it is left then, nor one yet to come due, so nothing asks for it. And if one of its name is made
    anew, its versions count from 1 again: their runs have later nominal times than any that was filed, so
    that none gets the id of an old one.

    Args:
        kept_ms: how long a row is kept after its slot, at most.
    """
    return max(definition.filed_upto_ms, _reach(definition, definition.changed_ms)) + kept_ms


def _reach(definition: Definition, until_ms: int) -> int:
    """Return up to which slot runs of the version in force may have been filed, if it ends at an instant: up
    to the first run after that, or after its own begin."""
    if definition.check_id is None:
        return until_ms  # it makes no runs
    after_ms = max(until_ms, definition.starts_after_ms)
    planned = next_run(definition.current, definition.recurring_id, after_ms, 0)
    return after_ms if planned is None else planned.until_ms or planned.effective_ms


def check_row(definition: Definition, *, slot_ms: int, now_ms: int, retention_ms: int) -> Row:
    """Return the check of a version that is to be stored once it is filed, and that names it; see `chain`.

    Args:
        slot_ms: as in the check's id, which is a new one of kind RUN in the definition's partition.
    """
    if definition.check_id is None:
        raise ValueError(f"{definition.name} makes no runs, so it has no check")
    run = RunOf(
        recurring_id=definition.recurring_id,
        version=definition.version,
        nominal_ms=definition.starts_after_ms,
        ordinal=definition.ordinal,
        origin=Origin.CHECK,
        is_contested=definition.version > 1,
    )
    expires_ms = now_ms + retention_ms  # no later than the first run: what it has filed is there as long
    schedule = schedule_of(
        definition, definition.check_id, run, fire_ms=slot_ms, now_ms=now_ms, expires_ms=expires_ms
    )
    return Row(schedule=schedule, place=Place(definition.app_id, definition.partition, slot_ms))


def schedule_of(
    definition: Definition, schedule_id: UUID, run: RunOf, *, fire_ms: int, now_ms: int, expires_ms: int
) -> Schedule:
    """Return the schedule that a run is, with the contents that the definition has now."""
    return Schedule(
        schedule_id=schedule_id,
        app_id=definition.app_id,
        fire_ms=fire_ms,
        payload=definition.payload,
        callback_type=definition.callback_type,
        callback_details=definition.callback_details,
        created_ms=now_ms,
        expires_ms=expires_ms,
        retry=definition.retry,
        sending=definition.sending,
        run=run,
    )


def first_row(definition: Definition, check: Row, *, now_ms: int, retention_ms: int) -> Row | None:
    """Return the first run of a definition's version, given its check; None: it has none."""
    run = run_in(check)
    first = next_run(definition.current, run.recurring_id, run.nominal_ms, run.ordinal)
    return None if first is None else row_of(run_of(run, first), first, check, now_ms, retention_ms)


def next_run(version: VersionSpan, recurring_id: UUID, after_ms: int, index: int) -> Run | None:
    """Return the first run of a version after a nominal time.

    Args:
        index: how many runs of the definition there were up to then.
    """
    key = "" if version.times.window is None else str(recurring_id)  # which nobody else asks for
    return next_after(version.times, after_ms, index, key=key, exclusions=version.exclusions)


def index_of(run: RunOf) -> int:
    """Return how many runs there are up to this one; a check is none."""
    return run.ordinal + (run.origin is not Origin.CHECK)


def run_of(
    before: RunOf,
    planned: Run,
    stage: Stage = Stage.NEW,
    running: UUID | None = None,
    buffered: UUID | None = None,
) -> RunOf:
    """Return what a run's row is to know that follows another one, or a check."""
    return RunOf(
        recurring_id=before.recurring_id,
        version=before.version,
        nominal_ms=planned.nominal_ms,
        ordinal=planned.index - 1,
        running=running,
        buffered=buffered,
        stage=stage,
        is_contested=before.is_contested,
    )


def id_of(like: Row, run: RunOf, planned: Run, partition: int | None = None) -> UUID:
    """Return the id of a run of the plan, given a row of the same definition.

    Args:
        partition: None: that of the other row's home, as all runs of a version have the same.
    """
    if partition is None:
        partition = partition_of(like.schedule.schedule_id)
    return run_id(
        recurring_id=run.recurring_id,
        version=run.version,
        nominal_ms=planned.nominal_ms,
        origin=Origin.PLAN,
        slot_ms=planned.effective_ms,
        partition=partition,
        app_number=app_number_of(like.schedule.schedule_id),
    )


def row_of(run: RunOf, planned: Run, like: Row, now_ms: int, retention_ms: int) -> Row:
    """Return the home row of a run, with the contents of another row of the same version."""
    schedule_id = id_of(like, run, planned)
    schedule = replace(
        like.schedule,
        schedule_id=schedule_id,
        fire_ms=planned.effective_ms,
        created_ms=now_ms,
        expires_ms=max(planned.effective_ms, now_ms) + retention_ms,
        run=run,
    )
    return Row(schedule=schedule, place=Place.of_home(schedule.app_id, schedule_id))


def run_in(row: Row) -> RunOf:
    """Return which run a row is of. Raises ValueError if it is of none."""
    if row.schedule.run is None:
        raise ValueError(f"schedule {row.schedule.schedule_id} is no run")
    return row.schedule.run
