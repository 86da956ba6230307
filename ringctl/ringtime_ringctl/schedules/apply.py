"""`ringctl schedules apply`: make the recurring schedules of apps be what a file says.

The server that would make a change says what it would be (`dry_run`), so the plan goes by its rules, and what
breaks one is told before anything is changed. Each change goes by the revision that was planned on, with its
own audit entry: a run that is killed, or half of which fails, is gone on with by the same command.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar, cast
from urllib.parse import quote, urlencode

import click
import orjson

from ringtime_ringctl.deployment.api import api_option, ask, base_of
from ringtime_ringctl.deployment.bodies import hidden
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.ids import check_app_id, check_name
from ringtime_shared.api.recurring import MAX_LIST_SIZE
from ringtime_shared.errors import Conflict, InvalidRequest, RingtimeError, Violation

T = TypeVar("T")
R = TypeVar("R")
Json = Mapping[str, Any]
Key = tuple[str, str]  #: app id and name
_MOST_SHOWN = 100
_AT_ONCE = 16
_CHANGES = (Column("APP"), Column("NAME"), Column("ACTION"))
_FAILED = (Column("APP"), Column("NAME"), Column("WHY", folds=True))


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about one recurring schedule."""

    key: Key
    action: str  #: create, change or delete
    body: Json  #: of the PUT; empty: it is deleted
    before: Json | None  #: as it is


def read_file(text: str) -> dict[Key, Json]:
    """Return the tables `[[recurring]]` of a TOML file by app and name, as bodies of the HTTP API. Raises
    InvalidRequest with everything that is wrong with it, but for what the server judges."""
    try:
        found = tomllib.loads(text)
        orjson.dumps(found)
    except (tomllib.TOMLDecodeError, orjson.JSONEncodeError) as error:
        raise InvalidRequest.of("file", f"is no TOML that JSON can say: {error}") from None
    tables = found.pop("recurring", None)
    if found or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidRequest.of("file", "must be tables [[recurring]], and nothing else")
    wanted: dict[Key, Json] = {}
    wrong: list[Violation] = []
    for number, table in enumerate(tables, 1):
        app_id, name = (str(table.pop(key, "")) for key in ("appId", "name"))
        told = [*check_app_id(app_id), *check_name(name)]
        wrong += [Violation(f"table {number}, {name!r}: {each.field}", each.rule) for each in told]
        if (app_id, name) in wanted:
            wrong.append(Violation(f"{app_id} {name}", "is given twice"))
        wanted[app_id, name] = table
    if wrong:
        raise InvalidRequest(wrong)
    return wanted


@click.command("apply", cls=RingctlCommand)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    metavar="FILE",
    help="TOML: a table [[recurring]] for each; - is stdin.",
)
@click.option("--prune", is_flag=True, help="Delete what the apps of the file have beside it.")
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: say what it would do.")
@api_option
@deployed
async def apply_command(
    deployment: Deployment, output: Output, file: TextIO, prune: bool, is_applied: bool, api: str | None
) -> None:
    """Create, change and with --prune delete recurring schedules, so that they are what a file says.

    If the file breaks a rule, nothing is changed. What fails later is told at the end, and the others are
    done all the same; the same command goes on with what is left.

    \b
    Examples:
      ringctl schedules apply -f schedules.toml
      ringctl schedules apply -f schedules.toml --prune --apply
    """
    try:
        wanted = read_file(file.read())
    except UnicodeDecodeError as error:
        raise InvalidRequest.of("file", f"is no UTF-8: {error}") from None
    base = base_of(deployment.settings, api)
    there = {
        key: shown
        for app_id in sorted({key[0] for key in wanted})
        for key, shown in await _list(base, app_id)
    }
    planned = await _side_by_side(list(wanted), lambda key: _plan(base, key, wanted[key], there.get(key)))
    changes = [each for each in planned if isinstance(each, Change)]
    failed = {key: str(x) for key, x in zip(wanted, planned, strict=True) if isinstance(x, RingtimeError)}
    unchanged = len(wanted) - len(changes) - len(failed)
    if prune:
        changes += [Change(key, "delete", {}, there[key]) for key in sorted(there.keys() - wanted.keys())]
    if is_applied and not failed:
        with output.progress("recurring schedules", len(changes)) as bar:
            done = 0

            async def make(change: Change) -> None:
                nonlocal done
                await _make(deployment, base, change)
                done += 1
                bar.show(done, "recurring schedules")

            ended = await _side_by_side(changes, make)
        failed = {each.key: str(x) for each, x in zip(changes, ended, strict=True) if x is not None}
    _show(output, changes, unchanged, failed, is_applied=is_applied)
    if failed:
        raise Conflict(f"{len(failed):,} recurring schedules are not as the file has them")


