"""`ringctl deadletters`: deliveries that were given up, and another try for them through the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import click

from ringtime_ringctl.deployment.api import TIMEOUT_S, api_option, base_of, headers_of, read_answer
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.http_calls import send
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.schedules.records import letter_to_json, parse_id
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, read_window
from ringtime_shared.api.dead_letters import MAX_SIZE
from ringtime_shared.api.instants import to_iso
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.stores.protocol import LAST_ID, Position

SIZE = 500  #: replays asked for in one call
MAX_LIMIT = 10_000
_LIST = (
    Column("SCHEDULE"),
    Column("SLOT"),
    Column("ATTEMPTS", right=True),
    Column("HTTP CODE", right=True),
    Column("ERROR", folds=True),
    Column("FAILED"),
    Column("REPLAYED"),
)
start_option = click.option(
    "--from", "start", default="-24h", show_default=True, help=f"First slot of the last attempt: {FORMS}."
)
end_option = click.option(
    "--to", "end", default="now", show_default=True, help="Last slot, in the same forms; at most 31 days on."
)


@dataclass(slots=True)
class Report:
    """How many schedules were filed again, and which were not."""

    replayed: int = 0
    skipped: list[Mapping[str, str]] = field(default_factory=list)  #: scheduleId and reason


async def replay_ids(base: str, app_id: str, schedule_ids: Sequence[str]) -> Report:
    """File these schedules again. Raises Conflict, StoreUnavailable, OutcomeUnknown."""
    report = Report()
    for start in range(0, len(schedule_ids), MAX_SIZE):
        await _replay(base, app_id, {"scheduleIds": schedule_ids[start : start + MAX_SIZE]}, report)
    return report


async def replay_range(
    base: str, app_id: str, span: Mapping[str, object], on_progress: Callable[[int], None]
) -> Report:
    """File everything of a range again, a page at a time. Raises as `replay_ids` does.

    Args:
        span: `startTime` and `endTime` as the API takes them.
        on_progress: called with how many were looked at.
    """
    report, token = Report(), ""
    while True:
        more = {"continuationToken": token} if token else {}
        token = await _replay(base, app_id, {**span, "size": SIZE, **more}, report)
        on_progress(report.replayed + len(report.skipped))
        if not token:
            return report


async def _replay(base: str, app_id: str, body: Mapping[str, object], report: Report) -> str:
    """Ask once, add to the report, return the token to go on with."""
    url = f"{base}/apps/{quote(app_id, safe='')}/dead-letters/replay"
    answer = await send("POST", url, body, headers=headers_of(url), timeout_s=TIMEOUT_S)
    data = read_answer(url, answer, report.replayed)
    report.replayed += int(str(data.get("replayed", 0)))
    skipped = data.get("skipped")
    if isinstance(skipped, list):
        report.skipped += [
            {key: str(each.get(key, "")) for key in ("scheduleId", "reason")} for each in skipped
        ]
    return str(data.get("continuationToken") or "")


@click.group("deadletters", cls=RingctlGroup)
def deadletters() -> None:
    """List and replay deliveries that were given up."""


@deadletters.command("list")
@click.argument("app_id", metavar="APP")
@start_option
@end_option
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@click.option("--all", "is_all", is_flag=True, help="Also those that were replayed.")
@deployed
async def list_command(
    deployment: Deployment, output: Output, app_id: str, start: str, end: str, limit: int, is_all: bool
) -> None:
    """List the dead letters of an app, by the slot of their last attempt.

    \b
    Examples:
      ringctl deadletters list pay
      ringctl deadletters list pay --from -7d --json | jq -r '.deadLetters[].errorMessage' | sort | uniq -c
    """
    await fetch_app(deployment, app_id)
    from_ms, upto_ms = read_window(start, end, deployment.clock.now_ms())
    letters, is_cut = await fetch_letters(deployment, app_id, from_ms, upto_ms, limit, is_all=is_all)
    if output.is_json:
        output.data({"deadLetters": [letter_to_json(each) for each in letters], "more": is_cut})
        return
    output.table(_LIST, [_to_row(each) for each in letters])
    if is_cut:
        output.line(f"... and more: --limit up to {MAX_LIMIT:,}, or --from {to_iso(letters[-1].slot_ms)}")


@deadletters.command("replay")
@click.argument("app_id", metavar="APP")
@click.argument("schedule_ids", metavar="[ID]...", nargs=-1)
@click.option("--from", "start", help=f"Instead of ids, all with slots from here: {FORMS}.")
@click.option("--to", "end", help="Last slot, in the same forms. Default: now.")
@click.option("--yes", "is_sure", is_flag=True, help="Replay a range without asking.")
@api_option
@deployed
async def replay(
    deployment: Deployment,
    output: Output,
    app_id: str,
    schedule_ids: tuple[str, ...],
    start: str | None,
    end: str | None,
    is_sure: bool,
    api: str | None,
) -> None:
    """File failed deliveries again: those of the ids, or all of a range.

    Goes through the HTTP API, because filing is ingest's. Replays of a range leave 5 ms apart, so that a
    receiver that has just healed is not run over.

    \b
    Examples:
      ringctl deadletters replay pay 83b0d6a4-3f80-8001-8000-000028000001
      ringctl deadletters replay pay --from -2h --yes --api http://ingest:8080/goscheduler
    """
    if bool(schedule_ids) == (start is not None) or (end is not None and start is None):
        raise click.UsageError("Give either ids, or --from and perhaps --to.")
    await fetch_app(deployment, app_id)
    base = base_of(deployment.settings, api)
    ids = [str(parse_id(each)) for each in schedule_ids]
    body: Mapping[str, object] = {"scheduleIds": ids}
    if start is not None:
        from_ms, upto_ms = read_window(start, end or "now", deployment.clock.now_ms())
        body = {"startTime": to_iso(from_ms), "endTime": to_iso(upto_ms)}
        count = await deployment.store.count_dead_letters(app_id, from_ms, upto_ms)
        if not is_sure:
            click.confirm(f"Replay {count:,} dead letters of {app_id}?", abort=True, err=True)
    async with audited(deployment, "deadletters replay", app_id, before={}, after=body, app_id=app_id):
        if ids:
            report = await replay_ids(base, app_id, ids)
        else:
            with output.progress(f"replaying {app_id}", count) as bar:
                report = await replay_range(base, app_id, body, bar.show)
    _show(output, report)


async def fetch_letters(
    deployment: Deployment, app_id: str, from_ms: int, upto_ms: int, limit: int, *, is_all: bool
) -> tuple[Sequence[DeadLetter], bool]:
    """Return at most `limit` dead letters by slot, and whether there are more."""
    letters: list[DeadLetter] = []
    after = Position(from_ms - 1, LAST_ID)
    while True:
        page = await deployment.store.fetch_dead_letters(app_id, after, upto_ms, limit + 1)
        letters += [each for each in page if is_all or each.replayed_ms is None]
        if len(letters) > limit or len(page) <= limit:
            return letters[:limit], len(letters) > limit
        after = Position(page[-1].slot_ms, page[-1].schedule_id)


def _show(output: Output, report: Report) -> None:
    if output.is_json:
        output.data({"replayed": report.replayed, "skipped": report.skipped})
        return
    output.line(f"{report.replayed:,} filed again, {len(report.skipped):,} skipped")
    if report.skipped:
        rows = [(each["scheduleId"], each["reason"]) for each in report.skipped]
        output.table((Column("SCHEDULE"), Column("WHY NOT", folds=True)), rows)


def _to_row(letter: DeadLetter) -> list[str | int | None]:
    return [
        str(letter.schedule_id),
        to_iso(letter.slot_ms),
        letter.attempts,
        None if letter.code is None else str(letter.code),
        letter.error or None,
        to_iso(letter.failed_ms),
        None if letter.replayed_ms is None else to_iso(letter.replayed_ms),
    ]
