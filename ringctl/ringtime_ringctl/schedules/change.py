"""`ringctl schedules change` and `trigger`: another time or contents for a schedule, through the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click

from ringtime_ringctl.deployment.api import api_option, ask, base_of
from ringtime_ringctl.deployment.bodies import callback_options, file_option, read_body
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Output
from ringtime_ringctl.schedules.records import parse_id
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import outline_of


@click.command("change", cls=RingctlCommand)
@click.argument("schedule_id", metavar="ID")
@api_option
@file_option
@click.option("--at", metavar="TIME", help=f"When it is to fire instead: {FORMS}.")
@callback_options("What is sent instead.")
@deployed
async def change_command(
    deployment: Deployment,
    output: Output,
    /,
    schedule_id: str,
    api: str | None,
    path: Path | None,
    at: str | None,
    **given: str | None,
) -> None:
    """Change a schedule that is not sent yet; what is not given stays, and what was to be sent is not.

    \b
    Examples:
      ringctl schedules change 83b0d6a4-3f80-8001-8000-000028000001 --at +2h
      ringctl schedules change 83b0d6a4-3f80-8001-8000-000028000001 --payload '{}' -f retry.json
    """
    fields: dict[str, object] = dict(given)
    if at is not None:
        fields["scheduleTime"] = to_iso(parse_time("--at", at, deployment.clock.now_ms()))
    await _ask(deployment, output, "change", schedule_id, api, read_body(path, fields))


@click.command("trigger", cls=RingctlCommand)
@click.argument("schedule_id", metavar="ID")
@api_option
@deployed
async def trigger_command(deployment: Deployment, output: Output, schedule_id: str, api: str | None) -> None:
    """Send a schedule now instead of at its time.

    \b
    Examples:
      ringctl schedules trigger 83b0d6a4-3f80-8001-8000-000028000001
    """
    await _ask(deployment, output, "trigger", schedule_id, api, None)


async def _ask(
    deployment: Deployment,
    output: Output,
    verb: str,
    schedule_id: str,
    api: str | None,
    body: Mapping[str, Any] | None,
) -> None:
    parsed = parse_id(schedule_id)
    url = f"{base_of(deployment.settings, api)}/schedules/{parsed}"
    after = {"fires": "now"} if body is None else outline_of(body)
    async with audited(deployment, f"schedules {verb}", str(parsed), before=None, after=after):
        answer = await (ask("POST", f"{url}/trigger") if body is None else ask("PATCH", url, body))
    shown = outline_of(cast(Mapping[str, Any], answer["schedule"]))
    if output.is_json:
        output.data({"schedule": shown})
    else:
        output.line(f"{shown['scheduleId']} is to fire at {shown['fireTime']}")