async def _list(base: str, app_id: str) -> list[tuple[Key, Json]]:
    """Return the recurring schedules of an app that have names of their own."""
    found: list[tuple[Key, Json]] = []
    query = {"size": str(MAX_LIST_SIZE)}
    while True:
        page = await ask("GET", f"{base}/apps/{quote(app_id, safe='')}/recurring?{urlencode(query)}")
        shown = cast(Sequence[Json], page["recurring"])
        found += [((app_id, str(each["name"])), each) for each in shown if each.get("name")]
        query["continuation_token"] = str(page.get("continuationToken") or "")
        if not query["continuation_token"]:
            return found


async def _plan(base: str, key: Key, body: Json, before: Json | None) -> Change | None:
    """Return what is to be done about a table; None: nothing. Raises as `ask`."""
    after = await ask("PUT", f"{_url(base, key)}?dry_run=true", body)
    if before is not None and after["revision"] == before["revision"]:
        return None
    return Change(key, "create" if before is None else "change", body, before)


async def _make(deployment: Deployment, base: str, change: Change) -> None:
    """Make one change, with its audit entry, if what there is was not changed since."""
    app_id, name = change.key
    before = None if change.before is None else hidden(change.before)
    after = hidden(change.body) if change.body else None
    subject = f"{app_id} {name}"
    asked = {"if-none-match": "*"} if change.before is None else {"if-match": str(change.before["revision"])}
    async with audited(deployment, "schedules apply", subject, before=before, after=after):
        if not change.body:
            await ask("DELETE", _url(base, change.key), headers=asked)
        else:
            await ask("PUT", _url(base, change.key), change.body, headers=asked)


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
    app_id, name = (quote(part, safe="") for part in key)
    return f"{base}/apps/{app_id}/recurring/{name}"


def _show(
    output: Output,
    changes: Sequence[Change],
    unchanged: int,
    failed: Mapping[Key, str],
    *,
    is_applied: bool,
) -> None:
    """Say what was done, or would be, and what could not."""
    counted = Counter(change.action for change in changes)
    counts = {action: counted[action] for action in ("create", "change", "delete")}
    is_done = is_applied and not (failed and failed.keys() - {change.key for change in changes})
    if output.is_json:
        output.data(
            {
                "applied": is_done,
                "counts": {**counts, "unchanged": unchanged, "failed": len(failed)},
                "changes": [
                    dict(zip(("appId", "name"), each.key, strict=True)) | {"action": each.action}
                    for each in changes
                ],
                "failed": [
                    dict(zip(("appId", "name"), key, strict=True)) | {"why": why}
                    for key, why in failed.items()
                ],
            }
        )
        return
    would = "" if is_done else "would "
    told = ", ".join(f"{would}{action} {count:,}" for action, count in counts.items())
    output.line(f"{told}, {unchanged:,} are so already" + ("" if is_applied else "; --apply does it"))
    if changes and not is_done:
        output.table(_CHANGES, [(*each.key, each.action) for each in changes[:_MOST_SHOWN]])
    if failed:
        rows = [(*key, why) for key, why in failed.items()][:_MOST_SHOWN]
        output.table(_FAILED, rows, title=f"{len(failed):,} failed")
