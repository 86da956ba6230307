"""`ringctl apps apply`: make the apps be what a file says.

The file is read and checked as a whole, then compared with what is registered: that is the plan, which is
shown, and carried out with `--apply`. Apps that the file does not name are left alone, and no quota is
changed: that takes a resize. Each app is one change, with its own audit entry, so a run that is killed, or
half of which fails, is gone on with by the same command.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TextIO, cast

import click

from ringtime_ringctl.apps import hooks
from ringtime_ringctl.apps.command import HOOKS, KEYS, check_profile, statuses_of, with_values
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.apps import app_to_json
from ringtime_shared.apps.rules import check_app, check_growth
from ringtime_shared.apps.states import configure, new_app
from ringtime_shared.clock import require_trust
from ringtime_shared.errors import Conflict, InvalidRequest, RingtimeError, Violation
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.setting import FieldPath
from ringtime_shared.settings import AppLimits, Settings

_KEYS = ("appId", "partitions", "active", "configuration")
_MOST_SHOWN = 100  #: of what failed; `--json` has all
_FAILED = (Column("APP"), Column("WHY", folds=True))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An app as the file has it."""

    app_id: str
    partitions: int | None  #: None: as it is, or the server's default
    active: bool
    configuration: AppConfiguration


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about one app."""

    before: App | None  #: None: it is not registered
    after: App

    @property
    def action(self) -> str:
        return "create" if self.before is None else "configure"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file asks for, compared with what there is."""

    changes: Sequence[Change]
    unchanged: int
    refused: Mapping[str, str]  #: app id -> why it cannot be made so

    def counts(self) -> Mapping[str, int]:
        counted = Counter(change.action for change in self.changes)
        return {
            "create": counted["create"],
            "configure": counted["configure"],
            "unchanged": self.unchanged,
            "refused": len(self.refused),
        }


def read_file(text: str, settings: Settings) -> list[Wanted]:
    """Return the apps of a TOML file: tables `[[apps]]` with the names of the HTTP API. Raises InvalidRequest
    with everything that is wrong with it, by a server's settings."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest.of("file", f"is no TOML: {error}") from None
    tables = found.pop("apps", None)
    if found or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidRequest.of("file", "must be tables [[apps]], and nothing else")
    wrong: list[Violation] = []
    wanted: dict[str, Wanted] = {}
    for number, table in enumerate(tables, 1):
        try:
            app = _read(table, settings)
        except InvalidRequest as error:
            name = f"app {number}, {table.get('appId')!r}"
            wrong += [Violation(f"{name}: {each.field}", each.rule) for each in error.violations]
            continue
        if app.app_id in wanted:
            wrong.append(Violation(app.app_id, "is given twice"))
        wanted[app.app_id] = app
    if wrong:
        raise InvalidRequest(wrong)
    return list(wanted.values())


def _read(table: Mapping[str, Any], settings: Settings) -> Wanted:
    app_id: Any = table.get("appId")
    partitions, active = table.get("partitions"), table.get("active", True)
    given = table.get("configuration", {})
    wrong = [Violation(key, f"no such key; there are {', '.join(_KEYS)}") for key in table.keys() - {*_KEYS}]
    if not isinstance(app_id, str):
        wrong.append(Violation("appId", "required: text"))
    if partitions is not None and type(partitions) is not int:
        wrong.append(Violation("partitions", "must be a whole number"))
    if not isinstance(active, bool):
        wrong.append(Violation("active", "must be true or false"))
    if not isinstance(given, dict):
        wrong.append(Violation("configuration", "must be a table"))
    if wrong:
        raise InvalidRequest(wrong)
    configuration = _read_configuration(given)
    violations = check_app(app_id, partitions, configuration, settings.limits)
    violations += hooks.check(configuration.hooks, app_id, settings)
    violations += check_profile(app_id, configuration, settings)
    if violations:
        raise InvalidRequest(violations)
    return Wanted(app_id, partitions, active, configuration)


def _read_configuration(table: Mapping[str, object]) -> AppConfiguration:
    values: dict[str, object] = {}
    wrong: list[Violation] = []
    for key, value in _leaves(table):
        if key not in KEYS:
            wrong.append(Violation(key, f"no such key; there are {', '.join(KEYS)}"))
            continue
        try:
            values[key] = _READERS[KEYS[key][1].kind](value)
        except InvalidRequest as error:
            wrong += error.violations
        except ValueError as error:
            wrong.append(Violation(key, str(error)))
    if wrong:
        raise InvalidRequest(wrong)
    return with_values(AppConfiguration(), values)


def _leaves(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value with its key, tables taken apart: `retryPolicy.factor`; hooks are one value."""
    for key, value in table.items():
        if isinstance(value, dict) and prefix + key != HOOKS.name:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read_whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError("must be a whole number")
    return value


