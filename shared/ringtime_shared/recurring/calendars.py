"""Calendars of an app: days, and times, on which its definitions do not run.

A calendar is read once, when it is given, and kept as plain days and spans, so whoever plans a run needs
neither the file nor a library. ICS is read by `icalendar`, of the extra `calendars`; what a file repeats each
year is followed for some years from then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.times import Exclusions
from ringtime_shared.recurring.zones import LAST_YEAR

MAX_DAYS = 1_000
MAX_SPANS = 200
MAX_ICS_CHARS = 262_144
MAX_REPEATED = 100  #: events of a file that repeat
YEARS_AHEAD = 10  #: that what repeats is followed for

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DAYS_RULE = f"must be a list of at most {MAX_DAYS} days like 2026-12-25, from 1970 to {LAST_YEAR - 1}"
_SPANS_RULE = f"must be a list of at most {MAX_SPANS} objects with startTime and endTime, which is later"
#: Zones that a file defines itself are left out: their rules may repeat without end. Names of IANA and of
#: Windows are known.
_OWN_ZONES = re.compile(
    r"^BEGIN:VTIMEZONE\r?$.*?^END:VTIMEZONE\r?\n?", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
#: what is raised about a file that contradicts itself, by the libraries, too
_FAULTS = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError)
#: what a yearly rule may have: parts that name days
_RULE_PARTS = frozenset(
    (
        "FREQ",
        "INTERVAL",
        "COUNT",
        "UNTIL",
        "BYDAY",
        "BYMONTH",
        "BYMONTHDAY",
        "BYYEARDAY",
        "BYWEEKNO",
        "BYSETPOS",
        "WKST",
    )
)


def parse_calendar(fields: Mapping[str, object], now_ms: int) -> Exclusions:
    """Read a calendar: `dates`, `spans` and `ics`, of which what there is counts together.

    Up to a quarter of a megabyte of ICS takes about half a second: not for an event loop.

    Raises:
        InvalidRequest: with all violations.
    """
    violations: list[Violation] = []
    found = merge(
        [
            Exclusions(frozenset(_days(fields.get("dates"), violations))),
            Exclusions(spans=tuple(_spans(fields.get("spans"), violations))),
            _ics(fields.get("ics"), now_ms, violations),
        ]
    )
    if not any(fields.get(key) is not None for key in ("dates", "spans", "ics")):
        violations.append(Violation("dates", "required, or spans, or ics"))
    if len(found.dates) > MAX_DAYS or len(found.spans) > MAX_SPANS:
        violations.append(
            Violation("ics", f"must have at most {MAX_DAYS} days and {MAX_SPANS} spans of time")
        )
    if violations:
        raise InvalidRequest(violations)
    return found


def merge(calendars: Iterable[Exclusions], from_ms: int = 0) -> Exclusions:
    """Return what calendars say together, without what is over at an instant, wherever one is."""
    first = datetime.fromtimestamp(from_ms / 1_000, UTC).date() - timedelta(days=1)
    days: set[date] = set()
    spans: list[tuple[int, int]] = []
    for calendar in calendars:
        days |= {day for day in calendar.dates if day >= first}
        spans += [span for span in calendar.spans if span[1] > from_ms]
    apart: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if apart and begin <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(apart[-1][1], end)
        else:
            apart.append((begin, end))
    return Exclusions(frozenset(days), tuple(apart))


def resolve(names: Iterable[str], calendars: Mapping[str, Exclusions], from_ms: int = 0) -> Exclusions:
    """Return what the calendars that a definition names say together, without what is over at an instant.

    Args:
        names: `Times.calendars`.
        calendars: those of the app, by name.

    Raises:
        InvalidRequest: the app has none of that name; no name is passed over.
    """
    missing = [name for name in names if name not in calendars]
    if missing:
        raise InvalidRequest.of(
            "exclusionCalendars", f"there is no calendar {', '.join(missing)} in this app"
        )
    return merge((calendars[name] for name in names), from_ms)


def names_of(definitions: Iterable[Definition]) -> set[str]:
    """Return the calendars that definitions name, in the versions of them that are remembered."""
    return {
        name
        for definition in definitions
        for times in (definition.times, *(span.times for span in definition.earlier))
        for name in times.calendars
    }


def with_calendars(definition: Definition, calendars: Mapping[str, Calendar]) -> Definition:
    """Return a definition that was read, with what its calendars say: those that are deleted, too, since one
    may be deleted while a definition that names it is written.

    Args:
        calendars: those of the app that `names_of` names, by name. If one that is to count is not there, or
            cannot be read, the definition is damaged.
    """
    if not names_of([definition]):
        return definition
    names = definition.times.calendars
    for name in names:
        calendar = calendars.get(name)
        fault = "it is not there" if calendar is None else calendar.damage
        if fault:
            return replace(definition, damage=f"calendar {name}: {fault}")
    said = {name: each.exclusions for name, each in calendars.items()}
    earlier = tuple(
        replace(span, exclusions=merge(said[name] for name in span.times.calendars if name in said))
        if span.times.calendars
        else span
        for span in definition.earlier
    )
    return replace(definition, exclusions=resolve(names, said), earlier=earlier)


def _days(given: object, violations: list[Violation]) -> list[date]:
    if given is None:
        return []
    if isinstance(given, list) and len(given) <= MAX_DAYS:
        days = [_to_day(each) for each in cast(list[object], given)]
        if None not in days:
            return cast(list[date], days)
    violations.append(Violation("dates", _DAYS_RULE))
    return []


def _to_day(given: object) -> date | None:
    if not isinstance(given, str) or not _DAY.fullmatch(given):
        return None
    try:
        day = date.fromisoformat(given)
    except ValueError:
        return None
    return day if _is_in_range(day) else None


def _is_in_range(day: date) -> bool:
    return 1970 <= day.year < LAST_YEAR


def _spans(given: object, violations: list[Violation]) -> list[tuple[int, int]]:
    if given is None:
        return []
    try:
        if isinstance(given, list) and len(given) <= MAX_SPANS:
            spans = [_to_span(each) for each in cast(list[object], given)]
            if all(begin < end for begin, end in spans):
                return spans
    except (KeyError, TypeError, ValueError):
        pass
    violations.append(Violation("spans", _SPANS_RULE))
    return []


def _to_span(given: object) -> tuple[int, int]:
    """Raises KeyError, TypeError or ValueError."""
    span = cast(Mapping[str, object], given)
    return parse_instant(span["startTime"]), parse_instant(span["endTime"])


def _ics(given: object, now_ms: int, violations: list[Violation]) -> Exclusions:
    if given is None:
        return Exclusions()
    if not isinstance(given, str) or len(given) > MAX_ICS_CHARS:
        violations.append(
            Violation("ics", f"must be the text of an ICS file, of at most {MAX_ICS_CHARS} characters")
        )
        return Exclusions()
    try:
        return _read_ics(given, now_ms)
    except ImportError:
        violations.append(
            Violation("ics", "not offered by this installation, which lacks the extra `calendars`")
        )
    except _FAULTS as error:
        violations.append(Violation("ics", f"cannot be read as ICS: {str(error)[:200]}"))
    return Exclusions()


def _read_ics(text: str, now_ms: int) -> Exclusions:
    """Return when the events of a file are. Raises ImportError, and ValueError for what cannot be read."""
    from icalendar import Calendar

    days: set[date] = set()
    spans: list[tuple[int, int]] = []
    now = datetime.fromtimestamp(now_ms / 1_000, UTC)
    repeated = 0
    events: list[Any] = Calendar.from_ical(_OWN_ZONES.sub("", text)).walk("VEVENT")
    for event in events:
        if event.errors:
            key, fault = event.errors[0]
            raise ValueError(f"{key or 'a line'}: {fault}")
        repeated += "RRULE" in event
        if repeated > MAX_REPEATED:
            raise ValueError(f"more than {MAX_REPEATED} events repeat")
        length = event.end - event.start
        if length < timedelta():
            raise ValueError(f"an event of {event.start} ends before it begins")
        for begin in _begins(event, now):
            if not isinstance(begin, datetime):
                days |= set(_all_days(begin, length))
            elif length:
                spans.append((_to_ms(begin), _to_ms(begin + length)))
        if len(days) > MAX_DAYS or len(spans) > MAX_SPANS:
            raise ValueError(f"more than {MAX_DAYS} days, or {MAX_SPANS} spans of time")
    return Exclusions(frozenset(days), tuple(spans))


def _begins(event: Any, now: datetime) -> Iterator[date]:
    """Yield when an event begins, each time that it is repeated. Raises ValueError."""
    first: date = event.start
    left_out = {_plain(each) for each in event.exdates}
    if _plain(first) not in left_out:
        yield first
    for begin, _ in event.rdates:
        yield begin
    rule = event.get("RRULE")
    if rule is None:
        return
    for wall in _years(rule, _plain(first), now):
        if wall not in left_out and wall != _plain(first):
            yield first + (wall - _plain(first))


def _years(rule: Any, first: datetime, now: datetime) -> Iterator[datetime]:
    """Yield when a yearly rule repeats, as wall times from a year ago on. Raises ValueError."""
    from dateutil.rrule import rrulestr

    if not isinstance(rule, Mapping) or rule.get("FREQ") != ["YEARLY"] or not _RULE_PARTS.issuperset(rule):
        raise ValueError(f"RRULE must be one, of FREQ=YEARLY and parts that name days, not {_text_of(rule)}")
    if rule.get("INTERVAL", [1])[0] < 1:
        raise ValueError("INTERVAL of a RRULE must be 1 or more")
    parts = [part for part in _text_of(rule).split(";") if not part.startswith("UNTIL=")]
    wall_now = now.replace(tzinfo=None)
    last = wall_now.replace(day=1, year=wall_now.year + YEARS_AHEAD)
    for until in rule.get("UNTIL", []):
        last = min(last, _plain(until) + timedelta(days=1) - timedelta.resolution)
    days = rrulestr(";".join(parts), dtstart=first)
    if next(iter(days), None) is None:
        raise ValueError(f"there is no day in {_text_of(rule)}")
    yield from days.between(wall_now.replace(day=1, year=wall_now.year - 1), last, inc=True)


def _text_of(rule: Any) -> str:
    return str(rule.to_ical().decode()) if hasattr(rule, "to_ical") else "several"


def _plain(at: date) -> datetime:
    """Return a day or a time as a wall time."""
    return at.replace(tzinfo=None) if isinstance(at, datetime) else datetime(at.year, at.month, at.day)


def _all_days(begin: date, length: timedelta) -> Iterator[date]:
    if not 0 < length.days <= MAX_DAYS or not _is_in_range(begin) or not _is_in_range(begin + length):
        raise ValueError(
            f"an event of {begin} must end later than it begins, and be from 1970 to {LAST_YEAR - 1}"
        )
    for n in range(length.days):
        yield begin + timedelta(days=n)


def _to_ms(at: datetime) -> int:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no zone, or one whose name is not known")
    if not _is_in_range(at):
        raise ValueError(f"{at} must be from 1970 to {LAST_YEAR - 1}")
    return int(at.timestamp() * 1_000)
