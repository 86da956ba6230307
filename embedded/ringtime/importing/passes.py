"""One pass over goscheduler's tables: a plan, the import, or the comparison at its end.

All three read the same and ask the same server; a plan and the comparison ask what would become of each
(`dry_run`). What is carried was found here at the end if none of it would be created.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from ringtime.importing.account import Account
from ringtime.importing.carrying import (
    NotCarried,
    Terms,
    app_body,
    cron_body,
    is_deleted,
    schedule_body,
)
from ringtime.importing.rows import OldApp, OldCron, OldSchedule
from ringtime.importing.target import Json, Refused, Target, is_passing, why_refused
from ringtime_shared.api.imports import ImportEffect

if TYPE_CHECKING:
    from ringtime.importing.source import Source

SENT_AT_ONCE = 500  #: schedules in a request
SENT_BYTES = 1 << 20  #: in a request
_TOO_LARGE = 413
CRONS_AT_ONCE = 50  #: each takes a conditional write
_IN_FLIGHT = 2  #: requests: one is read for while others are answered
_TRIES = 6  #: of an item that the server could not say anything about
_WAIT_S = 0.5
_CANCELS_AT_ONCE = 16
_ASKED_AT_ONCE = 16
_MOST_CRONS = 10_000  #: of which is kept from when on they run here
Tell = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a pass goes by."""

    source: Source
    target: Target
    terms: Terms
    is_plan: bool  #: ask what would become of each, and change nothing
    tell: Tell  #: told of a kind of things, and how many of it were read


async def run(this: Pass) -> Account:
    """Carry, or plan, everything that is wanted. Raises StoreUnavailable, Conflict."""
    account = Account()
    known = await _apps(this, account)
    async with _Sender(this, account) as sender:
        async with aclosing(this.source.crons()) as pages:
            await _crons(this, account, sender, known, pages)
        async with aclosing(this.source.schedules()) as found:
            await _schedules(this, account, sender, known, found)
    return account


async def _apps(this: Pass, account: Account) -> frozenset[str]:
    """Register what is not there; return the apps of which things are carried."""
    known, there = set[str](), await this.target.apps()
    for old in await this.source.apps():
        if not this.terms.wants(old.app_id):
            continue
        account.of(old.app_id)
        try:
            await _app(this, account, old, is_there=old.app_id in there)
        except NotCarried as error:
            account.refuse(old.app_id, "app", str(error), old.app_id)
            continue
        known.add(old.app_id)
        if old.active and this.terms.from_ms <= this.terms.now_ms:
            account.warnings.append(
                f"app {old.app_id} is active in goscheduler: until it is deactivated there, both send what"
                " is carried"
            )
    this.tell("apps", len(known))
    return frozenset(known)


async def _app(this: Pass, account: Account, old: OldApp, *, is_there: bool) -> None:
    """Register an app that is not there. Raises NotCarried."""
    body = app_body(old, this.terms)
    if is_there:
        account.kept.append(old.app_id)
        return
    if not this.is_plan:
        try:
            await this.target.register(body)
        except Refused as error:
            raise NotCarried(str(error)) from error
    account.registered.append(old.app_id)


async def _crons(
    this: Pass,
    account: Account,
    sender: _Sender,
    known: frozenset[str],
    pages: AsyncIterator[list[OldCron]],
) -> None:
    read = 0
    async for page in pages:
        deleted, items = list[OldCron](), list[Json]()
        for old in page:
            app_id = old.app_id or ""
            if not this.terms.wants(app_id):
                continue
            read += 1
            counts = account.of(app_id)
            counts.crons += 1
            if is_deleted(old):
                counts.deleted += 1
                deleted.append(old)
                continue
            try:
                _require_app(app_id, known)
                items.append(cron_body(old, this.terms))
            except NotCarried as error:
                counts.refused += 1
                account.refuse(app_id, "cron", str(error), str(old.schedule_id))
        await sender.send(items, CRONS_AT_ONCE)
        if not this.is_plan:
            await _cancel(this, account, [(each.app_id or "", str(each.schedule_id)) for each in deleted])
        this.tell("crons", read)


async def _schedules(
    this: Pass,
    account: Account,
    sender: _Sender,
    known: frozenset[str],
    pages: AsyncIterator[list[OldSchedule]],
) -> None:
    read, runs = 0, _Runs(this)
    async for page in pages:
        wanted = [old for old in page if this.terms.wants(old.app_id)]
        made_here = await runs.made_here(wanted)
        left = [old for old in wanted if old not in made_here]
        ended = await _ended(this, left)
        for old in made_here:
            account.of(old.app_id).runs += 1
        items = list[Json]()
        for old in left:
            counts = account.of(old.app_id)
            read += 1
            counts.schedules += 1
            if old.fire_ms is not None and old.fire_ms < this.terms.from_ms:
                counts.past += 1
            elif old in ended:
                counts.ended += 1
            else:
                try:
                    _require_app(old.app_id, known)
                    items.append(schedule_body(old))
                except NotCarried as error:
                    counts.refused += 1
                    account.refuse(old.app_id, "schedule", str(error), str(old.schedule_id))
        await sender.send(items, SENT_AT_ONCE)
        this.tell("schedules", read)


