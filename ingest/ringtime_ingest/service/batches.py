"""Many creates, or many cancels, in one request: each item has its own result.

A create of a batch keeps the same rules as one alone. What many have in common is done once for all of them:
an app is looked up once, equal callbacks are judged once, callbacks to one destination are screened once, and
the rows go to the commit path together, so that a schedule costs a fraction of a single create. What
is done for each item gives way to other requests after every few of them. Only creates with an idempotency
key are done one by one, some side by side: each has a claim to make first.

| what fails | the item's result |
|---|---|
| the item breaks a rule, its app is unknown or inactive | that error; the others go on |
| its app may not have all of these stored | RateLimited, for all items of that app |
| the store refuses the write that the item is in | StoreUnavailable |
| no answer to that write in time | OutcomeUnknown: it may exist and fire |
| the clock is in doubt, or there is no room for the batch | raised: no item was filed |
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar, cast
from uuid import UUID

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_ingest.service.creations import Creations, now_s
from ringtime_ingest.service.requests import (
    Cancellation,
    Kept,
    NewSchedule,
    check_callback,
    check_values,
    encode_details,
)
from ringtime_ingest.shadow import in_shadow
from ringtime_shared.api.batches import MAX_ITEMS
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.hook_rules import check_hooks, screen_hooks
from ringtime_shared.apps.states import inactive
from ringtime_shared.callbacks.foreign import describe, is_own_cancel, let_interrupt_through
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import InvalidRequest, RateLimited, Violation
from ringtime_shared.models.app import App
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import AppLimits
from ringtime_shared.shadow.moves import is_forwarding

T = TypeVar("T")
R = TypeVar("R")
STINT = 50  #: items between two moments at which other requests may go on: 2 to 3 ms
AT_ONCE = 50  #: cancels and creates with keys under way, and reads of apps


Destination = tuple[str, str, str | bytes]  #: callback type, app, and what its screen goes by


class Verdict(NamedTuple):
    """What holds of equal callbacks."""

    details: bytes  #: as they are kept
    violations: list[Violation]
    destination: Destination


class _Verdicts:
    """On the callbacks of one batch, by what they are; and, since many creates share the very object that
    the details are, by that object: the creates hold it, so no other has its identity meanwhile."""

    __slots__ = ("by_object", "by_value")

    def __init__(self) -> None:
        self.by_object: dict[tuple[int, str, str], Verdict] = {}
        self.by_value: dict[Destination, Verdict] = {}


class Draft(NamedTuple):
    """A create that keeps every rule and is to be filed."""

    number: int  #: in the batch, from 0
    new: NewSchedule
    details: bytes  #: of its callback, as they are kept
    screened: tuple[Destination, Hooks | None]  #: what is looked at once for all that have the same
    reading: AppReading


class Batches:
    """The batches of one process."""

    def __init__(
        self,
        apps: AppMaps,
        commit: CommitPath,
        clock: Clock,
        limits: AppLimits,
        callbacks: Mapping[str, CallbackRules],
        make_rows: Callable[[Sequence[Draft], int], Awaitable[list[Row]]],
        cancel_one: Callable[[UUID], Awaitable[Cancellation]],
        create_keyed: Callable[[NewSchedule], Awaitable[Kept]],
        admit: Callable[[App, list[int]], Awaitable[None]],
        creations: Creations,
    ) -> None:
        """
        Args:
            make_rows: returns the home rows of drafts, created at an instant in ms.
            cancel_one: cancels one schedule.
            create_keyed: creates one with an idempotency key.
            admit: raises RateLimited if an app may not have so many more stored, by when they expire.
        """
        self._creations = creations
        self._apps = apps
        self._commit = commit
        self._clock = clock
        self._limits = limits
        self._callbacks = callbacks
        self._rules = {name: kind.validate for name, kind in callbacks.items()}
        self.make_rows = make_rows
        self._cancel_one = cancel_one
        self._create_keyed = create_keyed
        self._admit = admit

    async def create(self, asked: Sequence[NewSchedule | Exception]) -> list[Row | Kept | Exception]:
        """File schedules; return for each, in order, its row (`Kept` if it has a key) or why there is none.

        Args:
            asked: 1 to 1,000; an error stands for what could not even be read, and is its own result.

        Raises InvalidRequest for their number, and StoreUnavailable (ClockInDoubt among it) if nothing was
        filed because there is no room for the batch.
        """
        begun_s = now_s()
        check_count("schedules", asked)
        require_trust(self._clock)
        results: list[Row | Kept | Exception | None] = [
            None if isinstance(x, NewSchedule) else x for x in asked
        ]
        news = list[tuple[int, NewSchedule]]()
        keyed = defaultdict[tuple[str, str], dict[int, NewSchedule]](dict)
        for n, new in enumerate(asked):
            if isinstance(new, NewSchedule):
                if new.idempotency_key:
                    keyed[new.app_id, new.idempotency_key][n] = new
                else:
                    news.append((n, new))
        readings = await self.read_apps({new.app_id for _, new in news})
        drafts = await self.judge(news, readings, results)
        made_ms = self._clock.now_ms()
        filed: list[tuple[Row, AppReading]] = []
        async for part in stints_of(drafts):
            rows = await self.make_rows(part, made_ms)
            filed += zip(rows, (draft.reading for draft in part), strict=True)
        refused = await self.find_full(filed)
        if refused:
            for draft in drafts:
                results[draft.number] = refused.get(draft.new.app_id)
            drafts = [draft for draft in drafts if draft.new.app_id not in refused]
            filed = [each for each in filed if each[0].schedule.app_id not in refused]
        for draft, result in zip(drafts, await self._commit.file_many(filed) if filed else (), strict=True):
            results[draft.number] = result
        self._creations.note_many(
            (draft.new.app_id for draft in drafts if isinstance(results[draft.number], Row)), begun_s
        )
        for some in parts_of(list(keyed.values()), AT_ONCE):
            await asyncio.gather(*(self._create_in_turn(same, results) for same in some))
        return [result for result in results if result is not None]

    async def find_full(self, filed: Sequence[tuple[Row, AppReading]]) -> dict[str, Exception]:
        """Return, by app, why none of its rows may be filed: those that may not have so many more stored."""
        expiries = defaultdict[str, list[int]](list)
        for row, _ in filed:
            expiries[row.schedule.app_id].append(row.schedule.expires_ms)
        apps = {reading.app.app_id: reading.app for _, reading in filed}
        refused = dict[str, Exception]()
        for app_id, app in apps.items():
            try:
                await self._admit(app, expiries[app_id])
            except RateLimited as error:
                refused[app_id] = error
        return refused

    async def _create_in_turn(
        self, same: Mapping[int, NewSchedule], results: list[Row | Kept | Exception | None]
    ) -> None:
        """Create what has one key; the second of two is a repetition of the first, not in its way."""
        for n, new in same.items():
            results[n] = await outcome(self._create_keyed(new))

    async def judge(
        self,
        news: Sequence[tuple[int, NewSchedule]],
        readings: Mapping[str, AppReading | Exception],
        results: list[R],
        *,
        may_be_past: bool = False,
    ) -> list[Draft]:
        """Return those creates, by their numbers, that keep every rule; put the errors of the others into
        `results`.

        Args:
            readings: of their apps.
            may_be_past: they may be due already.
        """
        told = cast("list[Exception]", results)
        return await self._screen(await self._check(news, readings, told, may_be_past), told)

    async def read_apps(
        self, app_ids: set[str], *, may_be_inactive: bool = False
    ) -> dict[str, AppReading | Exception]:
        """Return what is known of apps, or why nothing can be created in one."""
        readings: dict[str, AppReading | Exception] = {}
        for part in parts_of(sorted(app_ids), AT_ONCE):
            answers = await all_of([outcome(self._apps.get(app_id)) for app_id in part])
            readings.update(zip(part, answers, strict=True))
        return {
            app_id: in_shadow(reading.app, "it is asked for one schedule at a time")
            if isinstance(reading, AppReading) and is_forwarding(reading.app)
            else inactive(reading.app)
            if isinstance(reading, AppReading)
            and not reading.app.active
            and (reading.app.deletion is not None or not may_be_inactive)
            else reading
            for app_id, reading in readings.items()
        }

    async def _check(
        self,
        news: Sequence[tuple[int, NewSchedule]],
        readings: Mapping[str, AppReading | Exception],
        results: list[Exception],
        may_be_past: bool,
    ) -> list[Draft]:
        now_ms = self._clock.now_ms()
        verdicts = _Verdicts()
        drafts: list[Draft] = []
        async for part in stints_of(news):
            for n, new in part:
                reading = readings[new.app_id]
                if isinstance(reading, Exception):
                    results[n] = reading
                    continue
                try:
                    drafts.append(self._draft(n, new, reading, now_ms, verdicts, may_be_past))
                except BaseException as error:  # noqa: BLE001 - of a callback type: it fails this item alone
                    results[n] = contained(new.callback_type, error)
        return drafts

    def _draft(
        self,
        number: int,
        new: NewSchedule,
        reading: AppReading,
        now_ms: int,
        verdicts: _Verdicts,
        may_be_past: bool,
    ) -> Draft:
        """Return a create that keeps every rule. Raises InvalidRequest, and what its callback type raises."""
        violations = check_values(new, reading.app, self._limits, now_ms, may_be_past=may_be_past)
        of = id(new.callback_details), new.callback_type, new.app_id
        verdict = verdicts.by_object.get(of)
        if verdict is None:
            try:
                details = encode_details(new.callback_details)
            except InvalidRequest as error:  # told if nothing else is wrong, as of a create alone
                told = violations + check_callback(new, self._rules)
                raise InvalidRequest(told) if told else error from None
            key = (new.callback_type, new.app_id, details)
            verdict = verdicts.by_value.get(key)
            if verdict is None:
                verdict = verdicts.by_value[key] = self._judge(new, details)
            verdicts.by_object[of] = verdict
        told, hooks = violations + verdict.violations, new.hooks
        if hooks is not None:
            told += check_hooks(hooks, new.app_id, self._rules)
        if told:
            raise InvalidRequest(told)
        return Draft(number, new, verdict.details, (verdict.destination, hooks), reading)

    def _judge(self, new: NewSchedule, details: bytes) -> Verdict:
        kind, app_id = new.callback_type, new.app_id
        violations = check_callback(new, self._rules)
        known = None if violations else self._callbacks.get(kind)
        by = None if known is None else known.screened(new.callback_details)
        return Verdict(details, violations, (kind, app_id, details if by is None else by))

    async def _screen(self, drafts: list[Draft], results: list[Exception]) -> list[Draft]:
        """Return those whose callbacks may go where they lead, by one look at each destination."""
        firsts: dict[tuple[Destination, Hooks | None], Draft] = {}
        for draft in drafts:
            firsts.setdefault(draft.screened, draft)
        found = await all_of([self._screen_one(draft.new) for draft in firsts.values()])
        refusals = {key: each for key, each in zip(firsts, found, strict=True) if each is not None}
        if not refusals:
            return drafts  # as nearly always
        passed = []
        for draft in drafts:
            if draft.screened in refusals:
                results[draft.number] = refusals[draft.screened]
            else:
                passed.append(draft)
        return passed

    async def _screen_one(self, new: NewSchedule) -> Exception | None:
        try:
            screen = self._callbacks[new.callback_type].screen
            violations = await screen(new.callback_details, new.app_id)
            if new.hooks is not None:
                violations = violations + await screen_hooks(new.hooks, new.app_id, self._callbacks)
        except BaseException as error:  # noqa: BLE001 - of a callback type: it fails its own items alone
            return contained(new.callback_type, error)
        return InvalidRequest(violations) if violations else None

    async def cancel(self, asked: Sequence[UUID | Exception]) -> list[Cancellation | Exception]:
        """Cancel schedules; return for each, in order, what became of it. One that is named twice is
        cancelled once, and answered twice.

        Args:
            asked: 1 to 1,000; an error stands for what is no id, and is its own result.

        Raises InvalidRequest for their number.
        """
        check_count("scheduleIds", asked)
        results: dict[UUID, Cancellation | Exception] = {}
        for part in parts_of(list(dict.fromkeys(x for x in asked if isinstance(x, UUID))), AT_ONCE):
            answers = await asyncio.gather(*(outcome(self._cancel_one(each)) for each in part))
            results.update(zip(part, answers, strict=True))
        return [results[each] if isinstance(each, UUID) else each for each in asked]


def check_count(name: str, asked: Sequence[object]) -> None:
    if not 1 <= len(asked) <= MAX_ITEMS:
        raise InvalidRequest.of(name, f"must hold 1 to {MAX_ITEMS:,} items")


def parts_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for n in range(0, len(items), size):
        yield items[n : n + size]


async def stints_of(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Yield the items, a stint at a time. Other requests may go on after each, unless it is the only one."""
    for part in parts_of(items, STINT):
        yield part
        if len(items) > STINT:
            await asyncio.sleep(0)


async def all_of(calls: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """Await all, side by side; one alone, as nearly always, without a task of its own."""
    return [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)


async def outcome(call: Awaitable[T]) -> T | Exception:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - it is told to whoever asked for this item
        return error


def contained(kind: str, error: BaseException) -> Exception:
    """Return what a callback type raised as an error that ends nothing but the request, or its item."""
    if isinstance(error, Exception):
        return error
    if is_own_cancel(error):
        raise error
    let_interrupt_through(error)
    return RuntimeError(f"callback type {kind} failed at a create: {describe(error)}")
