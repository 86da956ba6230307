"""The commit path: a row is acknowledged only when a dispatcher is bound to see it.

Invariant. When `CommitPath.file` returns, some live row of the schedule is filed at a slot that its
poller instance's owner has not finally read yet, in a partition that is polled.

Requests that arrive while a batch is out join the next one; there is no timer. Where one has been out for
long, the next request begins another beside it. Those that file many rows at once have a line of their own,
which gets at least half of each batch and what single creates leave. After the batch is acknowledged by the
store, and before its requests are, each row is checked (once a batch and poller instance):

- Its slot is near: read `sealed`. If `sealed >= slot`, the owner's final read may have come before the
  row, so it is filed again, under the same id, at a slot above `sealed`, a change at one that it claims; its
  home row gets a pointer. But a `sealed` more than a minute ahead of now was published by a clock that lied:
  the client is told that the outcome is unknown, rather than that the row will fire then. The term that
  lowers the marks reads the row.
- The app's map was read too long ago: read it again. If the row's partition is not writable any more, the
  row is filed again in one that is, even while the partition is polled: it may be about to be released.

A row filed again is checked again, at most three times in all. A create whose app was deleted meanwhile, or
is being deleted, is not acknowledged.

Proof sketch. Owners publish `sealed = S` and only then read everything up to S once more. Suppose
our check read an older mark, `sealed < slot`. Then the publish that covers the slot was not yet
acknowledged when the check began, so the final read behind it started after our write was durable and
sees the row. No clock takes part. For the map: a row that passes the check was durable at most `map_age_ms`
after a moment up to which a map that had its partition writable was proved to show every change (see
`ringtime_shared.apps.feed`; or the app was read from the store after it), and that moment lies before the
change that ended this was durable and counted. A partition is released only if it was seen empty by a look
that began later than `map_age_ms` after that change, so the look sees the row: see `ringtime_ringctl.resize`.
An app is deleted by the same rule: see `ringtime_shared.apps.deleting`.

| what fails | what happens |
|---|---|
| store refuses the batch | StoreUnavailable to each waiting request; nothing is filed |
| too few replicas of some of it are up | OutcomeUnknown: the rest may be filed, if only a row's arrival |
| the app is gone when its map is read again | NotFound to its requests; no dispatcher sends the row |
| the app is being deleted by then | OutcomeUnknown: it fires if the deletion is given up |
| no answer to the batch, the check or the pointer | OutcomeUnknown: the row may exist and may fire, once |
| process dies before the answer | as above, seen by the client as a cut connection |
| process is suspended between write and check | the check finds `sealed` or the map changed, files again |
| this node's clock is in doubt | ClockInDoubt, before anything is written |
| an owner published marks by a wrong clock | near rows: MarksAhead; others: acknowledged, see below |

Rows further ahead than `near_ms` are not checked: a slot that far ahead lies under `sealed` only if a wrong
clock published it, and the term that finds such marks lowers them to before the row was created. That is
worth the look it saves each of them, and leaves one gap. Marks are found false only before the time they say
has come: if no dispatcher begins a term until then, a row filed meanwhile under them is passed over, and
`ringctl doctor` tells of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from ringtime_ingest.service.apps import AppMaps
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.buckets import bucket_of
from ringtime_shared.callbacks.foreign import describe, is_own_cancel
from ringtime_shared.clock import Clock
from ringtime_shared.errors import ClockInDoubt, MarksAhead, NotFound, OutcomeUnknown, StoreUnavailable
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.names import COMMIT_BATCH_ROWS
from ringtime_shared.models.app import Instance
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.schedules.changing import slot_again, slot_of_change
from ringtime_shared.settings import IngestSettings
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import DAMAGED_MARKS, ClaimStore, MarkStore, ScheduleStore

T = TypeVar("T")
_CLAIMS = 8  #: of slots, for a change that was overtaken
_PATIENCE_MS = 50  #: several times what a flush takes: one out for longer hangs, or its store is far away
_ROUNDS = 3  #: filings of one row before giving up with an unknown outcome


class Overtaken(Exception):
    """A row was filed where it may not be seen, and not filed again: see `CommitPath.file`."""


class CommitStore(ScheduleStore, MarkStore, ClaimStore, Protocol):
    """What the commit path needs of a store."""


@dataclass(slots=True, eq=False)
class _Filing:
    """A row on its way, and the request that waits for it."""

    home: Row
    row: Row  #: the filing under way; `home` itself the first time
    reading: AppReading
    done: asyncio.Future[Row]
    is_refiled: bool = True  #: if it is overtaken
    rounds: int = 0


class CommitPath:
    """Group commit with the checks of this module's docstring. One a process."""

    def __init__(
        self,
        store: CommitStore,
        apps: AppMaps,
        chooser: PartitionChooser,
        clock: Clock,
        settings: IngestSettings,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._is_measured = metrics.is_on
        self._observe_rows = metrics.spread(COMMIT_BATCH_ROWS).observe
        self._store = store
        self._apps = apps
        self._chooser = chooser
        self._clock = clock
        self._settings = settings
        self._waiting: deque[_Filing] = deque()
        self._waiting_many: deque[_Filing] = deque()  # of those who file many at once
        self._lanes: set[asyncio.Task[None]] = set()
        self._running = 0  # counted down by the lane itself: its task ends a moment after its last look
        self._flushed_boot_ms = 0  # when the last flush, or a lane, began

    async def file(self, row: Row, reading: AppReading, *, is_refiled: bool = True) -> Row:
        """File a home row, replay or change; return it, with a forward pointer if it had to be filed again.

        A replay or change that is overtaken points on itself, as a home row does: the schedule's home row is
        the caller's to change.

        Args:
            is_refiled: whether to file it again if it has to be; else Overtaken is raised, for a caller who
                has to know first what became of it meanwhile.

        Raises:
            StoreUnavailable: nothing was filed; ClockInDoubt: because this node's clock is.
            OutcomeUnknown: no answer in time, or the row was overtaken three times; MarksAhead: it was filed
                under marks that cannot be true.
        """
        (filing,) = self._take_in([(row, reading)], self._waiting)
        filing.is_refiled = is_refiled
        return await filing.done

    async def file_many(self, rows: Sequence[tuple[Row, AppReading]]) -> list[Row | Exception]:
        """File home rows that were asked for together; return for each what `file` returns, or raises.

        Raises StoreUnavailable if no row was looked at: there is no room for them; ClockInDoubt.
        """
        filings = self._take_in(rows, self._waiting_many)
        try:
            for filing in filings:
                if not filing.done.done():
                    with suppress(Exception):  # it is told of each below
                        await filing.done
        except BaseException:  # nobody waits for them any more
            for filing in filings:
                if not filing.done.cancel() and not filing.done.cancelled():
                    filing.done.exception()
            raise
        return [_ending(filing.done) for filing in filings]

    def _take_in(self, rows: Sequence[tuple[Row, AppReading]], line: deque[_Filing]) -> list[_Filing]:
        if (doubt := self._clock.doubt()) is not None:
            raise ClockInDoubt(doubt)
        waiting = len(self._waiting) + len(self._waiting_many)
        if waiting + len(rows) > self._settings.max_pending:
            raise StoreUnavailable(f"{waiting} creates are waiting for the store already")
        new_future = asyncio.get_running_loop().create_future
        filings = [_Filing(row, row, reading, new_future()) for row, reading in rows]
        line += filings
        if line is self._waiting and self._running and self._is_soon_back(len(line)):
            return filings  # a lane under way takes them together: more lanes would make smaller groups
        for _ in range(0, len(rows), self._settings.flush_rows):
            if self._running >= self._settings.commit_lanes:
                break
            self._running += 1
            self._flushed_boot_ms = self._clock.boot_ms()
            lane = asyncio.create_task(self._run_lane(), name="commit lane")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return filings

    def _is_soon_back(self, waiting: int) -> bool:
        """Whether so many single creates may wait for a lane under way to take them."""
        is_late = self._clock.boot_ms() - self._flushed_boot_ms > _PATIENCE_MS
        return waiting < self._settings.flush_rows and not is_late

    def _next_batch(self) -> list[_Filing]:
        """Return what is written next: of each line at least half a batch, if so many wait."""
        most = self._settings.flush_rows
        many = min(len(self._waiting_many), max(most - len(self._waiting), most // 2))
        single = min(len(self._waiting), most - many)
        return [
            *(self._waiting.popleft() for _ in range(single)),
            *(self._waiting_many.popleft() for _ in range(many)),
        ]

    async def close(self) -> None:
        """Finish what is under way."""
        while self._lanes:
            await asyncio.wait(self._lanes)

    async def _run_lane(self) -> None:
        while batch := self._next_batch():
            self._flushed_boot_ms = self._clock.boot_ms()
            try:
                await self._flush(batch)
            except Exception as error:  # noqa: BLE001 - every waiting request must get an answer
                _refuse(batch, error)
            except BaseException as error:  # a lane that goes must neither keep its place nor its requests
                _refuse(batch, OutcomeUnknown(f"the create was broken off: {describe(error)}"))
                if is_own_cancel(error) or not isinstance(error, asyncio.CancelledError):
                    self._running -= 1
                    raise
        self._running -= 1

    async def _flush(self, batch: list[_Filing]) -> None:
        try:
            async with asyncio.timeout(self._settings.write_deadline_ms / 1000):
                await self._put(batch)
                overtaken = await self._find_overtaken(batch)
        except TimeoutError:
            raise OutcomeUnknown("the store gave no answer in time; the schedule may exist") from None
        for filing in batch:
            if filing in overtaken:
                if not filing.is_refiled:
                    _refuse([filing], Overtaken())
                elif filing.rounds >= _ROUNDS:
                    _refuse([filing], OutcomeUnknown("the schedule was overtaken repeatedly; it may fire"))
                else:
                    filing.row = overtaken[filing]
                    self._waiting.appendleft(filing)
            elif not filing.done.done():  # else it was refused, or its request is gone
                is_moved = filing.row is not filing.home
                row = replace(filing.home, moved_to=filing.row.place) if is_moved else filing.home
                filing.done.set_result(row)

    async def _put(self, batch: Sequence[_Filing]) -> None:
        try:
            await self._store.put_rows([filing.row for filing in batch])
        except StoreUnavailable as error:
            if any(filing.rounds for filing in batch):  # an earlier filing of these is in the store
                _refuse([filing for filing in batch if filing.rounds], OutcomeUnknown(str(error)))
            raise
        if self._is_measured:
            self._observe_rows(len(batch))
        again = []
        for filing in batch:
            filing.rounds += 1
            if filing.row is not filing.home:
                again.append(filing)
        if again:  # the pointer follows the row it points at, never the other way round
            await once_filed(
                self._store.put_updates(
                    [
                        RowUpdate(
                            place=filing.home.place,
                            schedule_id=filing.home.schedule.schedule_id,
                            moved_to=filing.row.place,
                        )
                        for filing in again
                    ]
                )
            )

    async def _find_overtaken(self, batch: Sequence[_Filing]) -> dict[_Filing, Row]:
        """Return the filings that must be filed again, each with its next row."""
        now_ms, boot_ms = self._clock.now_ms(), self._clock.boot_ms()
        near_ms = now_ms + self._settings.near_ms
        oldest_boot_ms = boot_ms - self._settings.map_age_ms
        near: set[Instance] = set()
        aged: set[str] = set()
        for filing in batch:
            app_id, partition, slot_ms = filing.row.place
            if slot_ms < near_ms:
                near.add(Instance(app_id, partition))
            if filing.reading.read_boot_ms < oldest_boot_ms:
                aged.add(filing.home.place.app_id)
        if (
            not near
            and not aged
            and all(each.row.place.partition < each.reading.app.writable for each in batch)
        ):
            return {}  # as of nearly all that are due later
        marks = await once_filed(self._store.fetch_marks(sorted(near))) if near else {}
        fresh: dict[str, AppReading | None] = {}
        for app_id in sorted(aged):
            fresh[app_id] = await once_filed(self._reread(app_id))
        overtaken = {}
        for filing in batch:
            place = filing.row.place
            mark = marks.get(Instance(place.app_id, place.partition)) if marks else None
            if mark == DAMAGED_MARKS:  # it cannot be told whether the final read will see the row
                about = f"the marks of {place.instance} cannot be read; the schedule may exist and fire"
                _refuse([filing], OutcomeUnknown(about))
                continue
            sealed_ms = -1 if mark is None else mark.sealed_ms
            if filing.reading.read_boot_ms < oldest_boot_ms:
                reading = fresh[place.app_id]
                if reading is None or reading.app.number != filing.reading.app.number:
                    _refuse([filing], NotFound("app", place.app_id))
                    continue
                if reading.app.deletion is not None:
                    _refuse([filing], OutcomeUnknown(f"app {place.app_id} is being deleted"))
                    continue
                filing.reading = reading
            if sealed_ms > now_ms + CLOCK_SKEW_MS:
                _refuse([filing], MarksAhead(str(place.instance), sealed_ms - now_ms))
            elif sealed_ms >= place.slot_ms or place.partition >= filing.reading.app.writable:
                overtaken[filing] = filing.row
                if filing.is_refiled:
                    overtaken[filing] = await once_filed(self._file_again(filing, sealed_ms))
        return overtaken

    async def _reread(self, app_id: str) -> AppReading | None:
        try:
            return await self._apps.reread(app_id)
        except NotFound:
            return None

    async def _file_again(self, filing: _Filing, sealed_ms: int) -> Row:
        now_ms = self._clock.now_ms()
        place, app = filing.row.place, filing.reading.app
        slot_ms = max(now_ms + self._settings.commit_margin_ms, sealed_ms + 1, place.slot_ms + 1)
        schedule_id, is_change = filing.home.schedule.schedule_id, filing.home.change is not None
        slot_ms = slot_of_change(slot_ms) if is_change else slot_again(schedule_id, slot_ms)
        partition = place.partition
        if partition >= app.writable:
            partition = self._chooser.choose(app.number, bucket_of(slot_ms), app.writable)
        row = replace(filing.home, place=Place(place.app_id, partition, slot_ms))
        for _ in range(_CLAIMS):
            if not is_change or await claim_slot(self._store, row):
                return row
            row = replace(row, place=row.place._replace(slot_ms=row.place.slot_ms + 2))
        raise StoreUnavailable(f"schedule {schedule_id} has too many changes to about the same time")


async def claim_slot(store: ClaimStore, row: Row) -> bool:
    """Take the slot of a change's filing, as long as that may be there; False: another change has it."""
    schedule, change = row.schedule, row.change
    if change is None:
        raise ValueError(f"no change: {row}")
    claim = Claim(
        key=ClaimKey(schedule.app_id, ClaimKind.SLOT, f"{schedule.schedule_id} {row.place.slot_ms}"),
        schedule_id=schedule.schedule_id,
        digest=str(change.token),
        claimed_ms=change.at_ms,
        busy_until_ms=change.at_ms,
        expires_ms=schedule.expires_ms + CLOCK_SKEW_MS,
    )
    return await store.replace_claim(claim, None) == claim


def _ending(done: asyncio.Future[Row]) -> Row | Exception:
    error = done.exception()
    if error is None:
        return done.result()
    if isinstance(error, Exception):
        return error
    raise error


def _refuse(filings: Sequence[_Filing], error: Exception) -> None:
    for filing in filings:
        if not filing.done.done():
            filing.done.set_exception(error)


async def once_filed(call: Awaitable[T]) -> T:
    """Await a call that follows the write of a row: its failure leaves the outcome unknown."""
    try:
        return await call
    except StoreUnavailable as error:
        raise OutcomeUnknown(f"the schedule may exist: {error}") from error