class _Runs:
    """Which runs that goscheduler made of crons are not to be carried, because the cron makes them here."""

    def __init__(self, this: Pass) -> None:
        self._this = this
        self._from_ms: dict[UUID, int | None] = {}  # by cron: see `Target.runs_from_ms`
        self._free = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def made_here(self, rows: Sequence[OldSchedule]) -> set[OldSchedule]:
        """Return the runs among these rows but for those that are due in what is carried, and before their
        cron begins here: of an import with an earlier `--from` than the one that brought the cron."""
        runs = {old: old.parent for old in rows if old.parent is not None}
        asked = {
            cron
            for old, cron in runs.items()
            if old.fire_ms is not None and old.fire_ms >= self._this.terms.from_ms
        }
        if len(self._from_ms) + len(asked) > _MOST_CRONS:
            self._from_ms.clear()
        await asyncio.gather(*(self._ask(cron) for cron in asked - self._from_ms.keys()))

        def is_left(old: OldSchedule, cron: UUID) -> bool:
            from_ms = self._from_ms.get(cron) if cron in asked else None
            return from_ms is not None and self._this.terms.from_ms <= (old.fire_ms or 0) < from_ms

        return {old for old, cron in runs.items() if not is_left(old, cron)}

    async def _ask(self, cron: UUID) -> None:
        async with self._free:
            self._from_ms[cron] = await self._this.target.runs_from_ms(str(cron))


async def _ended(this: Pass, rows: Sequence[OldSchedule]) -> set[OldSchedule]:
    """Return those that are due already, but not too long to be carried, and that goscheduler has sent."""
    due = [
        old
        for old in rows
        if old.fire_ms is not None and this.terms.from_ms <= old.fire_ms < this.terms.now_ms
    ]
    if not due:
        return set()
    outcomes = await this.source.outcomes(due)
    return {old for old, outcome in zip(due, outcomes, strict=True) if outcome in ("SUCCESS", "FAILURE")}


def _require_app(app_id: str, known: frozenset[str]) -> None:
    if app_id not in known:
        raise NotCarried("its app is not registered in goscheduler, or cannot be carried")


async def _cancel(this: Pass, account: Account, ids: Sequence[tuple[str, str]]) -> None:
    """Cancel here what is gone there."""
    at_once = asyncio.Semaphore(_CANCELS_AT_ONCE)

    async def cancel(app_id: str, schedule_id: str) -> None:
        async with at_once:
            if await this.target.cancel(schedule_id):
                account.cancelled[app_id] += 1

    await asyncio.gather(*(cancel(*each) for each in ids))


def in_requests(items: Sequence[Json], size: int) -> Iterator[list[Json]]:
    """Give the items of one request after the other: at most so many, and at most `SENT_BYTES` if that is
    more than one."""
    some, held_bytes = list[Json](), 0
    for item in items:
        item_bytes = len(orjson.dumps(item))
        if some and (len(some) == size or held_bytes + item_bytes > SENT_BYTES):
            yield some
            some, held_bytes = [], 0
        some.append(item)
        held_bytes += item_bytes
    if some:
        yield some


class _Sender:
    """Hands items over, a few requests side by side, and counts what they come to."""

    def __init__(self, this: Pass, account: Account) -> None:
        self._target = this.target
        self._is_plan = this.is_plan
        self._account = account
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> _Sender:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._group.__aexit__(*raised)
        except BaseExceptionGroup as group:  # what ended it says enough
            raise group.exceptions[0] from None

    async def send(self, items: Sequence[Json], size: int) -> None:
        """Hand items over, at most so many in a request; return when all are on their way."""
        for some in in_requests(items, size):
            await self._free.acquire()
            self._group.create_task(self._send(some))

    async def _send(self, items: Sequence[Json]) -> None:
        try:
            left = list(items)
            for n in range(_TRIES):
                results = await self._ask(left)
                again = []
                for item, result in zip(left, results, strict=True):
                    if is_passing(result) and n < _TRIES - 1:
                        again.append(item)
                    else:
                        self._count(item, result)
                if not again:
                    return
                left = again
                await asyncio.sleep(_WAIT_S)
        finally:
            self._free.release()

    async def _ask(self, items: Sequence[Json]) -> list[Json]:
        """Return the result of each; one that is too much for any request has its refusal for a result."""
        try:
            return await self._target.send(items, is_plan=self._is_plan)
        except Refused as error:
            if error.http != _TOO_LARGE:
                raise
            if len(items) == 1:
                return [{"status": {"statusMessage": str(error)}}]
            middle = len(items) // 2
            return [*await self._ask(items[:middle]), *await self._ask(items[middle:])]

    def _count(self, item: Json, result: Json) -> None:
        app_id = item["appId"]
        counts = self._account.of(app_id)
        effect = result.get("effect")
        if effect == ImportEffect.THERE:
            counts.there += 1
        elif effect is not None:
            counts.created += 1
        elif is_passing(result):
            counts.failed += 1
        else:
            counts.refused += 1
            kind = "cron" if "cronExpression" in item else "schedule"
            self._account.refuse(app_id, kind, why_refused(result["status"]), item["scheduleId"])
