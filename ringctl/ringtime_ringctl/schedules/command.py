"""`ringctl schedules`: look at schedules, and cancel them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.schedules.records import Filing, destination_of, fetch_filing, parse_id, row_to_json
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, read_window, to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.schedules.buckets_ahead import read_entries
from ringtime_shared.schedules.cancelling import cancel_home
from ringtime_shared.schedules.row_filter import ALL_ROWS, RowFilter, parse_labels
from ringtime_shared.shadow.moves import is_forwarding
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DuePage,
    DueQuery,
    DueStore,
    IndexEntry,
    OperatorStore,
    Position,
    ScheduleStore,
)

PAGE = 500
_SIDE_BY_SIDE = 50  #: partitions of one minute that are read at once
MAX_LIMIT = 10_000
_ALL = (
    Column("SCHEDULE"),
    Column("SLOT"),
    Column("INSTANCE"),
    Column("STATUS"),
    Column("LAG", right=True),
    Column("CALLBACK"),
    Column("TO", folds=True),
)
_LIST = (
    Column("SCHEDULE"),
    Column("SLOT"),
    Column("INSTANCE"),
    Column("ATTEMPTS", right=True),
    Column("CALLBACK"),
    Column("TO", folds=True),
)


class ListStore(ScheduleStore, DueStore, OperatorStore, Protocol):
    """What a listing needs of a store."""


Read = Callable[[Sequence[DueQuery]], Awaitable[Sequence[DuePage]]]


async def fetch_live(
    store: ListStore, app_id: str, from_ms: int, upto_ms: int, limit: int, only: RowFilter = ALL_ROWS
) -> list[Row]:
    """Return at most `limit` live rows with slots in this range, both ends included, by slot.

    Raises StoreUnavailable.
    """

    async def read(queries: Sequence[DueQuery]) -> Sequence[DuePage]:
        return _only(await store.fetch_due(queries), only.wants)

    return await _fetch(store, read, app_id, from_ms, upto_ms, limit)


async def fetch_all(
    store: ListStore, app_id: str, from_ms: int, upto_ms: int, limit: int, only: RowFilter = ALL_ROWS
) -> list[Row]:
    """Return at most `limit` home rows, live or not, otherwise as `fetch_live`."""

    async def read(queries: Sequence[DueQuery]) -> Sequence[DuePage]:
        return _only(await store.fetch_rows(queries), lambda row: row.is_shown and only.wants(row))

    return await _fetch(store, read, app_id, from_ms, upto_ms, limit)


def _only(pages: Sequence[DuePage], is_asked_for: Callable[[Row], bool]) -> list[DuePage]:
    return [replace(page, rows=[row for row in page.rows if is_asked_for(row)]) for page in pages]


async def _fetch(
    store: ListStore, read: Read, app_id: str, from_ms: int, upto_ms: int, limit: int
) -> list[Row]:
    rows: list[Row] = []
    async for _, entries in read_entries(store, app_id, bucket_of(from_ms), bucket_of(upto_ms)):
        for _, group in groupby(entries, key=lambda entry: entry.bucket):
            # Whole minutes, so that what is cut off is later than what is shown.
            async for page in _read_minute(read, list(group), from_ms, upto_ms, limit):
                rows += page
                if len(rows) >= 4 * limit:
                    rows = _first(rows, limit)
            if len(rows) >= limit:
                return _first(rows, limit)
    return _first(rows, limit)


def _first(rows: list[Row], limit: int) -> list[Row]:
    return sorted(rows, key=lambda row: (row.place.slot_ms, row.schedule.schedule_id))[:limit]


async def _read_minute(
    read: Read, entries: Sequence[IndexEntry], from_ms: int, upto_ms: int, limit: int
) -> AsyncIterator[list[Row]]:
    """Yield pages of the first `limit` rows of each partition."""
    for start in range(0, len(entries), _SIDE_BY_SIDE):
        left = {
            entry: DueQuery(
                instance=entry.instance,
                bucket=entry.bucket,
                after=Position(max(from_ms, first_slot(entry.bucket)) - 1, LAST_ID),
                upto_ms=min(upto_ms, last_slot(entry.bucket)),
                limit=min(PAGE, limit),
            )
            for entry in entries[start : start + _SIDE_BY_SIDE]
        }
        counts = dict.fromkeys(left, 0)
        while left:
            pages = await read(list(left.values()))
            for (entry, query), page in zip(list(left.items()), pages, strict=True):
                counts[entry] += len(page.rows)
                if page.next is None or counts[entry] >= limit:
                    del left[entry]
                else:
                    left[entry] = query._replace(after=page.next)
                yield list(page.rows)


#: Where the commands are that change more than one, or by a request to a server.
_LATE = {
    "apply": "apply:apply_command",
    "bulk": "jobs:bulk_command",
    "change": "change:change_command",
    "jobs": "jobs:jobs",
    "put": "put:put_command",
    "trigger": "change:trigger_command",
}


@click.group(
    "schedules",
    cls=RingctlGroup,
    late={name: f"ringtime_ringctl.schedules.{place}" for name, place in _LATE.items()},
)
def schedules() -> None:
    """Get, list and cancel schedules."""


@schedules.command("get")
@click.argument("schedule_id", metavar="ID")
@deployed
async def get(deployment: Deployment, output: Output, schedule_id: str) -> None:
    """Show one schedule with its attempts and outcome; `ringctl explain` says more.

    \b
    Examples:
      ringctl schedules get 83b0d6a4-3f80-8001-8000-000028000001
    """
    filing = await fetch_filing(deployment.store, parse_id(schedule_id))
    if output.is_json:
        output.data({"schedule": row_to_json(filing.home), "pending": _pending_json(filing)})
        return
    rows = [(name, value) for name, value in describe(filing) if value]
    output.table((Column("FIELD"), Column("VALUE", folds=True)), rows)


@schedules.command("list")
@click.argument("app_id", metavar="APP")
@click.option("--from", "start", default="now", show_default=True, help=f"First slot: {FORMS}.")
@click.option("--to", "end", default="+1h", show_default=True, help="Last slot, in the same forms.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@click.option("--all", "is_all", is_flag=True, help="All schedules by their first slot, ended ones too.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY:VALUE", help="Only with this label; may be given again."
)
@click.option("--name", "name_prefix", default="", help="Only those whose name begins so.")
@click.option("--host", default="", help="Only those whose callback goes to this host.")
@click.option("--status", type=click.Choice(list(Status)), help="Only those with this status; implies --all.")
@click.option(
    "--late-by",
    "late_by_ms",
    metavar="MS",
    type=int,
    help="Only those sent, or missed, so many milliseconds late, or later; implies --all.",
)
@deployed
async def list_command(
    deployment: Deployment,
    output: Output,
    app_id: str,
    start: str,
    end: str,
    limit: int,
    is_all: bool,
    labels: Sequence[str],
    name_prefix: str,
    host: str,
    status: str | None,
    late_by_ms: int | None,
) -> None:
    """List what is still to fire, by slot: pending schedules and pending retries, overdue ones included.

    \b
    Examples:
      ringctl schedules list pay
      ringctl schedules list pay --from -10m --to now       what should have fired already
      ringctl schedules list pay --from -1h --to now --all  what did, and how it ended
      ringctl schedules list pay --from -1h --to now --status MISS
      ringctl schedules list pay --from -1h --to now --late-by 500
      ringctl schedules list pay --label team:billing --host api.example.com
      ringctl schedules list pay --to +7d --limit 1000 --json | jq -r '.schedules[].scheduleId'
    """
    only = RowFilter(
        status=Status(status) if status else None,
        labels=parse_labels(labels, "--label"),
        name_prefix=name_prefix,
        host=host,
        late_by_ms=late_by_ms,
    )
    is_all = is_all or bool(status) or late_by_ms is not None
    if violations := only.check("--label", "--name", "--host", "--late-by"):
        raise InvalidRequest(violations)
    await fetch_app(deployment, app_id)
    from_ms, upto_ms = read_window(start, end, deployment.clock.now_ms())
    fetch = fetch_all if is_all else fetch_live
    rows = await fetch(deployment.store, app_id, from_ms, upto_ms, limit + 1, only)
    first, is_cut = rows[:limit], len(rows) > limit
    if output.is_json:
        output.data({"schedules": [row_to_json(row) for row in first], "more": is_cut})
        return
    output.table(_ALL if is_all else _LIST, [_to_list_row(row, is_all) for row in first])
    if is_cut:
        output.line(f"... and more: --limit up to {MAX_LIMIT:,}, or --from {to_iso(first[-1].place.slot_ms)}")


@schedules.command("cancel")
@click.argument("schedule_id", metavar="ID")
@deployed
async def cancel(deployment: Deployment, output: Output, schedule_id: str) -> None:
    """Cancel a schedule. Done more than a second before its slot, it surely holds.

    \b
    Examples:
      ringctl schedules cancel 83b0d6a4-3f80-8001-8000-000028000001
    """
    parsed, limits = parse_id(schedule_id), deployment.settings.limits
    begun_ms = deployment.clock.boot_ms()
    filing = await fetch_filing(deployment.store, parsed)
    home, sending = filing.home, filing.home.schedule.sending
    if sending is not None and sending.twin and is_forwarding(filing.app):
        raise Conflict(
            f"goscheduler has {parsed} as well, and would fire it: DELETE /goscheduler/schedules/{parsed} at"
            " Ringtime's API cancels it on both sides",
            "scheduleId",
        )
    before = {"status": home.status.value}
    if home.status == "SCHEDULED":
        async with audited(
            deployment,
            "schedules cancel",
            str(parsed),
            before=before,
            after={"status": "DELETED"},
            app_id=home.place.app_id,
        ):
            done = await cancel_home(deployment.store, deployment.clock, home, limits, begun_ms)
    else:
        done = await cancel_home(deployment.store, deployment.clock, home, limits, begun_ms)
    if output.is_json:
        output.data({"schedule": row_to_json(done.row), "promised": done.promised})
    elif done.promised:
        output.line(f"{parsed} is cancelled and will not fire")
    else:
        output.line(f"{parsed} is cancelled, but so late that it may have been sent, or be in flight")


def describe(filing: Filing) -> list[tuple[str, str]]:
    """Return names and values of a schedule; an empty value is one it does not have."""
    home, pending, schedule = filing.home, filing.pending, filing.home.schedule
    outcome = home.outcome
    return [
        ("schedule", str(schedule.schedule_id)),
        ("app", schedule.app_id),
        ("name", schedule.name),
        ("labels", ", ".join(f"{key}:{value}" for key, value in schedule.labels)),
        ("status", home.status.value),
        ("fire time", to_iso(schedule.fire_ms)),
        ("changed", "" if home.change is None else to_iso(home.change.at_ms)),
        ("slot", to_iso(home.place.slot_ms)),
        ("instance", str(home.place.instance)),
        ("callback", f"{schedule.callback_type} {destination_of(home)}".strip()),
        ("payload", f"{len(schedule.payload.encode()):,} bytes"),
        ("created", to_iso(schedule.created_ms)),
        ("cancelled", "" if home.cancelled_ms is None else to_iso(home.cancelled_ms)),
        ("filed again at", "" if home.moved_to is None else to_iso(home.moved_to.slot_ms)),
        ("failed attempts", "" if pending is None or outcome is not None else f"{pending.attempts:,}"),
        ("outcome", "" if outcome is None else f"{outcome.status.value} at {to_iso(outcome.ended_ms)}"),
        ("attempts", "" if outcome is None else f"{outcome.attempts:,}"),
        ("http code", "" if outcome is None or outcome.code is None else str(outcome.code)),
        ("error", "" if outcome is None else outcome.error),
        ("kept until", to_iso(schedule.expires_ms)),
    ]


def _pending_json(filing: Filing) -> object:
    return None if filing.pending is None else row_to_json(filing.pending)


def _to_list_row(row: Row, is_all: bool) -> list[str | int | None]:
    return [
        str(row.schedule.schedule_id),
        to_iso(row.place.slot_ms),
        str(row.place.instance),
        *([row.status.value, _lag_of(row)] if is_all else [row.attempts]),
        row.schedule.callback_type,
        destination_of(row) or None,
    ]


def _lag_of(row: Row) -> str | None:
    return None if row.lag_ms is None else to_span(row.lag_ms)
