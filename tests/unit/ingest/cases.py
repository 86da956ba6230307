"""What one bad request is, and helpers to write many of them down."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.unit.ingest.rig import dumps, http_callback, schedule_body

SCHEDULES = "/goscheduler/schedules"
APPS = "/goscheduler/apps"


class Case(NamedTuple):
    """A request that must be refused."""

    name: str
    body: bytes
    field: str = ""  #: named in `status.errors`; "": none is
    method: str = "POST"
    target: str = SCHEDULES
    status: int = 400
    code: int | None = None  #: `statusCode`, where it matters
    headers: tuple[tuple[str, str], ...] = ()


def create(name: str, field: str, code: int = 400, **changes: object) -> Case:
    """Return a create with some keys changed, or dropped (`...`)."""
    return Case(name, dumps(schedule_body(**changes)), field, code=code)


def raw(name: str, key: str, text: str, field: str | None = None, code: int = 400) -> Case:
    """Return a create in which the value of `key` is this JSON text."""
    body = dumps(schedule_body(**{key: "@@"})).replace(b'"@@"', text.encode())
    return Case(name, body, key if field is None else field, code=code)


def url(name: str, value: object, code: int = 400) -> Case:
    """Return a create with this callback URL."""
    return create(name, "callback.details.url", code, callback=http_callback(url=value))


def method(name: str, value: object, code: int = 400) -> Case:
    """Return a create with this callback method."""
    return create(name, "callback.details.method", code, callback=http_callback(method=value))


def headers(name: str, value: object, field: str = "", code: int = 400) -> Case:
    """Return a create with these callback headers; `field` is the header at fault."""
    named = "callback.details.headers" + (f".{field}" if field else "")
    return create(name, named, code, callback=http_callback(headers=value))


def app(name: str, field: str, code: int = 400, **changes: Any) -> Case:
    """Return a registration with some keys changed, or dropped (`...`)."""
    body = {"appId": "new", "partitions": 5, "active": True} | changes
    return Case(name, dumps({k: v for k, v in body.items() if v is not ...}), field, target=APPS, code=code)
