"""What people type into addresses and forms, as the client takes it.

Whatever is wrong raises InvalidRequest, which names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ringtime_shared.errors import InvalidRequest, Violation


def read_instant(field: str, text: str) -> datetime | None:
    """Return an instant; one without an offset is UTC, as pages show it. None: nothing is given."""
    text = text.strip().replace(" ", "T", 1)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at.astimezone(UTC)
    except (ValueError, OverflowError):  # hours before the first year, or after the last
        raise InvalidRequest.of(
            field, "must be a time as 2030-01-31T08:00:00, UTC, or with an offset"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def read_whole(field: str, text: str, least: int = 0, most: int = 1_000_000_000) -> int | None:
    """Return a whole number; None: nothing is given."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
        raise InvalidRequest.of(field, f"must be a whole number from {least:,} to {most:,}")
    return int(text)


def read_span(field: str, text: str, unit: timedelta) -> timedelta | None:
    """Return so many units; None: nothing is given."""
    number = read_whole(field, text)
    return None if number is None else number * unit


def read_uuid(text: str) -> UUID | None:
    """Return an id; None: it is none."""
    try:
        return UUID(text.strip()) if len(text.strip()) == 36 else None
    except ValueError:
        return None


def read_lines(field: str, text: str, divider: str = ":") -> dict[str, str]:
    """Return names and values, one pair a line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, middle, value = line.partition(divider)
        if not middle or not name.strip():
            raise InvalidRequest([Violation(field, f"line {number} must be a name, {divider!r} and a value")])
        found[name.strip()] = value.strip()
    return found


def to_lines(pairs: Mapping[str, object], divider: str = ": ") -> str:
    """Return names and values, one pair a line."""
    return "\n".join(f"{name}{divider}{value}" for name, value in pairs.items())


def to_field(at: datetime | None) -> str:
    """Return an instant as a field for times has it, UTC."""
    if at is None:
        return ""
    shown = at.astimezone(UTC).replace(tzinfo=None)
    return shown.isoformat(timespec="milliseconds" if shown.microsecond else "seconds")
