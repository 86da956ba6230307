"""Templates, and how times, lengths and numbers are written on pages. Everything is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import CodeType
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from jinja2.ext import Extension

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


class _Compiled(BytecodeCache):
    """What templates were compiled to: once in a process, however many servers it has."""

    def __init__(self) -> None:
        self._codes: dict[str, CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key] = bucket.code


_COMPILED = _Compiled()


class Templates:
    """The templates of this package."""

    def __init__(self, **shared: object) -> None:
        """`shared`: what every template knows."""
        self._environment = Environment(
            loader=PackageLoader("ringtime_web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            bytecode_cache=_COMPILED,
            extensions=list[type[Extension]](),
        )
        self._environment.filters.update(
            utc=to_utc,
            utc_ms=to_utc_ms,
            iso=to_iso,
            length_of=to_length,
            destination=to_destination,
            in_zone=to_zone,
            number=to_number,
            packed=to_packed,
        )
        self._environment.globals.update(shared)

    def render(self, name: str, known: Mapping[str, Any]) -> str:
        """Return a page, or a piece of one."""
        return self._environment.get_template(name).render(known)


def to_utc(at: datetime | None) -> str:
    """Return an instant to the second."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def to_utc_ms(at: datetime | None) -> str:
    """Return an instant to the millisecond."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def to_zone(at: datetime | None, zone: str) -> str:
    """Return an instant on the clocks of a zone, with its offset."""
    return "" if at is None else at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %z")


def to_iso(at: datetime | None) -> str:
    """Return an instant as attributes of HTML have it."""
    return "" if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_length(ms: float | None) -> str:
    """Return a length of time with one unit, as `850 ms`, `1.2 s` or `3.5 d`."""
    if ms is None:
        return ""
    for unit_ms, unit in _UNITS:
        if abs(ms) >= unit_ms:
            return f"{ms / unit_ms:.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms:.0f} ms"


def to_number(number: float | None) -> str:
    """Return a number with its thousands apart."""
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:,.1f}"


def to_destination(callback: Mapping[str, Any]) -> str:
    """Return where a callback goes, without the query, which may hold a key."""
    details = callback.get("details")
    if not isinstance(details, Mapping):
        return str(callback.get("type", ""))
    return str(details.get("url") or details.get("topic") or callback.get("type", "")).partition("?")[0]


def to_packed(value: object) -> str:
    """Return JSON for an attribute of an element; the template escapes it."""
    return orjson.dumps(value).decode()
