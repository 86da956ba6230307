"""From the API's JSON to `Times`: every rule that is broken is told, with the field that breaks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar, cast

from ringtime_shared.api.ids import NAME_PATTERN
from ringtime_shared.api.instants import parse_instant
from ringtime_shared.api.times import IntervalView, TimesView, times_to_json
from ringtime_shared.api.views import keys_of
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.times import DIALECT, DstGap, DstOverlap, Interval, Spread, Times, Unit, Window
from ringtime_shared.recurring.rules import MAX_EXPRESSION, cron_of
from ringtime_shared.recurring.runs import MAX_WINDOW_MS
from ringtime_shared.recurring.zones import LAST_MS, LAST_YEAR, zone_names

MAX_COUNT = 1_000_000_000
MAX_CALENDARS = 10

#: keys of the JSON; `parse_times` reads these and no others
KEYS = tuple(key.name for key in keys_of(TimesView))
#: a year at most, whatever the unit; of months ten
MOST_EVERY: Mapping[Unit, int] = {
    Unit.SECONDS: 31_536_000,
    Unit.MINUTES: 525_600,
    Unit.HOURS: 8_760,
    Unit.DAYS: 365,
    Unit.WEEKS: 52,
    Unit.MONTHS: 120,
}

_CRON_ZONE = re.compile(r"\s*CRON_TZ=(\S*)\s+(.*)", re.DOTALL)
_CALENDAR = re.compile(NAME_PATTERN)
_CALENDAR_RULE = (
    f"must be a list of at most {MAX_CALENDARS} names of calendars, each 1 to 128 of A-Z, a-z, 0-9, _, . and"
    " -, the first a letter or a digit"
)
_INTERVAL_KEYS = tuple(key.name for key in keys_of(IntervalView))
E = TypeVar("E", bound=StrEnum)


def parse_times(fields: Mapping[str, object], default_zone: str | None = None) -> Times:
    """Read when a recurring schedule runs.

    Args:
        fields: decoded JSON; of `KEYS` what is there and not None. Other keys are passed over. Numbers may be
            int, float or Decimal; instants are read by `api.instants.parse_instant`.
        default_zone: what holds if neither `timeZone` nor `CRON_TZ=` says one; None: one must be given.

    Raises:
        InvalidRequest: with all violations; a field inside of another has a dot, as `interval.every`.
    """
    violations: list[Violation] = []
    times = _Reading(fields, "", violations).times(default_zone)
    if violations:
        raise InvalidRequest(violations)
    return times


def patch_times(times: Times, given: Mapping[str, object]) -> dict[str, object]:
    """Return what `parse_times` is to read where times are changed by what is given of them; what is given as
    None is taken away, and with a window what says where in it."""
    kept = times_to_json(times)
    for name, other in (("cronExpression", "interval"), ("windowMs", "windowShare")):
        for one, rival in ((name, other), (other, name)):
            if given.get(one) is not None:
                kept.pop(rival, None)
    if "CRON_TZ=" in str(given.get("cronExpression", "")):  # it says the zone
        kept.pop("timeZone", None)
    changed = kept | {key: given[key] for key in KEYS if key in given}
    if changed.get("windowMs") is None and changed.get("windowShare") is None and "windowSpread" not in given:
        changed.pop("windowSpread", None)
    return changed


class _Reading:
    """One reading of an object; violations gather."""

    def __init__(self, fields: Mapping[str, object], path: str, violations: list[Violation]) -> None:
        self._fields = {key: value for key, value in fields.items() if value is not None}
        self._path = path
        self._violations = violations

    def times(self, default_zone: str | None) -> Times:
        start_ms = self._instant("startTime")
        end_ms = self._instant("endTime")
        if start_ms is not None and end_ms is not None and end_ms <= start_ms:
            self._refuse("endTime", "must be later than startTime")
        cron, cron_zone = self._cron()
        return Times(
            cron=cron,
            interval=self._interval(start_ms),
            zone=self._zone(cron_zone, default_zone),
            start_ms=start_ms,
            end_ms=end_ms,
            count=self._whole("maxRuns", MAX_COUNT),
            dst_gap=self._one_of("dstGap", DstGap) or DstGap.CRON,
            dst_overlap=self._one_of("dstOverlap", DstOverlap) or DstOverlap.CRON,
            calendars=self._calendars(),
            window=self._window(),
            dialect=self._whole("dialect", DIALECT) or DIALECT,
        )

    def _refuse(self, field: str, rule: str) -> None:
        self._violations.append(Violation(self._path + field, rule))

    def _cron(self) -> tuple[str, str | None]:
        """Return the expression, and the zone that stands before it."""
        given = self._fields.get("cronExpression")
        if given is None or given == "":  # goscheduler's clients send it empty for none
            if "interval" not in self._fields:
                self._refuse("cronExpression", "required, or else interval")
            return "", None
        if "interval" in self._fields:
            self._refuse("interval", "must not be given beside cronExpression")
        if not isinstance(given, str):
            self._refuse("cronExpression", "must be text")
            return "", None
        zone = None
        if len(given) <= MAX_EXPRESSION and (match := _CRON_ZONE.fullmatch(given)):
            zone, given = match.groups()
        try:
            cron_of(given)
        except ValueError as error:
            self._refuse("cronExpression", str(error))
        return given, zone

    def _zone(self, cron_zone: str | None, default: str | None) -> str:
        given = self._fields.get("timeZone")
        if given is not None and not isinstance(given, str):
            self._refuse("timeZone", "must be text")
            return "UTC"
        if given is not None and cron_zone is not None and given != cron_zone:
            self._refuse(
                "timeZone", f"must be the same as CRON_TZ, {_shown(cron_zone)}, where both are given"
            )
        zone = given or cron_zone or default
        if zone is None:
            self._refuse("timeZone", "required: the IANA name of a time zone, as Europe/Berlin or UTC")
            return "UTC"
        if zone not in zone_names():
            field = "cronExpression" if zone == cron_zone else "timeZone"
            self._refuse(field, f"there is no time zone {_shown(zone)}{_meant(zone)}")
        return zone

    def _interval(self, start_ms: int | None) -> Interval | None:
        given = self._fields.get("interval")
        if given is None:
            return None
        if not isinstance(given, Mapping):
            self._refuse("interval", f"must be an object with {', '.join(_INTERVAL_KEYS)}")
            return None
        inner = _Reading(cast(Mapping[str, object], given), "interval.", self._violations)
        for key in inner._fields.keys() - set(_INTERVAL_KEYS):
            inner._refuse(_shown(str(key)), f"must not be given; known are {', '.join(_INTERVAL_KEYS)}")
        unit = inner._one_of("unit", Unit)
        if "unit" not in inner._fields:
            inner._refuse("unit", f"required: {_words(Unit)}")
        every = inner._whole("every", MOST_EVERY[unit or Unit.SECONDS])
        if "every" not in inner._fields:
            inner._refuse("every", "required: how many units from one run to the next")
        anchor_ms = inner._instant("anchorTime")
        if anchor_ms is None:
            anchor_ms = start_ms
        if anchor_ms is None and "anchorTime" not in inner._fields:
            inner._refuse("anchorTime", "required where there is no startTime: the first of the times")
        if unit is None or every is None or anchor_ms is None:
            return None
        return Interval(every, unit, anchor_ms)

    def _calendars(self) -> tuple[str, ...]:
        given = self._fields.get("exclusionCalendars", [])
        if not isinstance(given, list) or len(given) > MAX_CALENDARS:
            self._refuse("exclusionCalendars", _CALENDAR_RULE)
            return ()
        names = cast(list[object], given)
        if not all(isinstance(name, str) and _CALENDAR.fullmatch(name) for name in names):
            self._refuse("exclusionCalendars", _CALENDAR_RULE)
            return ()
        return tuple(dict.fromkeys(cast(list[str], names)))

    def _window(self) -> Window | None:
        ms = self._whole("windowMs", MAX_WINDOW_MS)
        share = self._share("windowShare")
        if "windowMs" in self._fields and "windowShare" in self._fields:
            self._refuse("windowShare", "must not be given beside windowMs")
        spread = self._one_of("windowSpread", Spread)
        if ms is None and share is None:
            if spread is not None and not self._fields.keys() & {"windowMs", "windowShare"}:
                self._refuse("windowSpread", "must not be given without windowMs or windowShare")
            return None
        return Window(ms, share, spread or Spread.HASH)

    def _instant(self, key: str) -> int | None:
        given = self._fields.get(key)
        if given is None:
            return None
        if isinstance(given, float):
            given = Decimal(str(given))
        if isinstance(given, bool) or (isinstance(given, Decimal) and not given.is_finite()):
            given = None
        try:
            at_ms = parse_instant(given)
        except ValueError as error:
            self._refuse(key, str(error))
            return None
        if at_ms >= LAST_MS:
            self._refuse(key, f"must be before the year {LAST_YEAR}")
            return None
        return at_ms

    def _whole(self, key: str, most: int) -> int | None:
        given = self._fields.get(key)
        if given is None:
            return None
        if type(given) is not int or not 1 <= given <= most:
            self._refuse(key, f"must be a whole number from 1 to {most}")
            return None
        return given

    def _share(self, key: str) -> float | None:
        given = self._fields.get(key)
        if given is None:
            return None
        share = 0.0
        if isinstance(given, (int, float, Decimal)) and not isinstance(given, bool):
            # a NaN of decimals cannot be compared
            is_finite = not isinstance(given, Decimal) or given.is_finite()
            share = float(given) if is_finite and 0 < given <= 1 else 0.0
        if not share:
            self._refuse(key, "must be a number over 0 and up to 1: a share of the time to the next run")
            return None
        return share

    def _one_of(self, key: str, words: type[E]) -> E | None:
        given = self._fields.get(key)
        if given is None:
            return None
        if not isinstance(given, str) or given not in list(words):
            self._refuse(key, f"must be {_words(words)}")
            return None
        return words(given)


def _words(words: type[StrEnum]) -> str:
    return " or ".join(word.value for word in words)


def _shown(text: str) -> str:
    return text[:64]


def _meant(zone: str) -> str:
    """Return which zone was meant, if it is spelled in another case."""
    lowered = zone.lower()
    meant = next((name for name in zone_names() if name.lower() == lowered), None)
    return f"; is it {meant}?" if meant else ""
