"""`ringctl recurring`: make, look at and change recurring schedules, through the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import click
import orjson

from ringtime_ringctl.deployment.api import Refused, api_option, ask, base_of
from ringtime_ringctl.deployment.bodies import callback_options, file_option, read_body
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.recurring.repair import repair_command
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.recurring import (
    BACKFILL_SIZE,
    MAX_BACKFILL,
    MAX_LIST_SIZE,
    MAX_PREVIEW,
    PREVIEW_SIZE,
    WHEN,
    BackfillEffect,
)
from ringtime_shared.api.schedules import outline_of
from ringtime_shared.errors import Conflict
from ringtime_shared.models.recurring import DefinitionState

MAX_LIMIT = 10_000
NOT_FOUND = 404
_LIST = (
    Column("NAME"),
    Column("STATE"),
    Column("TIMES", folds=True),
    Column("ZONE"),
    Column("NEXT RUN"),
    Column("REVISION", right=True),
)
_RUNS = (
    Column("RUN"),
    Column("NOMINAL"),
    Column("ORIGIN"),
    Column("STATUS"),
    Column("ATTEMPTS", right=True),
    Column("ERROR", folds=True),
)
_PREVIEW = (
    Column("RUN", right=True),
    Column("LOCAL TIME"),
    Column("NOMINAL"),
    Column("SENT"),
    Column("EFFECT"),
)
_BACKFILL = (Column("NOMINAL"), Column("EFFECT"), Column("RUN"), Column("ERROR", folds=True))
Json = Mapping[str, Any]


@click.group("recurring", cls=RingctlGroup)
def recurring() -> None:
    """Make, look at, change, pause and run recurring schedules: through the HTTP API, but for repair."""


recurring.add_command(repair_command)


def _about(work: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say which recurring schedule it is about, and where the API is."""
    named = click.argument("name", metavar="NAME")(api_option(work))
    return click.argument("app_id", metavar="APP")(named)


