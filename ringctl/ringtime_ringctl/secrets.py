"""`ringctl secrets`: which keys secrets are stored under, and everything under the primary one.

`ringtime_shared.encryption` says what is encrypted; docs/secrets.md walks through an exchange of keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, RingctlGroup, deployed
from ringtime_shared.encryption.keyring import KeyRing, add_key
from ringtime_shared.encryption.records import PLAIN
from ringtime_shared.encryption.rotation import Found, Rotation
from ringtime_shared.errors import Conflict, StartupError
from ringtime_shared.models.app import App

MOST_PASSES = 5  #: of one command; what others keep changing is left to the next
_NO_RING = (
    "there is no key ring: name the one that the pods have, secrets.key_file or secrets.keys of the settings"
)
_KEYS = (Column("KEY"), Column("RECORDS", right=True), Column("STATE", folds=True))
app_option = click.option("--app", "app_id", metavar="APP", help="Of this app alone. Default: of all.")


@click.group("secrets", cls=RingctlGroup)
def secrets() -> None:
    """Keys that secrets are stored under: which are in use, and everything under the primary one."""


@secrets.command("status")
@app_option
@deployed
async def status_command(deployment: Deployment, output: Output, app_id: str | None) -> None:
    """Count what is stored under each key, and what is not encrypted yet. Reads every row; changes nothing.

    A key that is in the ring and has no records is no longer needed, if every pod was started with another
    primary more than five minutes before.

    \b
    Examples:
      ringctl secrets status
      ringctl secrets status --json | jq '.keys[] | select(.needed | not)'
    """
    ring = _ring_of(deployment)
    found = await _pass(deployment, output, ring, await _apps_of(deployment, app_id), is_applied=False)
    _show(output, ring, found)


@secrets.command("rotate")
@app_option
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: count what it would do.")
@click.option(
    "--rate",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    metavar="N",
    help="Records that are rewritten a second, at most.",
)
@deployed
async def rotate_command(
    deployment: Deployment, output: Output, app_id: str | None, is_applied: bool, rate: int
) -> None:
    """Encrypt everything under the primary key: what is under another key, and what is not encrypted yet.

    Runs beside everything else; a record that somebody changes meanwhile is left as they made it, and looked
    at once more. Whatever ends it, the same command goes on with what is left. First start every pod with the
    new primary: one that has not goes on writing under the old key.

    \b
    Examples:
      ringctl secrets rotate
      ringctl secrets rotate --apply --rate 2000
      ringctl secrets rotate --app pay --apply
    """
    ring = _ring_of(deployment)
    apps = await _apps_of(deployment, app_id)
    if not is_applied:
        found = await _pass(deployment, output, ring, apps, is_applied=False)
        _show(output, ring, found)
        if not output.is_json:
            output.line(f"{found.changed:,} records would be rewritten; --apply does it")
        return
    after, changed = {"primary": ring.primary, "app": app_id}, 0
    subject = app_id or "all apps"
    async with audited(deployment, "secrets rotate", subject, before=None, after=after, app_id=app_id or ""):
        for _ in range(MOST_PASSES):
            found = await _pass(deployment, output, ring, apps, is_applied=True, rate=rate)
            changed += found.changed
            if not found.changed and not found.beaten:
                break
    found.changed = changed
    _show(output, ring, found)
    if not output.is_json:
        output.line(f"{changed:,} records were rewritten under {ring.primary}")
        if not found.beaten and not found.unreadable:
            output.line(
                "the last pass found nothing to do; `ringctl secrets status`, five minutes after every pod"
                f" was started with {ring.primary} as its primary, says which keys are no longer needed"
            )
    if found.unreadable or found.beaten:
        raise Conflict(
            f"{found.unreadable:,} records cannot be decrypted, and {found.beaten:,} were changed by others"
            " at the same time; the same command goes on with them"
        )


@secrets.command("new-key", cls=RingctlCommand)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--id", "key_id", required=True, metavar="ID", help="Names the key, as in k2026-11.")
@click.option("--last", "is_last", is_flag=True, help="Add it as one that only decrypts, for now.")
@click.pass_context
def new_key_command(context: click.Context, file: Path, key_id: str, is_last: bool) -> None:
    """Add a new random key to a key file, as the primary; the file is made if there is none.

    The key itself is not printed. Where pods get their files one by one, add it with --last first, so that
    each can decrypt before the first encrypts; then make it the first line.

    \b
    Examples:
      ringctl secrets new-key /etc/ringtime/keys --id k2026-11
    """
    try:
        ids = add_key(file, key_id, is_primary=not is_last)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    except OSError as error:
        raise StartupError(f"cannot write {file}: {error.strerror}") from error
    output = Output(is_json=context.obj.is_json, is_plain=context.obj.is_plain)
    if output.is_json:
        output.data({"file": str(file), "keys": ids, "primary": ids[0]})
    else:
        output.line(f"{file}: the primary is {ids[0]}; all keys: {', '.join(ids)}")


def _ring_of(deployment: Deployment) -> KeyRing:
    """Return the ring of the deployment. Raises StartupError."""
    if deployment.ring is None:
        raise StartupError(_NO_RING)
    return deployment.ring


async def _apps_of(deployment: Deployment, app_id: str | None) -> Sequence[App]:
    """Return apps as they are stored."""
    if app_id is None:
        return await deployment.kept.fetch_apps()
    await fetch_app(deployment, app_id)
    app = await deployment.kept.fetch_app(app_id)
    return [] if app is None else [app]


async def _pass(
    deployment: Deployment,
    output: Output,
    ring: KeyRing,
    apps: Sequence[App],
    *,
    is_applied: bool,
    rate: int = 1,
) -> Found:
    """Return what one pass found in these apps, which are read anew."""
    limits = deployment.settings.limits
    rotation = Rotation(deployment.kept, ring, deployment.clock, limits, is_applied=is_applied)
    total = Found()
    with output.progress("apps", len(apps)) as bar:
        for done, each in enumerate(apps):
            app = await deployment.kept.fetch_app(each.app_id)
            if app is None:
                continue
            async with aclosing(rotation.of_app(app)) as pages:
                async for found in pages:
                    total.add(found)
                    bar.show(done, f"apps, {total.looked:,} records read, {total.changed:,} rewritten")
                    if is_applied and found.changed:
                        await asyncio.sleep(found.changed / rate)
    return total


def _show(output: Output, ring: KeyRing, found: Found) -> None:
    """Show what is under each key, the primary first, then those that this ring has not."""
    ids = [*ring.key_ids, *sorted(set(found.keys).difference(ring.key_ids))]
    rows = [(key_id, found.keys[key_id], _state_of(key_id, ring, found)) for key_id in ids]
    if output.is_json:
        keys = [
            {"key": key_id or None, "records": count, "needed": key_id == ring.primary or bool(count)}
            for key_id, count, _ in rows
        ]
        output.data(
            {
                "primary": ring.primary,
                "keys": keys,
                "read": found.looked,
                "rewritten": found.changed,
                "changedMeanwhile": found.beaten,
                "unreadable": found.unreadable,
                "faults": found.faults,
            }
        )
        return
    output.table(_KEYS, [(key_id or "(plain text)", count, state) for key_id, count, state in rows])
    for fault in found.faults:
        output.line(fault)


def _state_of(key_id: str, ring: KeyRing, found: Found) -> str:
    if key_id == PLAIN:
        return "not encrypted: rotate does it"
    if key_id == ring.primary:
        return "primary"
    if key_id not in ring.key_ids:
        return "not in this key ring: what is under it cannot be sent"
    return "needed" if found.keys[key_id] else "no record is under it"
