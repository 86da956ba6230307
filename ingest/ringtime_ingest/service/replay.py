"""Replay: file a failed schedule again, under its own id, so that receivers can tell it from a new one.

The steps, each durable before the next:

1. A filing of the next round (`replay` is one more than the outcome's) goes through the commit path.
2. The home row points at it.
3. The dead letters of the rounds before are noted as replayed.

Nothing keeps two callers apart, or a crash from coming in between, because nothing has to: a dispatcher sends
a filing only while its round is above that of the home row's outcome, and closes the others. So two filings
of one round are one delivery, a dead letter that step 3 did not reach is listed still, and to replay it again
does no harm. What a dispatcher would not send is refused here.

| what fails | what the caller gets |
|---|---|
| step 1, and nothing was filed | StoreUnavailable, or OutcomeUnknown as `commit` has it |
| later, or when others of the same call were filed | OutcomeUnknown |
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ringtime_ingest.service.commit import CommitPath
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.errors import NotReplayable, OutcomeUnknown, RingtimeError, StoreUnavailable
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Place, Row, RowUpdate, Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.stores.protocol import DeadLetterStore, Position, ScheduleStore

SPACING_MS = 5  #: between replays of one app: 200 a second, for a receiver that may just have healed


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A schedule that was filed again."""

    schedule_id: UUID
    replay: int  #: its n-th
    slot_ms: int  #: when it will be sent


class LetterStore(ScheduleStore, DeadLetterStore, Protocol):
    """What replays need of a store."""


def key_of(letter: DeadLetter) -> Position:
    """Return the letter's key within its app."""
    return Position(letter.slot_ms, letter.schedule_id)


def judge(
    home: Row, letters: Sequence[DeadLetter], also: Collection[Status] = ()
) -> tuple[NotReplayable | None, list[DeadLetter]]:
    """Return why a schedule cannot be replayed, None if it can, and which of its `letters` need no replay
    once that is done: those of rounds that have their outcome.

    Args:
        also: outcomes that are replayed beside FAILURE.
    """
    schedule_id, outcome = str(home.schedule.schedule_id), home.outcome
    if outcome is None:
        return NotReplayable(schedule_id, home.status), []
    over = [letter for letter in letters if letter.replay <= outcome.replay]
    if outcome.error == LEFT_TO_GOSCHEDULER:
        return NotReplayable(schedule_id, outcome.status, "goscheduler delivers it"), over
    if outcome.status not in (Status.FAILURE, *also) or home.cancelled_ms is not None:
        return NotReplayable(schedule_id, outcome.status), over
    newest = max((letter.replay for letter in letters), default=outcome.replay)
    if newest > outcome.replay:  # its outcome follows; a filing of that round would be closed by it
        why = "its last replay is being recorded; try again in a moment"
        return NotReplayable(schedule_id, outcome.status, why), over
    if newest < outcome.replay and outcome.status is Status.FAILURE:
        why = "it was replayed and failed again; that is a dead letter of its own"
        return NotReplayable(schedule_id, outcome.status, why), over
    return None, over


class Replayer:
    """Carries the steps out. One a process; for one event loop."""

    def __init__(
        self, store: LetterStore, commit: CommitPath, chooser: PartitionChooser, clock: Clock, margin_ms: int
    ) -> None:
        self._store = store
        self._commit = commit
        self._chooser = chooser
        self._clock = clock
        self._margin_ms = margin_ms
        self._next_boot_ms: dict[str, int] = {}  # by app, when the next may fire; bounded by the apps

    async def file(
        self, reading: AppReading, failed: Sequence[Row], over: Sequence[DeadLetter], *, spread: bool
    ) -> list[Replay]:
        """File the schedules of these home rows, all FAILURE and as they are shown, again; note the letters
        that are `over`.

        Args:
            spread: with `SPACING_MS` between them, and after the app's earlier ones.
        """
        rows = [
            self._next_filing(home, reading, self.next_slot(reading.app.app_id, spread)) for home in failed
        ]
        answers = await asyncio.gather(
            *(self._commit.file(row, reading) for row in rows), return_exceptions=True
        )
        places = {
            answer.schedule.schedule_id: answer.moved_to or answer.place  # overtaken: it moved on
            for answer in answers
            if isinstance(answer, Row)
        }
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        lost = {row.schedule.schedule_id for row in rows} - places.keys()
        try:
            await self._note(failed, places, [letter for letter in over if letter.schedule_id not in lost])
        except StoreUnavailable as error:
            if not places:
                raise
            raise OutcomeUnknown(f"the replay may have been filed: {error}") from error
        for failure in errors:
            if places and isinstance(failure, RingtimeError):
                raise OutcomeUnknown(f"{len(places)} of {len(rows)} were filed: {failure}") from failure
            raise failure
        return [
            Replay(
                schedule_id=row.schedule.schedule_id,
                replay=row.replay,
                slot_ms=places[row.schedule.schedule_id].slot_ms,
            )
            for row in rows
        ]

    async def _note(
        self, failed: Sequence[Row], places: dict[UUID, Place], over: Sequence[DeadLetter]
    ) -> None:
        updates = [
            RowUpdate(place=home.place, schedule_id=home.schedule.schedule_id, moved_to=place)
            for home in failed
            if (place := places.get(home.schedule.schedule_id)) is not None
        ]
        if updates:
            await self._store.put_updates(updates)
        if over:
            keys = [key_of(letter) for letter in over]
            await self._store.put_replayed(over[0].app_id, keys, self._clock.now_ms())

    def next_slot(self, app_id: str, spread: bool) -> int:
        """Return a slot that a commit is in time for; with `spread` the next one in the app's pace."""
        wait_ms, boot_ms = self._margin_ms, self._clock.boot_ms()
        if spread:  # a pace is kept on the boot clock: the wall clock may be set
            at_ms = max(boot_ms + wait_ms, self._next_boot_ms.get(app_id, 0))
            self._next_boot_ms[app_id] = at_ms + SPACING_MS
            wait_ms = at_ms - boot_ms
        return self._clock.now_ms() + wait_ms

    def _next_filing(self, home: Row, reading: AppReading, slot_ms: int) -> Row:
        app, outcome = reading.app, home.outcome
        partition = self._chooser.choose(app.number, bucket_of(slot_ms), app.writable)
        replay = 1 + (outcome.replay if outcome is not None else 0)
        place = Place(app.app_id, partition, slot_ms)
        return Row(schedule=home.schedule, place=place, replay=replay, change=home.change)
