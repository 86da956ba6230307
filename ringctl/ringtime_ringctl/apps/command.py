"""`ringctl apps`: register, configure and delete apps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import orjson

from ringtime_ringctl.apps import hooks
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import read_whole
from ringtime_shared.api.apps import app_to_json, resize_to_json
from ringtime_shared.api.configuration import TLS_PROFILE, keys
from ringtime_shared.api.instants import to_iso
from ringtime_shared.apps.deleting import Deleter, Left
from ringtime_shared.apps.rules import check_app, check_growth
from ringtime_shared.apps.states import activate, deactivate, new_app, require_staying
from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.clock import require_trust
from ringtime_shared.errors import AppExists, InvalidRequest, Violation
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.setting import FieldPath, entries_of
from ringtime_shared.settings import Settings

_LIST = (
    Column("APP"),
    Column("STATE"),
    Column("PARTITIONS", right=True),
    Column("POLLED", right=True),
    Column("RESIZE"),
    Column("CREATED"),
)
HOOKS = next(entry for entry in entries_of(AppConfiguration) if entry.kind is Hooks)
#: what `--set` and `--unset` take: the names of the HTTP API
KEYS = {**keys(), HOOKS.name: (AppConfiguration, HOOKS)}
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help=f"Configuration, as in the HTTP API; repeat it. Keys: {', '.join(KEYS)}.",
)


@click.group("apps", cls=RingctlGroup, late={"apply": "ringtime_ringctl.apps.apply:apply_command"})
def apps() -> None:
    """Register, configure, activate, deactivate and delete apps. For the quota see `ringctl resize`."""


@apps.command("list")
@deployed
async def list_command(deployment: Deployment, output: Output) -> None:
    """List the apps.

    \b
    Examples:
      ringctl apps list
      ringctl apps list --json | jq -r '.apps[] | select(.active | not) | .appId'
    """
    rows = await deployment.store.fetch_apps()
    if output.is_json:
        output.data({"apps": [to_json(app) for app in rows]})
        return
    output.table(
        _LIST,
        [
            (
                app.app_id,
                _state_of(app),
                app.writable,
                app.polled,
                None if app.resize is None else f"{app.resize.before} -> {app.resize.quota}",
                to_iso(app.created_ms),
            )
            for app in rows
        ],
    )


@apps.command("show")
@click.argument("app_id", metavar="APP")
@deployed
async def show_command(deployment: Deployment, output: Output, app_id: str) -> None:
    """Show one app, its configuration, and the resize that is under way.

    \b
    Examples:
      ringctl apps show pay
      ringctl apps show pay --json | jq .configuration
    """
    show(output, await fetch_app(deployment, app_id))


@apps.command("create")
@click.argument("app_id", metavar="APP")
@click.option(
    "--partitions", type=int, metavar="N", help="The quota. Default: limits.partitions of the settings."
)
@click.option("--inactive", "is_inactive", is_flag=True, help="Register it deactivated.")
@set_option
@deployed
async def create_command(
    deployment: Deployment,
    output: Output,
    app_id: str,
    partitions: int | None,
    is_inactive: bool,
    settings: tuple[str, ...],
) -> None:
    """Register an app.

    \b
    Examples:
      ringctl apps create pay --partitions 8
      ringctl apps create mail --set payloadSize=4096 --set retryPolicy.statuses=5xx,429
    """
    require_trust(deployment.clock)  # its first marks are counted from now
    configuration = change_configuration(AppConfiguration(), settings, ())
    limits = deployment.settings.limits
    check(app_id, partitions, configuration, deployment)
    quota = limits.partitions if partitions is None else partitions
    if await deployment.store.fetch_app(app_id) is not None:
        raise AppExists(f"app {app_id} is registered already")
    check_growth(await deployment.store.count_apps(), limits, apps=1, partitions=quota)
    app = new_app(
        app_id,
        partitions=quota,
        active=not is_inactive,
        configuration=configuration,
        now_ms=deployment.clock.now_ms(),
    )
    async with audited(deployment, "apps create", app_id, before=None, after=app_to_json(app), app_id=app_id):
        app = await deployment.store.create_app(app)
    show(output, app)


@apps.command("configure")
@click.argument("app_id", metavar="APP")
@set_option
@click.option("--unset", multiple=True, metavar="KEY", help="Back to the server's default; repeat it.")
@deployed
async def configure_command(
    deployment: Deployment, output: Output, app_id: str, settings: tuple[str, ...], unset: tuple[str, ...]
) -> None:
    """Change some keys of an app's configuration; the others stay. Takes effect within seconds.

    \b
    Examples:
      ringctl apps configure pay --set httpTimeout=5000 --unset maxPerSecond
      ringctl apps configure pay --set hooks="$(cat hooks.json)"
    """
    if not settings and not unset:
        raise InvalidRequest.of("--set", "required, or --unset: at least one of them")
    app = await fetch_app(deployment, app_id)
    configuration = change_configuration(app.configuration, settings, unset)
    check(app_id, None, configuration, deployment, app.configuration)
    await change(deployment, output, "apps configure", app, replace(app, configuration=configuration))


@apps.command("activate")
@click.argument("app_id", metavar="APP")
@deployed
async def activate_command(deployment: Deployment, output: Output, app_id: str) -> None:
    """Let an app create and fire again. What came due meanwhile fires late, or is recorded MISS by the app's
    maxLatenessSeconds.

    \b
    Examples:
      ringctl apps activate pay
    """
    app = await fetch_app(deployment, app_id)
    await change(deployment, output, "apps activate", app, app if app.active else activate(app))


@apps.command("deactivate")
@click.argument("app_id", metavar="APP")
@deployed
async def deactivate_command(deployment: Deployment, output: Output, app_id: str) -> None:
    """Refuse an app's creates and fire nothing of it, until it is activated. Nothing is deleted.

    \b
    Examples:
      ringctl apps deactivate pay
    """
    app = await fetch_app(deployment, app_id)
    after = deactivate(app, deployment.clock.now_ms()) if app.active else app
    await change(deployment, output, "apps deactivate", app, after)


@apps.command("delete")
@click.argument("app_id", metavar="APP")
@click.option(
    "--cancel-schedules",
    "is_cancelling",
    is_flag=True,
    help="Cancel what has not fired. Without: refuse while there is any.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: say what it would do.")
@deployed
async def delete_command(
    deployment: Deployment, output: Output, app_id: str, is_cancelling: bool, is_applied: bool
) -> None:
    """Delete an app: configuration, secrets and dead letters at once, its schedules when they expire.

    It creates and fires nothing from the start, and is gone after a quiet time of some 15 seconds. Killed
    half way, it stays deactivated; the same command, by anybody, goes on. Its ids are not found from then on,
    and its own id can be registered again: a new app, with nothing of this one.

    \b
    Examples:
      ringctl apps delete pay
      ringctl apps delete pay --apply
      ringctl apps delete pay --cancel-schedules --apply
    """
    settings = deployment.settings
    deleter = Deleter(deployment.store, deployment.clock, settings.ingest, settings.limits)
    app = await fetch_app(deployment, app_id)
    if not is_applied:
        left = await deleter.find_left(app)
        show_deletion(output, app, left, is_cancelling=is_cancelling)
        return
    after = {"deleted": True, "cancelSchedules": is_cancelling}
    async with audited(
        deployment, "apps delete", app_id, before=app_to_json(app), after=after, app_id=app_id
    ):
        await deleter.finish(await deleter.begin(app_id, cancels=is_cancelling))
    if output.is_json:
        output.data({"appId": app_id, "deleted": True})
    else:
        output.line(f"{app_id} is deleted")


def show_deletion(output: Output, app: App, left: Left, *, is_cancelling: bool) -> None:
    """Say what a deletion would do."""
    if output.is_json:
        output.data({"appId": app.app_id, "deleted": False, "schedulesLeft": left.schedules})
    elif not left.schedules:
        output.line(f"{app.app_id} has nothing left to fire; --apply deletes it")
    elif is_cancelling:
        output.line(f"{app.app_id} has {left} to fire yet; --apply cancels them and deletes it")
    else:
        output.line(f"{app.app_id} has {left} to fire yet; --cancel-schedules --apply cancels them, too")


def _state_of(app: App) -> str:
    if app.damage:
        return "cannot be read"
    if app.deletion is not None:
        return "being deleted"
    return "active" if app.active else "deactivated"


async def change(deployment: Deployment, output: Output, action: str, before: App, after: App) -> None:
    """Store what was changed, with its audit entry, and show it. Raises VersionConflict."""
    if after == before:
        if not output.is_json:
            output.line(f"{before.app_id} is so already: nothing to do")
            return
    else:
        require_staying(before)
        after = replace(after, version=before.version + 1)
        async with audited(
            deployment,
            action,
            before.app_id,
            before=app_to_json(before),
            after=app_to_json(after),
            app_id=before.app_id,
        ):
            await deployment.store.replace_app(after)
    show(output, after)


def check(
    app_id: str,
    partitions: int | None,
    configuration: AppConfiguration,
    deployment: Deployment,
    before: AppConfiguration = AppConfiguration(),  # noqa: B008 - frozen
) -> None:
    """Raise InvalidRequest with everything that is wrong; hooks, and a TLS profile, that it had before are as
    they are."""
    settings = deployment.settings
    violations = check_app(app_id, partitions, configuration, settings.limits)
    if configuration.hooks != before.hooks:
        violations += hooks.check(configuration.hooks, app_id, settings)
    if configuration.tls_profile != before.tls_profile:
        violations += check_profile(app_id, configuration, settings)
    if violations:
        raise InvalidRequest(violations)


def check_profile(app_id: str, configuration: AppConfiguration, settings: Settings) -> list[Violation]:
    """Return what a server with these settings would say of the TLS profile that an app names."""
    profiles = TlsProfiles(settings.callbacks)
    return profiles.check(app_id, configuration.tls_profile, f"configuration.{TLS_PROFILE}")


def show(output: Output, app: App) -> None:
    """Write one app."""
    if output.is_json:
        output.data(to_json(app))
        return
    output.table(
        (Column("FIELD"), Column("VALUE", folds=True)), [(name, _shown(value)) for name, value in _flat(app)]
    )


def to_json(app: App) -> Mapping[str, object]:
    """Return an app for `--json`: as the API has it, and what only operators need. Never a secret."""
    return {
        **app_to_json(app),
        "polled": app.polled,
        "number": app.number,
        "version": app.version,
        "createdAt": to_iso(app.created_ms),
        "signingSecrets": len(app.secrets),
        "resize": resize_to_json(app.resize),
    }


def _flat(app: App) -> list[tuple[str, object]]:
    """Return names and values, objects taken apart: `retryPolicy.factor`."""
    rows: list[tuple[str, object]] = []
    for name, value in to_json(app).items():
        if isinstance(value, Mapping):
            prefix = "" if name == "configuration" else f"{name}."
            rows += _flat_part(prefix, value)
        elif value is not None:
            rows.append((name, value))
    return rows


def _flat_part(prefix: str, part: Mapping[str, object]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in part.items():
        if isinstance(value, Mapping):
            rows += _flat_part(f"{prefix}{name}.", value)
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _shown(value: object) -> str:
    if isinstance(value, orjson.Fragment):  # details of a hook, credentials hidden
        return orjson.dumps(value).decode()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def change_configuration(
    configuration: AppConfiguration, settings: Sequence[str], unset: Sequence[str]
) -> AppConfiguration:
    """Return the configuration with some keys set and others left to the server's defaults again.

    Args:
        settings: each `KEY=VALUE`; statuses are separated by commas, hooks are JSON.
        unset: keys.

    Raises InvalidRequest: all that is wrong with their form. What values may be is in `apps.rules`.
    """
    wrong: list[Violation] = []
    values: dict[str, Any] = dict.fromkeys(_known(unset, wrong))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            wrong.append(Violation(f"--set {setting!r}", "must be KEY=VALUE"))
        elif key in values:
            wrong.append(Violation(key, "is given twice"))
        elif _known([key], wrong):
            try:
                values[key] = _READERS[KEYS[key][1].kind](text)
            except InvalidRequest as error:
                wrong += error.violations
            except ValueError as error:
                wrong.append(Violation(key, str(error)))
    if wrong:
        raise InvalidRequest(wrong)
    return with_values(configuration, values)


def with_values(configuration: AppConfiguration, values: Mapping[str, Any]) -> AppConfiguration:
    """Return the configuration with these values, by keys of `KEYS`; None: left to the server's default."""
    changes: dict[type, dict[str, Any]] = {AppConfiguration: {}, RetryRules: {}}
    for key, value in values.items():
        model, entry = KEYS[key]
        changes[model][entry.attribute] = value
    rules = replace(configuration.retry or RetryRules(), **changes[RetryRules])
    retry = None if rules == RetryRules() else rules
    return replace(configuration, retry=retry, **changes[AppConfiguration])


def _known(keys: Sequence[str], wrong: list[Violation]) -> list[str]:
    unknown = [key for key in keys if key not in KEYS]
    wrong += [Violation(key or "--set", f"no such key; there are {', '.join(KEYS)}") for key in unknown]
    return [key for key in keys if key in KEYS]


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _read_statuses(text: str) -> tuple[str, ...]:
    return statuses_of(text.split(","))


def statuses_of(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))


def read_flag(text: str) -> bool:
    """Read `true` or `false`. Raises ValueError."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


_READERS: Mapping[Any, Callable[[str], object]] = {
    int: read_whole,
    float: _read_number,
    str: str,
    bool: read_flag,
    tuple: _read_statuses,
    FieldPath: lambda text: tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())),
    Hooks: hooks.read_text,
}
