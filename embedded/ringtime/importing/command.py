"""`ringtime import goscheduler`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from ringtime.importing.account import Account, Counts
from ringtime.importing.carrying import Terms
from ringtime.importing.passes import Pass, run
from ringtime.importing.rows import Keyspaces
from ringtime.importing.target import Target
from ringtime_ringctl.output import Column, Output
from ringtime_shared.api.instants import parse_instant
from ringtime_shared.entry import take_interrupts
from ringtime_shared.process.service import run_service
from ringtime_shared.settings import CassandraSettings, Settings

INCOMPLETE = 3  #: exit code: not all that can be carried was found here at the end
_TOLD_EACH_S = 2.0
_READ_MS = 30_000  #: for a page of a table that others work on
_COLUMNS = (
    Column("APP"),
    *(Column(title, right=True) for title in ("SCHEDULES", "CRONS", "PAST", "ENDED", "RUNS", "DELETED")),
    *(Column(title, right=True) for title in ("NOT CARRIED", "FAILED")),
)
_REASONS = (
    Column("APP"),
    Column("KIND"),
    Column("COUNT", right=True),
    Column("WHY", folds=True),
    Column("FOR EXAMPLE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says."""

    contact_points: tuple[str, ...]
    port: int
    local_dc: str
    username: str
    password_file: Path | None
    ca_file: str
    keyspaces: Keyspaces
    api: str | None
    key_file: Path | None
    start: str | None
    zone: str
    apps: tuple[str, ...]
    activates: bool
    is_plan: bool
    is_json: bool


