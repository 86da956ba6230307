"""What the pages for operators ask for, and how they read what was filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ringtime_shared.errors import InvalidRequest
from ringtime_web.pages.reading import read_instant
from ringtime_web.site import Visit

SPANS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}


def read_range(visit: Visit, usual: str) -> tuple[datetime, datetime, str]:
    """Return both ends of what is asked for, and the word of the span if it is one. Raises InvalidRequest."""
    start, end = read_instant("from", visit.query("from")), read_instant("to", visit.query("to"))
    span = visit.query("span") or ("" if start or end else usual)
    if span and span not in SPANS:
        raise InvalidRequest.of("span", f"must be one of {', '.join(SPANS)}")
    if span:
        end = datetime.now(UTC) + timedelta(seconds=1)
        return end - SPANS[span], end, span
    length = SPANS[usual]
    if end is None:
        end = datetime.now(UTC) if start is None else start + length
    return (end - length if start is None else start), end, ""


def read_reason(visit: Visit) -> str:
    """Return why, which whoever changes something has to say. Raises InvalidRequest."""
    reason = visit.form.get("reason", "").strip()
    if not reason:
        raise InvalidRequest.of("reason", "must say why: it goes into the audit log")
    return reason


def asked_range(visit: Visit) -> dict[str, str]:
    """Return what was asked for of a range, for links to the same with something else."""
    return {name: text for name in ("from", "to", "span") if (text := visit.query(name))}
