"""Dead letters of an app: list them, count them, replay them. How a replay is filed stands in `replay`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, TypeVar
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.replay import LetterStore, Replay, Replayer, judge, key_of
from ringtime_ingest.service.tokens import encode_token, range_faults, read_token
from ringtime_shared.api.dead_letters import LIST_SIZE, MAX_DAYS, MAX_SIZE
from ringtime_shared.api.instants import to_iso
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import inactive
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.clock import Clock
from ringtime_shared.errors import (
    Damaged,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
)
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.stores.protocol import LAST_ID, Position

T = TypeVar("T")

_READ = 500  #: letters read at once where some are passed over
_MOST_READ = 5_000  #: and in one call: whoever looks for few among many goes on with the token
_AT_ONCE = 100  #: schedules of one call that are replayed side by side
_DAY_MS = 86_400_000


class Names(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    size: str
    token: str
    ids: str


IN_QUERY = Names("start_time", "end_time", "size", "continuation_token", "")
IN_BODY = Names("startTime", "endTime", "size", "continuationToken", "scheduleIds")
IN_LIBRARY = Names("start", "end", "size", "token", "schedule_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterQuery:
    """Dead letters of one app, by the slot of their last attempt, both ends included."""

    app_id: str
    start_ms: int | None = None  #: None: a day before the end
    end_ms: int | None = None  #: None: now
    size: int = LIST_SIZE
    token: str = ""  #: go on after an earlier page; "": from the start
    replayed: bool | None = False  #: only those filed again, or only the others; None: all
    names: Names = IN_BODY

    def range_at(self, now_ms: int) -> tuple[int, int]:
        """Return both ends in ms. Raises InvalidRequest."""
        end_ms = now_ms if self.end_ms is None else self.end_ms
        start_ms = end_ms - _DAY_MS if self.start_ms is None else self.start_ms
        violations = range_faults(
            start_ms,
            end_ms,
            self.size,
            self.names,
            ends_now=self.end_ms is None,
            most_days=MAX_DAYS,
            most_size=MAX_SIZE,
        )
        if violations:
            raise InvalidRequest(violations)
        return start_ms, end_ms


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Oldest first. A page with a token may hold fewer than were asked for, or none."""

    letters: Sequence[DeadLetter]
    token: str  #: goes on after this page; "": there is nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A schedule that was not filed again, and why."""

    schedule_id: UUID
    reason: str
    is_lost: bool = False  #: its record is gone, or cannot be read


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What became of a call that replays many."""

    replays: Sequence[Replay]
    skipped: Sequence[Skipped]
    token: str = ""  #: goes on after the last dead letter looked at; "": that was all


class DeadLetters:
    """Lists, counts and replays those of all apps. Every method may also raise StoreUnavailable."""

    def __init__(
        self,
        store: LetterStore,
        apps: AppMaps,
        replayer: Replayer,
        clock: Clock,
        fetch_home: Callable[[UUID], Awaitable[Row]],
        trail: AuditTrail,
    ) -> None:
        self._store = store
        self._apps = apps
        self._replayer = replayer
        self._clock = clock
        self._trail = trail
        self._fetch_home = fetch_home  # as it is shown; raises NotFound

    async def fetch(self, query: LetterQuery) -> LetterPage:
        """Return a page. Raises InvalidRequest, NotFound (app)."""
        start_ms, end_ms = query.range_at(self._clock.now_ms())
        position = Position(start_ms - 1, LAST_ID)
        if query.token:
            position = max(position, _read_token(query, end_ms))
        await self._apps.get(query.app_id)
        page: list[DeadLetter] = []
        limit = query.size + 1  # one more tells whether there is more
        if query.replayed is not None:
            limit = max(limit, _READ)
        for _ in range(0, _MOST_READ, limit):
            letters = await self._store.fetch_dead_letters(query.app_id, position, end_ms, limit)
            for letter in letters:
                if len(page) == query.size:
                    return LetterPage(page, encode_token(query.app_id, position))
                position = key_of(letter)
                if query.replayed in (None, letter.replayed_ms is not None):
                    page.append(letter)
            if len(letters) < limit:
                return LetterPage(page, "")
        return LetterPage(page, encode_token(query.app_id, position))

    async def count(self, query: LetterQuery) -> int:
        """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
        start_ms, end_ms = query.range_at(self._clock.now_ms())
        await self._apps.get(query.app_id)
        return await self._store.count_dead_letters(query.app_id, start_ms, end_ms)

    async def replay(self, schedule_id: UUID) -> Replay:
        """File a failed schedule again. Raises NotFound, NotReplayable, AppInactive, OutcomeUnknown."""
        home = await self._fetch_home(schedule_id)
        reading = await self._active(home.schedule.app_id)
        refusal, over = judge(home, await self._letters_of(home))
        if refusal is not None:
            await self._replayer.file(reading, [], over, spread=False)  # nothing; and its letters are over
            raise refusal
        async with self._trail.change(home.schedule.app_id, str(schedule_id), None, {"schedules": 1}):
            (replay,) = await self._replayer.file(reading, [home], over, spread=False)
        return replay

    async def replay_ids(
        self, app_id: str, schedule_ids: Sequence[UUID], names: Names = IN_BODY
    ) -> ReplayReport:
        """File these again. Raises InvalidRequest, NotFound (app), AppInactive, OutcomeUnknown."""
        if not 1 <= len(schedule_ids) <= MAX_SIZE:
            raise InvalidRequest.of(names.ids, f"must hold 1 to {MAX_SIZE} ids")
        reading = await self._active(app_id)
        async with self._trail.change(app_id, app_id, None, {"schedules": len(schedule_ids)}):
            return await self._replay(reading, dict.fromkeys(schedule_ids))

    async def replay_range(self, query: LetterQuery) -> ReplayReport:
        """File again what `fetch` would return. Raises as `replay_ids` does."""
        reading = await self._active(query.app_id)
        page = await self.fetch(replace(query, replayed=False))
        by_schedule: dict[UUID, list[DeadLetter]] = defaultdict(list)
        for letter in page.letters:
            by_schedule[letter.schedule_id].append(letter)
        start_ms, end_ms = query.range_at(self._clock.now_ms())
        of_range = {
            "startTime": to_iso(start_ms),
            "endTime": to_iso(end_ms),
            "schedules": len(by_schedule),
        }
        async with self._trail.change(query.app_id, query.app_id, None, of_range):
            report = await self._replay(reading, by_schedule)
        return ReplayReport(report.replays, report.skipped, page.token)

    async def send_again(self, reading: AppReading, homes: Sequence[Row]) -> tuple[int, list[Skipped]]:
        """File the schedules of these home rows again, whichever way they ended; return how many, and which
        were not. Raises StoreUnavailable, OutcomeUnknown: some were."""
        replays: list[Replay] = []
        skipped: list[Skipped] = []
        for part in _parts(homes, _AT_ONCE):
            letters = await asyncio.gather(*map(self._earlier_letters, part))
            rows: list[Row] = []
            over: list[DeadLetter] = []
            for home, found in zip(part, letters, strict=True):
                refusal, done = judge(home, found, also=(Status.SUCCESS, Status.MISS))
                over += done
                if refusal is None:
                    rows.append(home)
                else:
                    skipped.append(Skipped(schedule_id=home.schedule.schedule_id, reason=str(refusal)))
            replays += await self._replayer.file(reading, rows, over, spread=True)
        return len(replays), skipped

    def next_slot(self, app_id: str) -> int:
        """Return the slot of the next of those that are sent again, so that they keep their distance."""
        return self._replayer.next_slot(app_id, spread=True)

    async def _earlier_letters(self, home: Row) -> list[DeadLetter]:
        """Return the dead letters of a schedule, if it may have any."""
        outcome = home.outcome
        has_none = outcome is not None and outcome.status is not Status.FAILURE and not outcome.replay
        return [] if has_none else await self._letters_of(home)

    async def _replay(
        self, reading: AppReading, asked: Mapping[UUID, list[DeadLetter] | None]
    ) -> ReplayReport:
        """Replay schedules, with those of their letters that are known; None: they are looked up."""
        replays: list[Replay] = []
        skipped: list[Skipped] = []
        for part in _parts(list(asked.items()), _AT_ONCE):
            try:
                await self._replay_part(reading, dict(part), replays, skipped)
            except StoreUnavailable as error:
                if replays:
                    raise OutcomeUnknown(f"{len(replays)} were filed: {error}") from error
                raise
        return ReplayReport(replays, skipped)

    async def _replay_part(
        self,
        reading: AppReading,
        asked: Mapping[UUID, list[DeadLetter] | None],
        replays: list[Replay],
        skipped: list[Skipped],
    ) -> None:
        failed: list[Row] = []
        over: list[DeadLetter] = []
        number = reading.app.number
        sights = await asyncio.gather(*(self._look(number, *each) for each in asked.items()))
        for schedule_id, (home, letters) in zip(asked, sights, strict=True):
            if not isinstance(home, Row):
                skipped.append(Skipped(schedule_id=schedule_id, reason=str(home), is_lost=True))
                continue
            refusal, done = judge(home, letters)
            over += done
            if refusal is None:
                failed.append(home)
            else:
                skipped.append(Skipped(schedule_id=schedule_id, reason=str(refusal)))
        replays += await self._replayer.file(reading, failed, over, spread=True)

    async def _look(
        self, app_number: int, schedule_id: UUID, letters: list[DeadLetter] | None
    ) -> tuple[Row | RingtimeError, list[DeadLetter]]:
        """Return the home row, or why there is none to replay, and the letters."""
        if app_number_of(schedule_id) != app_number:  # apps do not learn of each other's
            return NotFound("schedule", str(schedule_id)), []
        try:
            home = await self._fetch_home(schedule_id)
        except (NotFound, Damaged) as error:
            return error, []
        return home, await self._letters_of(home) if letters is None else letters

    async def _letters_of(self, home: Row) -> list[DeadLetter]:
        """Return the schedule's dead letters where they should be: in the slot of its last filing, and in
        its own."""
        schedule_id, app_id = home.schedule.schedule_id, home.schedule.app_id
        slots_ms = {home.place.slot_ms, (home.moved_to or home.place).slot_ms}
        before = UUID(int=schedule_id.int - 1)
        answers = [
            await self._store.fetch_dead_letters(app_id, Position(slot_ms, before), slot_ms, 1)
            for slot_ms in slots_ms
        ]
        return [letter for letters in answers for letter in letters if letter.schedule_id == schedule_id]

    async def _active(self, app_id: str) -> AppReading:
        reading = await self._apps.get(app_id)
        if not reading.app.active:
            raise inactive(reading.app)
        return reading


def _read_token(query: LetterQuery, end_ms: int) -> Position:
    names = query.names
    return read_token(query.app_id, query.token, end_ms, name=names.token, end=names.end)


def _parts(items: Sequence[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