def _read_number(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError("must be a number")
    return float(cast("float", value))


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _read_statuses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(type(each) in (int, str) for each in value):
        raise ValueError("must be a list of statuses")
    return statuses_of(map(str, value))


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _read_paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a list of texts")
    return tuple(dict.fromkeys(value))


_READERS: Mapping[Any, Callable[[object], object]] = {
    int: _read_whole,
    float: _read_number,
    str: _read_text,
    bool: _read_flag,
    tuple: _read_statuses,
    FieldPath: _read_paths,
    Hooks: hooks.read_hooks,
}


def plan_changes(
    wanted: Sequence[Wanted], registered: Mapping[str, App], limits: AppLimits, now_ms: int
) -> Plan:
    """Compare what is wanted with what is registered."""
    changes, refused, unchanged = [], {}, 0
    for app in wanted:
        before = registered.get(app.app_id)
        if before is None:
            quota = limits.partitions if app.partitions is None else app.partitions
            after = new_app(
                app.app_id,
                partitions=quota,
                active=app.active,
                configuration=app.configuration,
                now_ms=now_ms,
            )
            changes.append(Change(None, after))
        elif why := _refusal(app, before):
            refused[app.app_id] = why
        elif (before.configuration, before.active) == (app.configuration, app.active):
            unchanged += 1
        else:
            after = configure(before, app.configuration, active=app.active, now_ms=now_ms)
            changes.append(Change(before, after))
    return Plan(changes, unchanged, refused)


def _refusal(app: Wanted, before: App) -> str:
    if before.damage:
        return f"its record cannot be read: {before.damage}"
    if before.deletion is not None:
        return "it is being deleted"
    if app.partitions not in (None, before.writable):
        return (
            f"it has {before.writable:,} partitions:"
            f" `ringctl resize {app.app_id} --partitions {app.partitions} --apply` changes that"
        )
    return ""


@click.command("apply", cls=RingctlCommand)
@click.option(
    "-f",
    "--file",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    metavar="FILE",
    help="TOML: a table [[apps]] for each; - is stdin.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: say what it would do.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 512),
    default=64,
    show_default=True,
    help="Apps that are changed side by side.",
)
@deployed
async def apply_command(
    deployment: Deployment, output: Output, file: TextIO, is_applied: bool, concurrency: int
) -> None:
    """Register and configure all apps that a file names. Others are left alone, and no quota is changed.

    What fails is told at the end, and the others are done all the same; the same command goes on with what is
    left.

    \b
    Examples:
      ringctl apps apply -f apps.toml
      ringctl apps apply -f apps.toml --apply
      ringctl apps list --json | my-script | ringctl apps apply -f - --apply
    """
    require_trust(deployment.clock)  # first marks are counted from now
    limits = deployment.settings.limits
    wanted = read_file(file.read(), deployment.settings)
    registered = {app.app_id: app for app in await deployment.store.fetch_apps()}
    plan = plan_changes(wanted, registered, limits, deployment.clock.now_ms())
    new = [change.after.polled for change in plan.changes if change.before is None]
    if new:
        check_growth(await deployment.store.count_apps(), limits, apps=len(new), partitions=sum(new))
    failed = dict(plan.refused)
    if is_applied:
        with output.progress("apps", len(plan.changes)) as bar:
            done = 0
            async with aclosing(carry_out(deployment, plan.changes, concurrency)) as ended:
                async for app_id, error in ended:
                    done += 1
                    bar.show(done, "apps")
                    if error is not None:
                        failed[app_id] = str(error)
    show(output, plan, failed, is_applied=is_applied)
    if failed:
        raise Conflict(f"{len(failed):,} of {len(wanted):,} apps are not as the file has them")


async def carry_out(
    deployment: Deployment, changes: Sequence[Change], concurrency: int
) -> AsyncGenerator[tuple[str, RingtimeError | None], None]:
    """Make the changes, so many side by side; yield each app with how it ended, as they end."""
    left = iter(changes)
    under_way: dict[asyncio.Task[None], str] = {}
    try:
        while True:
            for change in left:
                task = asyncio.create_task(_make(deployment, change), name=f"app {change.after.app_id}")
                under_way[task] = change.after.app_id
                if len(under_way) == concurrency:
                    break
            if not under_way:
                return
            for task in (await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED))[0]:
                error = task.exception()
                if error is not None and not isinstance(error, RingtimeError):
                    raise error
                yield under_way.pop(task), error
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _make(deployment: Deployment, change: Change) -> None:
    """Make one change, with its audit entry. An app that is new is one from now on."""
    before, after = change.before, change.after
    async with audited(
        deployment,
        "apps apply",
        after.app_id,
        before=None if before is None else app_to_json(before),
        after=app_to_json(after),
        app_id=after.app_id,
    ):
        if before is not None:
            await deployment.store.replace_app(after)
            return
        require_trust(deployment.clock)
        fresh = new_app(
            after.app_id,
            partitions=after.polled,
            active=after.active,
            configuration=after.configuration,
            now_ms=deployment.clock.now_ms(),
        )
        await deployment.store.create_app(fresh)


def show(output: Output, plan: Plan, failed: Mapping[str, str], *, is_applied: bool) -> None:
    """Say what was done, or would be, and what could not."""
    counts = plan.counts()
    if output.is_json:
        actions = {change.after.app_id: change.action for change in plan.changes}
        output.data({"applied": is_applied, "counts": counts, "changes": actions, "failed": failed})
        return
    done = "" if is_applied else "would "
    output.line(
        f"{done}create {counts['create']:,}, {done}configure {counts['configure']:,},"
        f" {counts['unchanged']:,} are so already" + ("" if is_applied else "; --apply does it")
    )
    if failed:
        rows = list(failed.items())[:_MOST_SHOWN]
        output.table(_FAILED, rows, title=f"{len(failed):,} failed")
