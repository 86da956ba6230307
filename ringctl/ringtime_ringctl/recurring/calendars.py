"""`ringctl calendars`: days on which nothing runs of the recurring schedules that name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import click
import orjson

from ringtime_ringctl.deployment.api import api_option, ask, base_of
from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlGroup, deployed
from ringtime_shared.errors import InvalidRequest

_LIST = (
    Column("NAME"),
    Column("DAYS", right=True),
    Column("TIMES", right=True),
    Column("CHANGED"),
    Column("REVISION", right=True),
)
_CALENDAR = (Column("FROM"), Column("UP TO"))


@click.group("calendars", cls=RingctlGroup)
def calendars() -> None:
    """List, show, make and delete the exclusion calendars of apps. All of it goes through the HTTP API."""


@calendars.command("list")
@click.argument("app_id", metavar="APP")
@api_option
@deployed
async def list_command(deployment: Deployment, output: Output, app_id: str, api: str | None) -> None:
    """List the calendars of an app.

    \b
    Examples:
      ringctl calendars list pay
    """
    shown = await ask("GET", _url(deployment, api, app_id))
    if output.is_json:
        output.data(shown)
        return
    found = cast(Sequence[Mapping[str, Any]], shown["calendars"])
    output.table(
        _LIST,
        [
            (each["name"], each["dateCount"], each["spanCount"], each["changedAt"], each["revision"])
            for each in found
        ],
    )


@calendars.command("get")
@click.argument("app_id", metavar="APP")
@click.argument("name", metavar="NAME")
@api_option
@deployed
async def get_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """Show the days and times of a calendar.

    \b
    Examples:
      ringctl calendars get pay holidays
    """
    _show(output, await ask("GET", _url(deployment, api, app_id, name)))


@calendars.command("put")
@click.argument("app_id", metavar="APP")
@click.argument("name", metavar="NAME")
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ICS file, or JSON as the HTTP API takes it.",
)
@api_option
@deployed
async def put_command(
    deployment: Deployment, output: Output, app_id: str, name: str, path: Path, api: str | None
) -> None:
    """Create a calendar, or put it in place of the one of this name. It counts for runs not filed yet.

    \b
    Examples:
      ringctl calendars put pay holidays -f holidays.ics
      ringctl calendars put pay freeze -f freeze.json
    """
    url, body = _url(deployment, api, app_id, name), _read(path)
    there = cast(Sequence[Mapping[str, Any]], (await ask("GET", _url(deployment, api, app_id)))["calendars"])
    before = next((each for each in there if each["name"] == name), None)
    after = {key: value for key, value in body.items() if key != "ics"} | {"file": path.name}
    async with audited(
        deployment, "calendars put", f"{app_id}/{name}", before=before, after=after, app_id=app_id
    ):
        shown = await ask("PUT", url, body)
    _show(output, shown)


@calendars.command("delete")
@click.argument("app_id", metavar="APP")
@click.argument("name", metavar="NAME")
@api_option
@deployed
async def delete_command(
    deployment: Deployment, output: Output, app_id: str, name: str, api: str | None
) -> None:
    """Delete a calendar that no recurring schedule names.

    \b
    Examples:
      ringctl calendars delete pay freeze
    """
    url = _url(deployment, api, app_id, name)
    before = await ask("GET", url)
    after = {"deleted": True}
    async with audited(
        deployment, "calendars delete", f"{app_id}/{name}", before=before, after=after, app_id=app_id
    ):
        shown = await ask("DELETE", url)
    if output.is_json:
        output.data(shown)
    else:
        output.line(f"{name} is deleted")


def _read(path: Path) -> dict[str, Any]:
    text = path.read_bytes()
    if not text.lstrip().startswith(b"{"):
        return {"ics": text.decode(errors="replace")}
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest.of("--file", f"must be ICS or JSON: {error}") from None
    return cast(dict[str, Any], body)


def _url(deployment: Deployment, api: str | None, app_id: str, name: str = "") -> str:
    tail = f"/{quote(name, safe='')}" if name else ""
    return f"{base_of(deployment.settings, api)}/apps/{quote(app_id, safe='')}/calendars{tail}"


def _show(output: Output, shown: Mapping[str, object]) -> None:
    if output.is_json:
        output.data(shown)
        return
    spans = cast(Sequence[Mapping[str, str]], shown["spans"])
    days = [(day, "the whole day") for day in cast(Sequence[str], shown["dates"])]
    output.table(_CALENDAR, [*days, *((each["startTime"], each["endTime"]) for each in spans)])
