"""Zones as periods of one offset, against the files of `tzdata` and `zoneinfo`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from random import Random
from struct import unpack, unpack_from
from zoneinfo import ZoneInfo

import pytest

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.recurring.zones import (
    _LOOK_DAYS,
    LAST_MS,
    from_wall,
    to_wall,
    zone_names,
    zone_of,
)

DAY_S = 86_400


def changes_in_file(name: str) -> list[int]:
    """Return the seconds since 1970 at which a zone file says that something changes (RFC 9636)."""
    data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    ut, std, leap, times, types, chars = unpack_from(">6l", data, 20)
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + std + ut  # the first block has 32 bits a time
    (count,) = unpack_from(">l", data, second + 32)
    return [
        at
        for (at,) in (unpack(">q", data[n : n + 8]) for n in range(second + 44, second + 44 + 8 * count, 8))
    ]


def test_no_zone_changes_twice_between_two_looks() -> None:
    shortest = min(
        later - earlier
        for name in zone_names()
        for earlier, later in pairwise(changes_in_file(name))
        if earlier > 0
    )

    assert shortest == 597_600  # 6.9 days
    assert shortest > _LOOK_DAYS * DAY_S


@pytest.mark.slow
def test_each_zone_has_the_offsets_of_its_file() -> None:
    rng = Random(1)
    for name in sorted(zone_names()):
        zone = zone_of(name)
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
            info = ZoneInfo.from_file(file)
        edges = [at for at in changes_in_file(name) if at > 0]
        chosen = [*edges[-1:], rng.choice([0, *edges])]
        for at_s in {each + by for each in chosen for by in (-1, 0, 1)}:
            expected = datetime.fromtimestamp(at_s, UTC).astimezone(info).replace(tzinfo=None)
            period = zone.period_at(at_s * 1_000)
            assert zone.wall_at(at_s * 1_000) == expected, (name, at_s)
            assert period.from_ms <= at_s * 1_000 < period.until_ms


def test_a_gap_and_an_overlap_are_at_the_edges_of_periods() -> None:
    zone = zone_of("Australia/Lord_Howe")  # half an hour, the other way round than in the north
    summer = zone.period_at(parse_instant("2026-01-15T00:00:00Z"))
    winter = zone.period_at(summer.until_ms)
    next_summer = zone.period_at(winter.until_ms)

    assert (summer.offset, winter.offset) == (11 * 3_600_000, 10.5 * 3_600_000)
    assert winter.gap_ms == 0
    assert winter.repeats_until_ms - winter.from_ms == 1_800_000
    assert summer.until_ms - summer.repeated_from_ms == 1_800_000
    assert next_summer.gap_ms == 1_800_000
    assert next_summer.repeats_until_ms == next_summer.from_ms


def test_a_zone_that_never_changes_is_one_period() -> None:
    period = zone_of("UTC").period_at(0)

    assert (period.offset, period.gap_ms, period.until_ms >= LAST_MS) == (0, 0, True)


@pytest.mark.parametrize(
    ("name", "day", "begin"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00:00Z"),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00:00Z"),  # begins at 01:00
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00:00Z"),  # begins at 01:00
        ("America/Asuncion", date(2024, 10, 6), "2024-10-06T04:00:00Z"),  # the last change there
        ("Africa/Cairo", date(2026, 10, 30), "2026-10-29T22:00:00Z"),  # 23:00 to midnight came twice
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00Z"),  # was left out
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00:00Z"),
    ],
)
def test_a_day_begins_at_midnight_or_at_the_jump(name: str, day: date, begin: str) -> None:
    zone = zone_of(name)
    at_ms = zone.begin_of(day)

    assert at_ms == parse_instant(begin)
    assert zone.wall_at(at_ms).date() >= day
    assert zone.wall_at(at_ms - 1).date() < day


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/berlin", "../../etc/passwd", "Factory", "localtime"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(LookupError):
        zone_of(name)


def test_what_is_remembered_of_a_zone_is_bounded() -> None:
    zone = zone_of("Europe/Paris")
    for year in range(1_970, 2_170):
        zone.period_at(from_wall(datetime(year, 6, 1)))  # noqa: DTZ001

    assert len(zone._years) <= 64


def test_wall_times_are_counted_from_1970() -> None:
    assert from_wall(to_wall(1_234_567_890_123)) == 1_234_567_890_123
    assert to_wall(1) - to_wall(0) == timedelta(milliseconds=1)
