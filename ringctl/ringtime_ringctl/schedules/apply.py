"""`ringctl schedules apply`: make recurring and one-time schedules be what a file says.

The server that would make a change says what it would be (`dry_run`), so the plan goes by its rules, and what
breaks one is told before anything is changed. Each change has its own audit entry, and that of a recurring
schedule goes by the revision that was planned on: a run that is killed, or half of which fails, is gone
on with by the same command.

A one-time schedule is over once it is sent, and its name is free then. So that a file that is applied again
sends nothing again, a table is left alone whose time has come, or that asks for what was put under its name
last and is over: sent, sent early by a trigger, or cancelled. `--again` files the latter anew.

Programs file one-time schedules by the million, in the same apps. So a prune cancels those alone that the
file's `[owned]` claims by labels or by the beginning of their names.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TextIO, TypeVar, cast
from urllib.parse import quote, urlencode

import click
import orjson

from ringtime_ringctl.deployment.api import api_option, ask, base_of
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.ids import check_app_id, check_name
from ringtime_shared.api.instants import parse_instant, to_iso
from ringtime_shared.api.recurring import MAX_LIST_SIZE
from ringtime_shared.api.schedules import MAX_LIST_SIZE as MAX_SCHEDULES
from ringtime_shared.api.schedules import PutEffect, outline_of
from ringtime_shared.errors import Conflict, InvalidRequest, RingtimeError, Violation
from ringtime_shared.models.schedule import Status

T = TypeVar("T")
R = TypeVar("R")
Json = Mapping[str, Any]
_MOST_SHOWN = 100
_AT_ONCE = 16
_ACTIONS = ("create", "change", "delete", "cancel")
_CHANGES = (Column("KIND"), Column("APP"), Column("NAME"), Column("ACTION"))
_FAILED = (Column("KIND"), Column("APP"), Column("NAME"), Column("WHY", folds=True))
_OWNED_KEYS = ("namePrefix", "labels")
_DAY_MS = 86_400_000
_STRIDE_MS = 31 * _DAY_MS  #: of one list
_BACK_MS = 31 * _DAY_MS  #: a schedule is listed where it was before it was put off; no longer ago than that
_AHEAD_MS = 3_660 * _DAY_MS  #: further ahead than any app may file


class Kind(Enum):
    """What a table of the file is about; its value is the table's name."""

    RECURRING = "recurring"
    ONE_TIME = "schedule"

    @property
    def path(self) -> str:
        return "recurring" if self is Kind.RECURRING else "schedules"


class Key(NamedTuple):
    """What a table is about."""

    kind: Kind
    app_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Owned:
    """Which one-time schedules a file claims: those that have all of this."""

    name_prefix: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def claims(self, name: str, labels: Mapping[str, object]) -> bool:
        return name.startswith(self.name_prefix) and self.labels.items() <= labels.items()

    @property
    def query(self) -> list[tuple[str, str]]:
        """What a list is asked for."""
        labels = [("label", f"{key}:{value}") for key, value in self.labels.items()]
        return [*([("name_prefix", self.name_prefix)] if self.name_prefix else []), *labels]