def _zone(context: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001
    with suppress(KeyError, ValueError, OSError):
        ZoneInfo(value)
        return value
    raise click.BadParameter("must be the name of a time zone, like Asia/Kolkata")


def _instant(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001
    if value is not None:
        try:
            parse_instant(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


@click.group("import")
def import_group() -> None:
    """Take over what another scheduler has to send yet."""


@import_group.command("goscheduler")
@click.option(
    "--contact-point",
    "contact_points",
    multiple=True,
    required=True,
    metavar="HOST",
    help="A host of goscheduler's Cassandra; may be given several times.",
)
@click.option("--port", type=int, default=9042, show_default=True, help="Of its native protocol.")
@click.option("--local-dc", default="datacenter1", show_default=True, help="The datacenter to read from.")
@click.option("--username", default="", help="At Cassandra. Default: no login.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the password at Cassandra.",
)
@click.option("--ca-file", default="", help="Certificates of Cassandra's, PEM. Default: no TLS.")
@click.option("--schedules-keyspace", default=Keyspaces().schedules, show_default=True)
@click.option("--cluster-keyspace", default=Keyspaces().cluster, show_default=True)
@click.option(
    "--api", metavar="URL", help="Of the Ringtime that takes it. Default: server.host and server.port."
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with an operator's API key. Default: RINGTIME_KEY, or the file that RINGTIME_KEY_FILE names.",
)
@click.option(
    "--from",
    "start",
    metavar="INSTANT",
    callback=_instant,
    help="Carry what is due then or later, as 2030-01-31T08:00:00Z; goscheduler is to send none of it. Of"
    " what is past already, what it noted no outcome of is sent at once. Default: now.",
)
@click.option(
    "--zone",
    default="UTC",
    show_default=True,
    callback=_zone,
    help="Of goscheduler's servers: its crons run by their clocks.",
)
@click.option("--app", "apps", multiple=True, help="Only this app; may be given several times.")
@click.option(
    "--activate", "activates", is_flag=True, help="Register apps as active that goscheduler has deactivated."
)
@click.option(
    "--plan", "is_plan", is_flag=True, help="Change nothing; say what would be carried, and what not."
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")
def goscheduler_command(
    config: Path | None, schedules_keyspace: str, cluster_keyspace: str, **asked: object
) -> None:
    """Carry goscheduler's apps, schedules to come and crons over to a running Ringtime.

    It reads goscheduler's keyspaces and changes nothing there. Their ids go on to work here. It may be
    stopped, or killed, and run again: nothing is filed twice. Exit code 3: not all that can be carried is
    here.
    """
    keyspaces = Keyspaces(schedules=schedules_keyspace, cluster=cluster_keyspace)
    this = Asked(keyspaces=keyspaces, **asked)  # type: ignore[arg-type] # click has checked them
    found: list[int] = []

    async def work(settings: Settings) -> None:
        found.append(await carry(this, settings))

    take_interrupts()
    run_service(work, service="import", config=config, flags={})
    sys.exit(found[0])


async def carry(asked: Asked, settings: Settings) -> int:
    """Do what is asked; return the exit code. Raises RingtimeError."""
    from ringtime.importing.source import Source  # here, for `serve` does without the driver

    now_ms = time.time_ns() // 1_000_000
    terms = Terms(
        from_ms=now_ms if asked.start is None else parse_instant(asked.start),
        zone=asked.zone,
        now_ms=now_ms,
        apps=frozenset(asked.apps) or None,
        activates=asked.activates,
    )
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    target = Target(asked.api or f"{settings.server.scheme}://{host}:{settings.server.port}", asked.key_file)
    try:
        source = await Source.connect(_cassandra(asked), asked.keyspaces)
        try:
            begin = partial(Pass, source=source, target=target, terms=terms)
            account = await run(begin(is_plan=asked.is_plan, tell=_teller("read")))
            if asked.is_plan:
                _show(asked, account, None)
                return 0
            check = await run(begin(is_plan=True, tell=_teller("compared")))
            _show(asked, account, check)
            return INCOMPLETE if check.total.created or check.total.failed or account.total.failed else 0
        finally:
            await source.close()
    finally:
        await target.close()


def _cassandra(asked: Asked) -> CassandraSettings:
    return CassandraSettings(
        contact_points=asked.contact_points,
        port=asked.port,
        local_dc=asked.local_dc,
        username=asked.username,
        password="" if asked.password_file is None else asked.password_file.read_text().strip(),
        ca_file=asked.ca_file,
        request_timeout_ms=_READ_MS,
    )


def _teller(verb: str) -> Callable[[str, int], None]:
    """Return what tells on stderr how far a pass is, every few seconds."""
    told_s = time.monotonic()

    def tell(what: str, count: int) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s >= told_s + _TOLD_EACH_S:
            told_s = now_s
            click.echo(f"{verb} {count:,} {what}", err=True)

    return tell


def _show(asked: Asked, account: Account, check: Account | None) -> None:
    """Write what came of it; `check`: what the comparison at the end found."""
    output = Output(is_json=asked.is_json)
    total = account.total
    if asked.is_json:
        told = {"plan": asked.is_plan, **account.to_json()}
        if check is not None:
            told["compared"] = {"found": check.total.there, "missing": check.total.created}
        output.data(told)
        return
    done = "WOULD BE FILED" if asked.is_plan else "FILED"
    columns = (*_COLUMNS, Column(done, right=True), Column("THERE BEFORE", right=True))
    rows: list[tuple[str | int | None, ...]] = [
        (app_id, *_cells(counts)) for app_id, counts in sorted(account.apps.items())
    ]
    output.table(columns, [*rows, ("all", *_cells(total))])
    if account.reasons:
        output.line()
        found = sorted(account.reasons.items(), key=lambda each: -each[1].count)
        output.table(
            _REASONS,
            [(*key[:2], reason.count, key[2], " ".join(reason.ids)) for key, reason in found],
            title="not carried:",
        )
    output.line()
    word = "would be registered" if asked.is_plan else "registered"
    output.line(
        f"{len(account.registered):,} apps {word}, {len(account.kept):,} were there and stay as they are"
    )
    if cancelled := sum(account.cancelled.values()):
        output.line(f"{cancelled:,} cancelled here, because they were deleted in goscheduler")
    for warning in account.warnings:
        output.line(f"warning: {warning}")
    if check is not None:
        output.line(_compared(account, check))


def _compared(account: Account, check: Account) -> str:
    """Say what the comparison found."""
    of_check = check.total
    if not of_check.created and not of_check.failed and not account.total.failed:
        return f"compared: all {of_check.there:,} that can be carried are here"
    missing = of_check.created + of_check.failed
    return f"compared: {of_check.there:,} are here, {missing:,} are not: run the import again"


def _cells(counts: Counts) -> tuple[int, ...]:
    read = (counts.schedules, counts.crons, counts.past, counts.ended, counts.runs, counts.deleted)
    return (*read, counts.refused, counts.failed, counts.created, counts.there)
