"""What bulk jobs do to a page of things. Doing a page twice has the effect of doing it once.

| action | what is acted on | why a second time does nothing |
|---|---|---|
| delete | schedules that wait to be sent | they are cancelled by then |
| reconcile | schedules that ended before the job was asked for, and were not cancelled | see below |
| reconcile | schedules that wait, runs excepted | they have ended, or wait to be sent at once |
| retry | dead letters that were not replayed | they are noted as replayed; else as with reconcile |
| pause, resume | recurring schedules that make runs, or are paused | they are paused, or resumed, by then |

*Sent again* is a replay: a filing of the round after that of the schedule's outcome, and two filings of one
round are one delivery (`replay`). When the round has its outcome, that is younger than the job, which passes
over it. It takes clocks that differ by more than a filing takes, 0.6 s at least, and a kill between a page
and its progress, to send one twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar
from uuid import UUID

from ringtime_ingest.service.dead_letters import DeadLetters, LetterQuery
from ringtime_ingest.service.listing import Listing, ListQuery
from ringtime_ingest.service.recurring import Recurring
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_ingest.service.tokens import decode_token
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.clock import Clock
from ringtime_shared.errors import (
    AlreadyDone,
    NotChangeable,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
)
from ringtime_shared.models.job import Job, JobAction
from ringtime_shared.models.recurring import SHOWN, Definition, DefinitionState
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.schedules.row_filter import RowFilter

T = TypeVar("T")
PAGE = 500  #: schedules, or dead letters
_DEFINITIONS = 50  #: each takes some round trips
_AT_ONCE = 50  #: of them under way
_OVER = (AlreadyDone, NotChangeable, NotFound)  #: it has ended meanwhile, or is being sent
_LIVE = (DefinitionState.ACTIVE, DefinitionState.PAUSED)


class PageReport(NamedTuple):
    """What became of a page."""

    token: str  #: goes on after it; "": there is nothing more
    through_ms: int
    looked: int
    done: int  #: or would be
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class JobActions:
    """The actions. Each raises StoreUnavailable or OutcomeUnknown if the page is to be done again."""

    listing: Listing
    letters: DeadLetters
    recurring: Recurring
    clock: Clock
    cancel: Callable[[Row], Awaitable[object]]  #: cancels the schedule of a home row
    change: Callable[[UUID, ScheduleChange], Awaitable[object]]  #: changes one that was not sent yet

    async def do_page(self, job: Job, reading: AppReading) -> PageReport:
        """Do the next page of a job; of a plan, count what would be done."""
        if job.action.has_range and job.start_ms == job.end_ms:
            return PageReport("", job.end_ms, 0, 0, [])
        if job.action is JobAction.RETRY:
            return await self._retry(job)
        if not job.action.has_range:
            return await self._switch(job)
        page = await self.listing.fetch(
            ListQuery(
                app_id=job.app_id,
                start_ms=job.start_ms,
                end_ms=job.end_ms,
                only=RowFilter(status=job.status),
                size=PAGE,
                token=job.cursor,
            )
        )
        wanted = [row for row in page.rows if _is_wanted(job, row)]
        problems = [f"{schedule_id}: its record cannot be read" for schedule_id in page.unreadable]
        done = len(wanted)
        if not job.is_plan:
            if job.action is JobAction.DELETE:
                done, told = await _each(wanted, self.cancel, lambda row: row.schedule.schedule_id)
            else:
                done, told = await self._send(wanted, reading)
            problems += told
        return PageReport(
            page.token,
            page.next_ms if page.token else job.end_ms,
            len(page.rows) + len(page.unreadable),
            done,
            problems,
        )

    async def _send(self, rows: Sequence[Row], reading: AppReading) -> tuple[int, list[str]]:
        ended = [row for row in rows if row.outcome is not None]
        sent, skipped = await self.letters.send_again(reading, ended)
        waiting = [row for row in rows if row.outcome is None]
        done, problems = await _each(waiting, self._send_now, lambda row: row.schedule.schedule_id)
        return sent + done, [*(f"{each.schedule_id}: {each.reason}" for each in skipped), *problems]

    async def _send_now(self, row: Row) -> None:
        """Let a schedule be sent in turn with those that are sent again, unless it is due before that."""
        slot_ms = self.letters.next_slot(row.place.app_id)
        if row.schedule.fire_ms > slot_ms:
            await self.change(row.schedule.schedule_id, ScheduleChange(fire_ms=slot_ms))

    async def _retry(self, job: Job) -> PageReport:
        query = LetterQuery(
            app_id=job.app_id, start_ms=job.start_ms, end_ms=job.end_ms - 1, size=PAGE, token=job.cursor
        )
        if job.is_plan:
            page = await self.letters.fetch(query)
            schedules = {letter.schedule_id for letter in page.letters}
            return PageReport(page.token, self._reached(job, page.token), len(schedules), len(schedules), [])
        report = await self.letters.replay_range(query)
        looked = len(report.replays) + len(report.skipped)
        # What else is skipped needs no replay any more: it was sent again meanwhile, or cancelled.
        problems = [f"{each.schedule_id}: {each.reason}" for each in report.skipped if each.is_lost]
        return PageReport(
            report.token, self._reached(job, report.token), looked, len(report.replays), problems
        )

    async def _switch(self, job: Job) -> PageReport:
        """Pause or resume recurring schedules."""
        now_ms = self.clock.now_ms()
        pauses = job.action is JobAction.PAUSE
        page = await self.recurring.fetch_page(job.app_id, SHOWN, _DEFINITIONS, job.cursor)
        damaged = [each for each in page.definitions if each.damage]
        live = [each for each in page.definitions if each.state in _LIVE and not each.damage]
        wanted = [each for each in live if (each.state_at(now_ms) is DefinitionState.PAUSED) is not pauses]
        done, problems = len(wanted), list[str]()
        if not job.is_plan:
            switch: Callable[[Definition], Awaitable[object]] = self.recurring.resume
            if pauses:
                switch = partial(self.recurring.pause, reason=job.reason, until_ms=job.until_ms)
            done, problems = await _each(wanted, switch, lambda definition: definition.name)
        problems += [
            f"{each.name or each.recurring_id}: it cannot be read, {each.damage}" for each in damaged
        ]
        return PageReport(page.token, 0, len(live) + len(damaged), done, problems)

    @staticmethod
    def _reached(job: Job, token: str) -> int:
        return decode_token(job.app_id, token).slot_ms if token else job.end_ms


def _is_wanted(job: Job, row: Row) -> bool:
    if job.action is JobAction.DELETE:
        return row.status is Status.SCHEDULED
    if row.cancelled_ms is not None:
        return False
    if row.outcome is not None:
        return row.outcome.status is not Status.DELETED and row.outcome.ended_ms < job.created_ms
    return row.schedule.run is None  # a run waits for what its recurring schedule says


async def _each(
    things: Sequence[T], act: Callable[[T], Awaitable[object]], name: Callable[[T], object]
) -> tuple[int, list[str]]:
    """Act on each, some side by side; return on how many, and which were refused. What has ended meanwhile is
    neither."""
    done, problems = 0, []
    for part in _parts(things):
        answers = await asyncio.gather(*map(act, part), return_exceptions=True)
        for thing, answer in zip(part, answers, strict=True):
            if isinstance(answer, _OVER):
                continue
            if isinstance(answer, RingtimeError) and not isinstance(
                answer, (StoreUnavailable, OutcomeUnknown)
            ):
                problems.append(f"{name(thing)}: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                done += 1
    return done, problems


def _parts(things: Sequence[T]) -> Iterator[list[T]]:
    left = iter(things)
    while part := list(islice(left, _AT_ONCE)):
        yield part