@dataclass(frozen=True, slots=True)
class File:
    """What a file says."""

    wanted: Mapping[Key, Json]  #: bodies of the HTTP API
    owned: Owned | None

    def apps(self, kind: Kind) -> list[str]:
        return sorted({key.app_id for key in self.wanted if key.kind is kind})


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about one schedule."""

    key: Key
    action: str  #: one of `_ACTIONS`
    body: Json  #: of the PUT; empty: it is deleted, or cancelled
    before: Json | None  #: as it is


class Left(Enum):
    """Why nothing is to be done about a table."""

    SAME = "unchanged"  #: it is so already
    OVER = "over"  #: its time has come, or it was sent or cancelled before


Planned = Change | Left


def read_file(text: str) -> File:
    """Read TOML. Raises InvalidRequest with all that is wrong with it, but for what the server judges."""
    try:
        found: dict[str, Any] = orjson.loads(orjson.dumps(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, orjson.JSONEncodeError) as error:
        raise InvalidRequest.of("file", f"is no TOML that JSON can say: {error}") from None
    owned_table = found.pop("owned", None)
    tables = {kind: found.pop(kind.value, []) for kind in Kind}
    is_known = not found and any(tables.values())
    if not is_known or not all(
        isinstance(each, list) and all(map(_is_table, each)) for each in tables.values()
    ):
        raise InvalidRequest.of(
            "file", "must be tables [[recurring]] and [[schedule]], perhaps with [owned], and nothing else"
        )
    wrong: list[Violation] = []
    owned = None if owned_table is None else _read_owned(owned_table, wrong)
    wanted: dict[Key, Json] = {}
    for kind, number, table in [(each, n, t) for each in Kind for n, t in enumerate(tables[each], 1)]:
        app_id, name = (str(table.pop(key, "")) for key in ("appId", "name"))
        where, key = f"{kind.value} table {number}, {name!r}", Key(kind, app_id, name)
        told = [*check_app_id(app_id), *check_name(name)]
        if kind is Kind.ONE_TIME:
            told += _check_one_time(name, table, owned)
        wrong += [Violation(f"{where}: {each.field}", each.rule) for each in told]
        if key in wanted:
            wrong.append(Violation(f"{app_id} {name}", "is given twice"))
        wanted[key] = table
    if wrong:
        raise InvalidRequest(wrong)
    return File(wanted, owned)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _read_owned(table: object, wrong: list[Violation]) -> Owned:
    values = cast("dict[str, object]", table if isinstance(table, dict) else {})
    prefix, labels = (values.get(key, empty) for key, empty in zip(_OWNED_KEYS, ("", {}), strict=True))
    is_labels = isinstance(labels, dict) and all(isinstance(each, str) for each in labels.values())
    is_sound = isinstance(prefix, str) and is_labels and (prefix or labels)
    if not is_sound or not values.keys() <= set(_OWNED_KEYS):
        wrong.append(Violation("owned", "must have namePrefix, or labels, or both, and nothing else"))
        return Owned()
    return Owned(cast(str, prefix), cast("dict[str, str]", labels))


def _check_one_time(name: str, table: Json, owned: Owned | None) -> list[Violation]:
    told = []
    if "delaySeconds" in table:
        told.append(
            Violation("delaySeconds", "must be scheduleTime: a delay would begin anew with each apply")
        )
    labels = table.get("labels", {})
    if owned is not None and not (isinstance(labels, dict) and owned.claims(name, labels)):
        told.append(Violation("owned", "must claim it, by the beginning of its name and its labels"))
    return told


@click.command("apply", cls=RingctlCommand)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    metavar="FILE",
    help="TOML: a table [[recurring]] or [[schedule]] for each; - is stdin.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Delete recurring schedules that the apps of the file have beside it, and cancel one-time ones that"
    " its [owned] claims.",
)
@click.option(
    "--again", "is_again", is_flag=True, help="File anew what was sent or cancelled before its time."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: say what it would do.")
@api_option
@deployed
async def apply_command(
    deployment: Deployment,
    output: Output,
    /,
    file: TextIO,
    api: str | None,
    *,
    prune: bool,
    is_again: bool,
    is_applied: bool,
) -> None:
    """Create, change and with --prune delete schedules, so that they are what a file says.

    If the file breaks a rule, nothing is changed. What fails later is told at the end, and the others are
    done all the same; the same command goes on with what is left. One-time schedules whose time has come, or
    that were sent or cancelled before, are left alone.

    \b
    Examples:
      ringctl schedules apply -f schedules.toml
      ringctl schedules apply -f schedules.toml --prune --apply
    """
    try:
        said = read_file(file.read())
    except UnicodeDecodeError as error:
        raise InvalidRequest.of("file", f"is no UTF-8: {error}") from None
    base, now_ms = base_of(deployment.settings, api), deployment.clock.now_ms()
    there = {
        key: shown
        for app_id in said.apps(Kind.RECURRING)
        for key, shown in await _list_recurring(base, app_id)
    }

    async def plan(key: Key) -> Planned:
        if key.kind is Kind.RECURRING:
            return await _plan(base, key, said.wanted[key], there.get(key))
        return await _plan_one_time(base, key, said.wanted[key], now_ms, is_again=is_again)

    planned = dict(zip(said.wanted, await _side_by_side(list(said.wanted), plan), strict=True))
    changes = [each for each in planned.values() if isinstance(each, Change)]
    left = Counter(each for each in planned.values() if isinstance(each, Left))
    failed = {key: str(each) for key, each in planned.items() if isinstance(each, RingtimeError)}
    if prune:
        gone = sorted(there.keys() - said.wanted.keys(), key=lambda key: key[1:])
        changes += [Change(key, "delete", {}, there[key]) for key in gone]
        for app_id in said.apps(Kind.ONE_TIME):
            pending = [] if said.owned is None else await _list_pending(base, app_id, said.owned, now_ms)
            changes += [Change(key, "cancel", {}, shown) for key, shown in pending if key not in said.wanted]
    if is_applied and not failed:
        with output.progress("schedules", len(changes)) as bar:
            done = 0

            async def make(change: Change) -> None:
                nonlocal done
                await _make(deployment, base, change)
                done += 1
                bar.show(done, "schedules")

            ended = await _side_by_side(changes, make)
        failed = {each.key: str(x) for each, x in zip(changes, ended, strict=True) if x is not None}
    _show(output, changes, left, failed, is_applied=is_applied)
    if failed:
        raise Conflict(f"{len(failed):,} schedules are not as the file has them")


async def _list_recurring(base: str, app_id: str) -> list[tuple[Key, Json]]:
    """Return the recurring schedules of an app that have names of their own."""
    shown = await _pages(
        f"{base}/apps/{_safe(app_id)}/recurring", "recurring", [("size", str(MAX_LIST_SIZE))]
    )
    return [(Key(Kind.RECURRING, app_id, str(each["name"])), each) for each in shown if each.get("name")]


async def _list_pending(base: str, app_id: str, owned: Owned, now_ms: int) -> list[tuple[Key, Json]]:
    """Return the pending one-time schedules of an app that are claimed and have names."""

    async def list_stride(start_ms: int) -> list[Json]:
        query = [
            *(("start_time", to_iso(start_ms)), ("end_time", to_iso(start_ms + _STRIDE_MS))),
            *(("size", str(MAX_SCHEDULES)), ("status", Status.SCHEDULED.value)),
            *owned.query,
        ]
        return await _pages(f"{base}/apps/{_safe(app_id)}/schedules", "schedules", query)

    strides = range(now_ms - _BACK_MS, now_ms + _AHEAD_MS, _STRIDE_MS)
    found: list[tuple[Key, Json]] = []
    for page in await _side_by_side(strides, list_stride):
        if isinstance(page, RingtimeError):
            raise page
        found += [(Key(Kind.ONE_TIME, app_id, str(each["name"])), each) for each in page if each.get("name")]
    return found


async def _pages(url: str, key: str, query: Sequence[tuple[str, str]]) -> list[Json]:
    """Return all that a list has."""
    found: list[Json] = []
    token = ""
    while True:
        page = await ask("GET", f"{url}?{urlencode([*query, ('continuation_token', token)])}")
        found += cast(Sequence[Json], page[key])
        token = str(page.get("continuationToken") or "")
        if not token:
            return found


async def _plan(base: str, key: Key, body: Json, before: Json | None) -> Planned:
    """Return what is to be done about a table of a recurring schedule. Raises as `ask`."""
    after = await ask("PUT", f"{_url(base, key)}?dry_run=true", body)
    if before is not None and after["revision"] == before["revision"]:
        return Left.SAME
    return Change(key, "create" if before is None else "change", body, before)


async def _plan_one_time(base: str, key: Key, body: Json, now_ms: int, *, is_again: bool) -> Planned:
    """Return what is to be done about a table of a one-time schedule. Raises as `ask`."""
    if _is_past(body.get("scheduleTime"), now_ms):
        return Left.OVER
    url = _url(base, key)
    effect = (await ask("PUT", f"{url}?dry_run=true", body))["effect"]
    if effect == PutEffect.NONE:
        return Left.SAME
    if effect == PutEffect.CREATE_AGAIN and not is_again:
        return Left.OVER
    before = None
    if effect != PutEffect.CREATE:
        before = cast(Json, (await ask("GET", url))["schedule"])
    return Change(key, "change" if effect == PutEffect.CHANGE else "create", body, before)


def _is_past(time: object, now_ms: int) -> bool:
    try:
        return parse_instant(time) <= now_ms
    except ValueError:
        return False  # the server says what is wrong with it


async def _make(deployment: Deployment, base: str, change: Change) -> None:
    """Make one change, with its audit entry; of a recurring schedule, if it was not changed since."""
    key = change.key
    before = None if change.before is None else outline_of(change.before)
    after = outline_of(change.body) if change.body else None
    asked: Mapping[str, str] = {}
    if key.kind is Kind.RECURRING:
        revision = None if change.before is None else str(change.before["revision"])
        asked = {"if-none-match": "*"} if revision is None else {"if-match": revision}
    subject = f"{key.app_id} {key.name}"
    async with audited(deployment, "schedules apply", subject, before=before, after=after, app_id=key.app_id):
        if change.body:
            await ask("PUT", _url(base, key), change.body, headers=asked)
        elif key.kind is Kind.RECURRING:
            await ask("DELETE", _url(base, key), headers=asked)
        elif change.before is not None:  # by its id: another may have been put under its name since
            answer = await ask("DELETE", f"{base}/schedules/{change.before['scheduleId']}")
            if "cancel" in answer:
                raise Conflict("it was cancelled too late to be sure that it is not sent")


async def _side_by_side(things: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R | RingtimeError]:
    """Return what came of each, in order: its result, or how it failed."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(thing: T) -> R | RingtimeError:
        async with room:
            try:
                return await work(thing)
            except RingtimeError as error:
                return error

    return list(await asyncio.gather(*map(one, things)))


