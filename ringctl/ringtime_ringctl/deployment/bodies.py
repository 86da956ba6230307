"""Bodies of requests to the HTTP API: from a file and from options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from ringtime_shared.errors import InvalidRequest

file_option = click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="JSON object as the HTTP API takes it; - reads it from stdin.",
)


def callback_options(payload: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what lets a command say what is sent, and where to; `payload` is the help about the first."""

    def add(work: Callable[..., Any]) -> Callable[..., Any]:
        work = click.option("--url", metavar="URL", help="The HTTP callback: POST to this URL.")(work)
        return click.option("--payload", "payload", metavar="TEXT", help=payload)(work)

    return add


def read_body(path: Path | None, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the body of a request: what the file says, and in its place what the options do, which have the
    names of its keys. Raises InvalidRequest."""
    body: dict[str, Any] = {}
    if path is not None:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest.of("--file", f"must be JSON: {error}") from None
        if not isinstance(body, dict):
            raise InvalidRequest.of("--file", "must be a JSON object")
    for key, value in given.items():
        if value is None:
            continue
        if key == "url":
            body["callback"] = {"type": "http", "details": {"url": value, "method": "POST"}}
        else:
            body[key] = value
    if not body:
        raise InvalidRequest.of("--file", "required, or an option that says what is in it")
    return body