def _defining(work: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command say what is in a recurring schedule."""
    options = (
        file_option,
        click.option("--cron", "cronExpression", metavar="EXPR", help="Instead of what the file says: when."),
        click.option(
            "--zone", "timeZone", metavar="ZONE", help="IANA name of the zone whose wall time counts."
        ),
        callback_options("What each run sends."),
    )
    for option in reversed(options):
        work = option(work)
    return work


_revision_option = click.option(
    "--revision", type=click.IntRange(0), help="Only if it is at this one; 0: only if there is none."
)


@recurring.command("list")
@click.argument("app_id", metavar="APP")
@click.option(
    "--state",
    type=click.Choice([each.value for each in DefinitionState], case_sensitive=False),
    help="Only these. Without: all but those that are deleted.",
)
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@api_option
@deployed
async def list_command(
    deployment: Deployment, output: Output, app_id: str, state: str | None, limit: int, api: str | None
) -> None:
    """List the recurring schedules of an app, by id.

    \b
    Examples:
      ringctl recurring list pay
      ringctl recurring list pay --state PAUSED --json | jq -r '.recurring[].name'
    """
    url = f"{base_of(deployment.settings, api)}/apps/{_safe(app_id)}/recurring"
    found, is_cut = await _pages(url, "recurring", {"state": state or ""}, limit)
    if output.is_json:
        output.data({"recurring": [plain(each) for each in found], "more": is_cut})
        return
    output.table(_LIST, [_to_list_row(each) for each in found])
    _tell_cut(output, is_cut)


@recurring.command("get")
@_about
@deployed
async def get_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """Show one recurring schedule. Its payload and the details of its callback are not shown.

    \b
    Examples:
      ringctl recurring get pay report
    """
    _show(output, await ask("GET", _url(deployment, api, app_id, name)))


@recurring.command("put")
@_about
@_defining
@_revision_option
@deployed
async def put_command(
    deployment: Deployment,
    output: Output,
    /,
    app_id: str,
    name: str,
    api: str | None,
    path: Path | None,
    revision: int | None,
    **given: str | None,
) -> None:
    """Create a recurring schedule, or put it in place of the one of this name; runs so far and id stay.

    \b
    Examples:
      ringctl recurring put pay report --cron '30 9 * * MON-FRI' --zone Europe/Berlin \\
          --payload '{}' --url https://example.org/hook
      ringctl recurring put pay report -f report.json --revision 3
    """
    body = read_body(path, given)
    url = _url(deployment, api, app_id, name)
    before = await _fetch_before(url)
    async with _changing(deployment, "put", app_id, name, before, outline_of(body)):
        shown = await ask("PUT", url, body, headers=_matching(revision))
    _show(output, shown)


@recurring.command("patch")
@_about
@_defining
@_revision_option
@deployed
async def patch_command(
    deployment: Deployment,
    output: Output,
    /,
    app_id: str,
    name: str,
    api: str | None,
    path: Path | None,
    revision: int | None,
    **given: str | None,
) -> None:
    """Change what is given of a recurring schedule, and leave the rest.

    \b
    Examples:
      ringctl recurring patch pay report --cron '0 9 * * MON-FRI'
      echo '{"overlapPolicy": "skip"}' | ringctl recurring patch pay report -f -
    """
    body = read_body(path, given)
    url = _url(deployment, api, app_id, name)
    before = await _fetch_before(url)
    async with _changing(deployment, "patch", app_id, name, before, outline_of(body)):
        shown = await ask("PATCH", url, body, headers=_matching(revision))
    _show(output, shown)


@recurring.command("delete")
@_about
@deployed
async def delete_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """Make no more runs; those that come due later are not sent.

    \b
    Examples:
      ringctl recurring delete pay report
    """
    url = _url(deployment, api, app_id, name)
    before = await ask("GET", url)
    async with _changing(deployment, "delete", app_id, name, plain(before), {"state": "DELETED"}):
        shown = await ask("DELETE", url)
    _tell(output, shown, f"{name} is deleted; no run of it is sent any more")


@recurring.command("pause")
@_about
@click.option("--reason", default="", help="Why, for people.")
@click.option("--until", help=f"When it makes runs again: {FORMS}. Without: when it is resumed.")
@deployed
async def pause_command(
    deployment: Deployment,
    output: Output,
    app_id: str,
    name: str,
    api: str | None,
    reason: str,
    until: str | None,
) -> None:
    """Make no runs; what was planned meanwhile is not made up for.

    \b
    Examples:
      ringctl recurring pause pay report --reason 'ledger is closed'
      ringctl recurring pause pay report --until +2h
    """
    body: dict[str, object] = {"reason": reason}
    if until is not None:
        body["until"] = to_iso(parse_time("--until", until, deployment.clock.now_ms()))
    url = _url(deployment, api, app_id, name)
    before = await ask("GET", url)
    async with _changing(deployment, "pause", app_id, name, plain(before), {"state": "PAUSED", **body}):
        shown = await ask("POST", f"{url}/pause", body)
    end = f"until {shown['pausedUntil']}" if "pausedUntil" in shown else "until it is resumed"
    _tell(output, shown, f"{name} makes no runs {end}")


@recurring.command("resume")
@_about
@deployed
async def resume_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """Make runs again, from now on.

    \b
    Examples:
      ringctl recurring resume pay report
    """
    url = _url(deployment, api, app_id, name)
    before = await ask("GET", url)
    async with _changing(deployment, "resume", app_id, name, plain(before), {"state": "ACTIVE"}):
        shown = await ask("POST", f"{url}/resume")
    _tell(output, shown, f"{name} makes runs again, the next at {shown.get('nextNominalTime', '-')}")


@recurring.command("trigger")
@_about
@deployed
async def trigger_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """File a run now, beside the plan; also of one that is paused.

    \b
    Examples:
      ringctl recurring trigger pay report
    """
    url = _url(deployment, api, app_id, name)
    async with _changing(deployment, "trigger", app_id, name, {}, {"runs": "now"}):
        run = cast(Json, (await ask("POST", f"{url}/trigger"))["schedule"])
    if output.is_json:
        output.data({"schedule": plain(run)})
    else:
        output.line(f"{name} runs now, as {run['scheduleId']}")


@recurring.command("backfill")
@_about
@click.option("--from", "start", required=True, help=f"First nominal time: {FORMS}.")
@click.option("--to", "end", default="now", show_default=True, help="Up to before this one.")
@click.option(
    "--limit",
    default=BACKFILL_SIZE,
    show_default=True,
    type=click.IntRange(1, MAX_BACKFILL),
    help="Most nominal times to look at.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: say what would be filed.")
@deployed
async def backfill_command(
    deployment: Deployment,
    output: Output,
    app_id: str,
    name: str,
    api: str | None,
    start: str,
    end: str,
    limit: int,
    is_applied: bool,
) -> None:
    """File runs of nominal times that are over and have none. Repeated, it files none twice.

    \b
    Examples:
      ringctl recurring backfill pay report --from -2d
      ringctl recurring backfill pay report --from -2d --apply
    """
    now_ms = deployment.clock.now_ms()
    body = {
        "from": to_iso(parse_time("--from", start, now_ms)),
        "to": to_iso(parse_time("--to", end, now_ms)),
        "max": limit,
        "dryRun": not is_applied,
    }
    url = f"{_url(deployment, api, app_id, name)}/backfill"
    if is_applied:
        async with _changing(deployment, "backfill", app_id, name, {}, body):
            shown = await ask("POST", url, body)
    else:
        shown = await ask("POST", url, body)
    runs = cast(Sequence[Json], shown["runs"])
    if output.is_json:
        output.data(shown)
    else:
        output.table(_BACKFILL, [_to_backfill_row(each) for each in runs])
        if "continuesAt" in shown:
            output.line(f"... and more: --from {shown['continuesAt']}")
        if not is_applied:
            output.line("nothing was filed; --apply does it")
    if failed := sum(each["effect"] == BackfillEffect.FAILED for each in runs):
        raise Conflict(f"{failed:,} were not filed, or perhaps not; the same command again settles it")


@recurring.command("runs")
@_about
@click.option("--when", type=click.Choice([each for each in WHEN if each]), help="Without: both.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, MAX_LIMIT), help="Most to show."
)
@deployed
async def runs_command(
    deployment: Deployment,
    output: Output,
    app_id: str,
    name: str,
    api: str | None,
    when: str | None,
    limit: int,
) -> None:
    """List the runs that were filed, newest first, with their outcomes.

    \b
    Examples:
      ringctl recurring runs pay report
      ringctl recurring runs pay report --when past --limit 1000 --json | jq '.schedules[].status'
    """
    url = _url(deployment, api, app_id, name)
    found, is_cut = await _pages(f"{url}/runs", "schedules", {"when": when or ""}, limit)
    if output.is_json:
        output.data({"schedules": [plain(each) for each in found], "more": is_cut})
        return
    output.table(_RUNS, [_to_run_row(each) for each in found])
    _tell_cut(output, is_cut)


@recurring.command("preview")
@click.argument("app_id", metavar="APP")
@click.argument("name", metavar="[NAME]", required=False)
@api_option
@click.option(
    "--cron", "cronExpression", metavar="EXPR", help="Without a name: of times that are not stored."
)
@click.option("--zone", "timeZone", metavar="ZONE", help="The zone of these.")
@click.option(
    "-f", "--file", "path", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option(
    "--size", default=PREVIEW_SIZE, show_default=True, type=click.IntRange(1, MAX_PREVIEW), help="How many."
)
@deployed
async def preview_command(
    deployment: Deployment,
    output: Output,
    /,
    app_id: str,
    name: str | None,
    api: str | None,
    size: int,
    path: Path | None,
    **given: str | None,
) -> None:
    """Show the next runs, and what clocks and calendars do to them.

    \b
    Examples:
      ringctl recurring preview pay report --size 5
      ringctl recurring preview pay --cron '30 2 * * *' --zone Europe/Berlin --size 100
    """
    is_stored = name is not None
    if is_stored == (path is not None or any(given.values())):
        raise click.UsageError("Give either a name, or --cron and --zone, or --file.")
    if name is not None:
        shown = await ask("GET", f"{_url(deployment, api, app_id, name)}/preview?size={size}")
    else:
        url = f"{base_of(deployment.settings, api)}/apps/{_safe(app_id)}/recurring/preview"
        shown = await ask("POST", url, {**read_body(path, given), "size": size})
    if output.is_json:
        output.data(shown)
        return
    runs = cast(Sequence[Json], shown["runs"])
    output.table(_PREVIEW, [_to_preview_row(each) for each in runs])


def plain(shown: Json) -> dict[str, Any]:
    """Return a recurring schedule or a run of the API for `--json` and the audit log.

    Payload and callback details stay where they are: they may hold secrets.
    """
    view = outline_of(shown)
    return {key: value for key, value in view.items() if value is not None}


def _changing(
    deployment: Deployment, verb: str, app_id: str, name: str, before: object, after: object
) -> Any:
    return audited(
        deployment, f"recurring {verb}", f"{app_id}/{name}", before=before, after=after, app_id=app_id
    )


async def _fetch_before(url: str) -> object:
    """Return what is there, for the audit log; None: there is nothing."""
    try:
        return plain(await ask("GET", url))
    except Refused as error:
        if error.http == NOT_FOUND:
            return None
        raise


async def _pages(url: str, key: str, asked: Mapping[str, str], limit: int) -> tuple[list[Json], bool]:
    """Return at most `limit` of what a list has, and whether there are more."""
    found: list[Json] = []
    token = ""
    while True:
        query = {**asked, "size": str(min(limit, MAX_LIST_SIZE)), "continuation_token": token}
        page = await ask("GET", f"{url}?{urlencode({k: v for k, v in query.items() if v})}")
        found += cast(Sequence[Json], page[key])
        token = str(page.get("continuationToken") or "")
        if not token or len(found) > limit:
            return found[:limit], bool(token) or len(found) > limit


def _matching(revision: int | None) -> Mapping[str, str]:
    if revision is None:
        return {}
    return {"if-match": str(revision)} if revision else {"if-none-match": "*"}


def _url(deployment: Deployment, api: str | None, app_id: str, name: str) -> str:
    return f"{base_of(deployment.settings, api)}/apps/{_safe(app_id)}/recurring/{_safe(name)}"


def _safe(text: str) -> str:
    return quote(text, safe="")


def _show(output: Output, shown: Json) -> None:
    view = plain(shown)
    if output.is_json:
        output.data(view)
        return
    rows = [(key, _text_of(value)) for key, value in view.items()]
    output.table((Column("FIELD"), Column("VALUE", folds=True)), rows)


def _tell(output: Output, shown: Json, line: str) -> None:
    if output.is_json:
        output.data(plain(shown))
    else:
        output.line(line)


def _tell_cut(output: Output, is_cut: bool) -> None:
    if is_cut:
        output.line(f"... and more: --limit up to {MAX_LIMIT:,}")


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _times_of(shown: Json) -> str:
    interval = shown.get("interval")
    if isinstance(interval, Mapping):
        return f"every {interval.get('every')} {interval.get('unit')} from {interval.get('anchorTime')}"
    return str(shown.get("cronExpression", ""))


def _to_list_row(shown: Json) -> list[str | int | None]:
    return [
        str(shown.get("name", shown["scheduleId"])),
        "cannot be read" if shown.get("damage") else str(shown.get("state")),
        _times_of(shown),
        shown.get("timeZone"),
        shown.get("nextNominalTime"),
        shown.get("revision"),
    ]


def _to_run_row(shown: Json) -> list[str | int | None]:
    return [
        shown["scheduleId"],
        shown.get("nominalTime"),
        shown.get("origin"),
        shown.get("status"),
        shown.get("attempts"),
        shown.get("errorMessage"),
    ]


def _to_backfill_row(shown: Json) -> list[str | int | None]:
    return [shown["nominalTime"], shown["effect"], shown.get("scheduleId"), shown.get("error")]


def _to_preview_row(shown: Json) -> list[str | int | None]:
    return [
        shown.get("index"),
        shown["localTime"],
        shown.get("nominalTime"),
        shown.get("effectiveTime"),
        shown.get("effect"),
    ]
