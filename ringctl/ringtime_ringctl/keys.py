"""`ringctl keys`: issue, list, rotate and revoke API keys, in the store itself.

A key is shown once, by `create` and `rotate`, on stdout or in a file; it is kept nowhere, and no audit entry
has it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.access import ApiKey, Scope
from ringtime_shared.access.grants import SCOPES
from ringtime_shared.access.keys import fetch_all_keys, is_key_id, keep_key, make_key, revoke_key
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import Conflict, InvalidRequest, NotFound, OutcomeUnknown

_LIST = (
    Column("KEY"),
    Column("STATE"),
    Column("LABEL", folds=True),
    Column("APPS", folds=True),
    Column("SCOPES", folds=True),
    Column("LAST USED"),
    Column("ENDS"),
)
_ALL = "all"
out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the key into this new file, for its owner alone, instead of showing it.",
)


@click.group("keys", cls=RingctlGroup)
def keys() -> None:
    """Issue, list, rotate and revoke the keys that clients call the API with."""


@keys.command("create")
@click.option("--label", required=True, metavar="TEXT", help="Whose it is, for people.")
@click.option("--app", "apps", multiple=True, metavar="APP", help="An app it is for; repeat it.")
@click.option("--all-apps", "is_for_all", is_flag=True, help="It is for all apps, and those to come.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([*SCOPES, _ALL]),
    metavar="SCOPE",
    help=f"What it may do; repeat it. One of {', '.join(Scope)}, or {_ALL}: those that go with its apps.",
)
@click.option("--expires", metavar="TIME", help=f"When it ends: {FORMS}. Default: when it is revoked.")
@click.option(
    "--requests-per-second",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Requests with it in a second, over all pods. Default: limits.key_requests_per_second.",
)
@click.option(
    "--creates-per-second",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Schedules created with it in a second. Default: limits.key_creates_per_second.",
)
@out_option
@deployed
async def create_command(
    deployment: Deployment,
    output: Output,
    label: str,
    apps: tuple[str, ...],
    is_for_all: bool,
    scopes: tuple[str, ...],
    expires: str | None,
    requests_per_second: int | None,
    creates_per_second: int | None,
    out: Path | None,
) -> None:
    """Issue a key. It is shown here and never again.

    \b
    Examples:
      ringctl keys create --label ana --all-apps --scope all --out ana.key
      ringctl keys create --label shop --app shop --scope schedules:read --scope schedules:write
    """
    if bool(apps) == is_for_all:
        raise InvalidRequest.of("--app", "required, or --all-apps: one of them")
    now_ms = deployment.clock.now_ms()
    made = make_key(
        _scopes_of(scopes, is_for_all=is_for_all),
        None if is_for_all else apps,
        label=label,
        now_ms=now_ms,
        expires_ms=None if expires is None else parse_time("--expires", expires, now_ms),
        requests_per_second=requests_per_second,
        creates_per_second=creates_per_second,
    )
    await _keep(deployment, "keys create", made, out, before=None)
    _tell(output, made, out, now_ms)


@keys.command("rotate")
@click.argument("key_id", metavar="KEY")
@click.option(
    "--old-until",
    default="+1d",
    show_default=True,
    metavar="TIME",
    help=f"When the old one ends: {FORMS}.",
)
@out_option
@deployed
async def rotate_command(
    deployment: Deployment, output: Output, key_id: str, old_until: str, out: Path | None
) -> None:
    """Issue a key like another, which goes on for a day, so that clients can change over.

    \b
    Examples:
      ringctl keys rotate 8fQ2mC0xTz1a --out shop.key
      ringctl keys rotate 8fQ2mC0xTz1a --old-until +2h
    """
    now_ms = deployment.clock.now_ms()
    old, ends_ms = await _fetch(deployment, key_id), parse_time("--old-until", old_until, now_ms)
    if old.ended_ms(now_ms) is not None:
        raise Conflict(f"key {key_id} has ended: create another", "key")
    if ends_ms < now_ms:
        raise InvalidRequest.of("--old-until", "must not be in the past")
    made = make_key(
        old.grant.scopes,
        old.grant.apps,
        label=old.label,
        now_ms=now_ms,
        expires_ms=old.expires_ms,
        requests_per_second=old.requests_per_second,
        creates_per_second=old.creates_per_second,
    )
    await _keep(deployment, "keys rotate", made, out, before=to_json(old, now_ms))
    before, after = to_json(old, now_ms), to_json(replace(old, retires_ms=ends_ms), now_ms)
    async with audited(deployment, "keys retire", key_id, before=before, after=after):
        await deployment.store.retire_key(key_id, ends_ms)
    _tell(output, made, out, now_ms, f"; {key_id} ends at {to_iso(ends_ms)}")


@keys.command("list")
@click.option("--app", "app_id", metavar="APP", help="Only those that may do something with this app.")
@deployed
async def list_command(deployment: Deployment, output: Output, app_id: str | None) -> None:
    """List the keys, those that ended within 90 days too.

    \b
    Examples:
      ringctl keys list
      ringctl keys list --app shop
      ringctl keys list --json | jq -r '.keys[] | select(.lastUsedAt == null) | .keyId'
    """
    now_ms = deployment.clock.now_ms()
    every = await fetch_all_keys(deployment.store)
    found = [to_json(key, now_ms) for key in every if app_id is None or key.grant.sees(app_id)]
    if output.is_json:
        output.data({"keys": found})
        return
    output.table(
        _LIST,
        [
            (
                str(key["keyId"]),
                str(key["state"]),
                str(key["label"]),
                _words(key["apps"]),
                _words(key["scopes"]),
                _text(key["lastUsedAt"]),
                _text(key["endsAt"]),
            )
            for key in found
        ],
    )


@keys.command("show")
@click.argument("key_id", metavar="KEY")
@deployed
async def show_command(deployment: Deployment, output: Output, key_id: str) -> None:
    """Show what is kept of a key, which is not the key itself.

    \b
    Examples:
      ringctl keys show 8fQ2mC0xTz1a
    """
    shown = to_json(await _fetch(deployment, key_id), deployment.clock.now_ms())
    if output.is_json:
        output.data(shown)
        return
    rows = [(name, _words(value)) for name, value in shown.items() if value is not None]
    output.table((Column("FIELD"), Column("VALUE", folds=True)), rows)


@keys.command("revoke")
@click.argument("key_id", metavar="KEY")
@deployed
async def revoke_command(deployment: Deployment, output: Output, key_id: str) -> None:
    """End a key on all pods, within 5 s. There is no way back.

    \b
    Examples:
      ringctl keys revoke 8fQ2mC0xTz1a
    """
    now_ms = deployment.clock.now_ms()
    key = await _fetch(deployment, key_id)
    if key.revoked_ms is None:
        after = to_json(replace(key, revoked_ms=now_ms), now_ms)
        async with audited(deployment, "keys revoke", key_id, before=to_json(key, now_ms), after=after):
            await revoke_key(deployment.store, key_id, now_ms)
    if output.is_json:
        output.data(to_json(await _fetch(deployment, key_id), now_ms))
    else:
        output.line(f"{key_id} is revoked")


def to_json(key: ApiKey, now_ms: int) -> Mapping[str, object]:
    """Return what is kept of a key, without its digest, for `--json` and the audit log."""
    ends_ms = key.ends_ms()
    return {
        "keyId": key.key_id,
        "state": key.state(now_ms),
        "label": key.label,
        "apps": _ALL if key.grant.apps is None else sorted(key.grant.apps),
        "scopes": sorted(key.grant.scopes),
        "requestsPerSecond": key.requests_per_second,
        "createsPerSecond": key.creates_per_second,
        "createdAt": to_iso(key.created_ms),
        "lastUsedAt": None if key.used_ms is None else to_iso(key.used_ms),
        "endsAt": None if ends_ms is None else to_iso(ends_ms),
    }


def _scopes_of(words: Sequence[str], *, is_for_all: bool) -> list[Scope]:
    """Return the scopes of the command line; what concerns all apps goes with all."""
    if _ALL not in words:
        return [SCOPES[word] for word in words]
    return [scope for scope in Scope if is_for_all or scope is not Scope.RING_OPERATE]


async def _fetch(deployment: Deployment, key_id: str) -> ApiKey:
    key = await deployment.store.fetch_key(key_id) if is_key_id(key_id) else None
    if key is None:
        raise NotFound("key", key_id)
    return key


async def _keep(
    deployment: Deployment, action: str, made: tuple[str, ApiKey], out: Path | None, *, before: object
) -> None:
    """Write the file of a new key, if it is to have one, and have the store keep the key."""
    text, key = made
    if out is not None:
        _write(out, text)
    try:
        after = to_json(key, key.created_ms)
        async with audited(deployment, action, key.key_id, before=before, after=after):
            await keep_key(deployment.store, key, key.created_ms)
    except OutcomeUnknown:
        raise  # it may be good
    except BaseException:
        if out is not None:
            _forget(out)
        raise


def _write(path: Path, text: str) -> None:
    """Write a new file that only its owner may read. Raises InvalidRequest."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise InvalidRequest.of("--out", f"{path} cannot be written: {error.strerror}") from None


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def _tell(output: Output, made: tuple[str, ApiKey], out: Path | None, now_ms: int, more: str = "") -> None:
    """Show a new key, the one time."""
    text, key = made
    if output.is_json:
        where = {"key": text} if out is None else {"file": str(out)}
        output.data({**to_json(key, now_ms), **where})
        return
    if out is None:
        output.line(text)
        click.echo(f"Keep it: it is not shown again. Its id is {key.key_id}{more}.", err=True)
    else:
        click.echo(f"{out} holds the key {key.key_id}{more}.", err=True)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)
