"""`ringctl schedules put`: file a one-time schedule under a name, through the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click

from ringtime_ringctl.deployment.api import api_option, ask, base_of
from ringtime_ringctl.deployment.bodies import callback_options, file_option, read_body
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import FORMS, parse_time
from ringtime_shared.api.ids import check_app_id, check_name
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import outline_of
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.schedules.row_filter import parse_labels


@click.command("put", cls=RingctlCommand)
@click.argument("app_id", metavar="APP")
@click.argument("name", metavar="NAME")
@api_option
@file_option
@click.option("--at", metavar="TIME", help=f"When it is to fire: {FORMS}.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY:VALUE", help="To find it by; may be given again."
)
@callback_options("What is sent.")
@deployed
async def put_command(
    deployment: Deployment,
    output: Output,
    /,
    app_id: str,
    name: str,
    api: str | None,
    path: Path | None,
    at: str | None,
    labels: Sequence[str],
    **given: str | None,
) -> None:
    """File a schedule under a name, or make the one that is pending there what is asked for.

    Repeating it changes nothing.

    \b
    Examples:
      ringctl schedules put pay order-17 --at 2030-01-31T08:00:00Z --payload '{}' --url https://example.org/hook
      ringctl schedules put pay order-17 -f order-17.json --label team:billing
    """
    if violations := check_app_id(app_id) + check_name(name):
        raise InvalidRequest(violations)
    fields: dict[str, object] = dict(given)
    if at is not None:
        fields["scheduleTime"] = to_iso(parse_time("--at", at, deployment.clock.now_ms()))
    if labels:
        fields["labels"] = dict(parse_labels(labels, "--label"))
    body = read_body(path, fields)
    url = f"{base_of(deployment.settings, api)}/apps/{app_id}/schedules/{name}"
    async with audited(
        deployment,
        "schedules put",
        f"{app_id}/{name}",
        before=None,
        after=outline_of(body),
        app_id=app_id,
    ):
        answer = await ask("PUT", url, body)
    shown = outline_of(cast(Mapping[str, Any], answer["schedule"]))
    if output.is_json:
        output.data({"schedule": shown, "created": answer["created"]})
    else:
        verb = "is filed" if answer["created"] else "is pending as asked for"
        output.line(f"{name} {verb}: {shown['scheduleId']}, due at {shown['fireTime']}")