def _url(base: str, key: Key) -> str:
    return f"{base}/apps/{_safe(key.app_id)}/{key.kind.path}/{_safe(key.name)}"


def _safe(text: str) -> str:
    return quote(text, safe="")


def _show(
    output: Output,
    changes: Sequence[Change],
    left: Mapping[Left, int],
    failed: Mapping[Key, str],
    *,
    is_applied: bool,
) -> None:
    """Say what was done, or would be, and what could not."""
    counted = Counter(change.action for change in changes)
    counts = {action: counted[action] for action in _ACTIONS}
    is_done = is_applied and not (failed and failed.keys() - {change.key for change in changes})
    if output.is_json:
        output.data(
            {
                "applied": is_done,
                "counts": {
                    **counts,
                    **{each.value: left.get(each, 0) for each in Left},
                    "failed": len(failed),
                },
                "changes": [_named(each.key) | {"action": each.action} for each in changes],
                "failed": [_named(key) | {"why": why} for key, why in failed.items()],
            }
        )
        return
    would = "" if is_done else "would "
    told = ", ".join(f"{would}{action} {count:,}" for action, count in counts.items())
    over = f", {count:,} are over" if (count := left.get(Left.OVER, 0)) else ""
    same = f"{left.get(Left.SAME, 0):,} are so already"
    output.line(f"{told}, {same}{over}" + ("" if is_applied else "; --apply does it"))
    if changes and not is_done:
        output.table(_CHANGES, [(*_cells(each.key), each.action) for each in changes[:_MOST_SHOWN]])
    if failed:
        rows = [(*_cells(key), why) for key, why in failed.items()][:_MOST_SHOWN]
        output.table(_FAILED, rows, title=f"{len(failed):,} failed")


def _named(key: Key) -> dict[str, str]:
    return dict(zip(("kind", "appId", "name"), _cells(key), strict=True))


def _cells(key: Key) -> tuple[str, str, str]:
    return key.kind.value, key.app_id, key.name
