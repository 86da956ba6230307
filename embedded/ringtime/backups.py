"""`ringtime backup` and `ringtime restore`: a copy of a data folder, and a data folder of a copy."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from ringtime_shared.apps.restoring import CameDue, Settled, settle_restore
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.encryption.keyring import FILE_NAME as KEYS_NAME
from ringtime_shared.errors import RingtimeError
from ringtime_shared.models.audit import Cause
from ringtime_shared.process.service import one_line
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.stores.sqlite import SqliteStore
from ringtime_shared.stores.sqlite.backup import RATE_MIB_S, back_up
from ringtime_shared.stores.sqlite.manifest import Manifest
from ringtime_shared.stores.sqlite.restore import restored

T = TypeVar("T")
_SHOWN = 20  #: names of apps
_config = click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")


@click.command("backup")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--data", help="Folder of the store. Default: as the settings say, or .ringtime/data.")
@click.option(
    "--without-keys", is_flag=True, help="Leave the key ring out, where a copy of it is kept apart."
)
@click.option(
    "--rate",
    type=click.IntRange(1, 100_000),
    default=RATE_MIB_S,
    show_default=True,
    help="Copy at most so many MiB a second.",
)
@_config
def backup_command(
    target: Path, data: str | None, without_keys: bool, rate: int, config: Path | None
) -> None:
    """Copy the data folder to TARGET, a new folder, also while `ringtime serve` runs on it.

    Everything acknowledged before it began is in it. The copy is checked before it gets its name. Payloads
    and, in KEYS, the keys to secrets are in it: keep it as you keep those.

    \b
    Examples:
      ringtime backup --data data /backups/ringtime-$(date +%F-%H%M)
      ringtime backup --data data --without-keys backup
    """
    settings = _settled(lambda: load_settings(config, os.environ, flags={"embedded.data": data}))
    folder = Path(settings.embedded.data or ".ringtime/data")
    made = _settled(
        lambda: back_up(folder, target, now_ms=_now_ms, with_keys=not without_keys, rate_mib_s=rate)
    )
    size_bytes = sum(file.bytes for file in made.files.values())
    click.echo(
        f"{target} holds everything acknowledged before {_instant(made.begun_ms)}: {_tell(made)};"
        f" {size_bytes:,} bytes, made in {(made.ended_ms - made.begun_ms) / 1000:.1f} s"
    )
    if KEYS_NAME not in made.files:
        click.echo(f"the key ring is not in it: without that the secrets in it are lost{_where(settings)}")


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Folder to make; it must not be there, or be empty.")
@click.option(
    "--came-due",
    type=click.Choice([each.value for each in CameDue]),
    required=True,
    help="What becomes of what came due since the backup: send it (again, where it was sent already, with the"
    " same ids); skip it: taken as sent, and recorded MISS; hold: every app is deactivated until you activate"
    " it.",
)
@click.option(
    "--sent-until",
    help="With skip: when what was backed up ended, as 2026-11-27T08:00:00Z; what came due later is sent."
    " Default: now.",
)
@_config
def restore_command(
    backup: Path, data: str, came_due: str, sent_until: str | None, config: Path | None
) -> None:
    """Make a data folder of BACKUP, with a new identity: no id is made twice.

    What was created, changed or cancelled after the backup began is not in it: what was cancelled since is
    scheduled again, and a key that was revoked since is good again. Make sure that the server which was
    backed up is stopped, for good.

    \b
    Examples:
      ringtime restore /backups/ringtime-2026-11-27-0300 --data data --came-due hold
      ringtime restore backup --data data --came-due skip --sent-until 2026-11-27T08:12:30Z
    """
    choice = CameDue(came_due)
    now_ms = _now_ms()
    until_ms = _parse_until(sent_until, choice, now_ms)
    settings = _settled(lambda: load_settings(config, os.environ, flags={"embedded.data": data}))
    manifest, settled = _settled(
        lambda: asyncio.run(_restore(backup, Path(data), settings, choice, until_ms, now_ms))
    )
    click.echo(
        f"{data} is as {manifest.folder} on {manifest.host} was at {_instant(manifest.begun_ms)}:"
        f" {_tell(manifest)}"
    )
    click.echo(_tell_choice(choice, until_ms, settled))
    if settled.ended_jobs:
        click.echo(f"{settled.ended_jobs:,} bulk jobs that send things again are ended")
    if KEYS_NAME not in manifest.files:
        click.echo(f"the key ring was not in the backup: put it back before you start{_where(settings)}")
    click.echo(f"next: ringtime serve --data {data}")


async def _restore(
    backup: Path, folder: Path, settings: Settings, choice: CameDue, until_ms: int, now_ms: int
) -> tuple[Manifest, Settled]:
    with restored(backup, folder) as (manifest, partial):
        store = await SqliteStore.open(partial, settings=settings.embedded)
        try:
            trail = AuditTrail(store, _now_ms, settings.audit)
            cause = Cause(action="restore", operator=os.environ.get("USER") or f"uid-{os.getuid()}")
            after = {
                "backup": backup.name,
                "begun": _instant(manifest.begun_ms),
                "cameDue": choice.value,
                "sentUntil": _instant(until_ms) if choice is CameDue.SKIP else None,
            }
            async with trail.note(cause, "", str(folder), {"folder": manifest.folder}, after):
                settled = await settle_restore(store, choice, sent_until_ms=until_ms, now_ms=now_ms)
        finally:
            await store.close()
    return manifest, settled


def _parse_until(text: str | None, choice: CameDue, now_ms: int) -> int:
    if text is None:
        return now_ms
    if choice is not CameDue.SKIP:
        raise click.UsageError("--sent-until goes with --came-due skip")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or instant.timestamp() * 1000 > now_ms:
        raise click.UsageError("--sent-until must be an instant that is over, with its offset")
    return int(instant.timestamp() * 1000)


def _tell(manifest: Manifest) -> str:
    counts = manifest.counts
    return (
        f"{counts.get('apps', 0):,} apps, {counts.get('waiting', 0):,} schedules that wait,"
        f" {counts.get('recurring', 0):,} recurring schedules, {counts.get('deadLetters', 0):,} dead letters"
    )


def _tell_choice(choice: CameDue, until_ms: int, settled: Settled) -> str:
    if choice is CameDue.SKIP:
        return (
            f"what came due up to {_instant(until_ms)} is taken as sent, and recorded MISS; what came due"
            " later is sent late, as its app has it"
        )
    if choice is CameDue.SEND:
        return "what came due since is sent, again where it was sent already, with the same ids"
    names = ", ".join(settled.held[:_SHOWN]) + (", ..." if len(settled.held) > _SHOWN else "")
    return f"{len(settled.held):,} apps are deactivated until you activate them: {names or 'there was none'}"


def _where(settings: Settings) -> str:
    return f"; it is in {settings.secrets.key_file}" if settings.secrets.key_file else ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _settled(work: Callable[[], T]) -> T:
    try:
        return work()
    except RingtimeError as error:
        sys.exit(f"Error: {one_line(str(error))}")
