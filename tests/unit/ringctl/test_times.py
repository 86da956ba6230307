"""Instants and durations of the command line."""

from __future__ import annotations

import pytest

from ringtime_ringctl.times import count_of, parse_time, read_window, to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import InvalidRequest

NOW_MS = 1_800_000_000_123
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW_MS),
        ("-2h", NOW_MS - 2 * HOUR_MS),
        ("+30m", NOW_MS + HOUR_MS // 2),
        ("+1d", NOW_MS + 24 * HOUR_MS),
        ("-5s", NOW_MS - 5_000),
        ("1800000000", 1_800_000_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000_000),
        ("2027-01-15T09:00:00.123+01:00", 1_800_000_000_123),
    ],
)
def test_forms(text: str, expected: int) -> None:
    assert parse_time("--from", text, NOW_MS) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2027-01-15T08:00:00", "2h", "+2w", "1800000000123", "-1800000000", "+h"]
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="--from: must be an instant"):
        parse_time("--from", text, NOW_MS)


def test_what_is_written_is_read() -> None:
    assert to_iso(NOW_MS) == "2027-01-15T08:00:00.123Z"
    assert parse_time("--to", to_iso(NOW_MS), 0) == NOW_MS


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (2_149, "2.1 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (2 * HOUR_MS, "2 h"),
        (25 * HOUR_MS, "1 d 1 h"),
        (-1_500, "-1.5 s"),
    ],
)
def test_spans(ms: int, text: str) -> None:
    assert to_span(ms) == text


def test_counts() -> None:
    assert [count_of(number, "node") for number in (0, 1, 1_000)] == ["0 nodes", "1 node", "1,000 nodes"]


def test_windows() -> None:
    assert read_window("-1h", "now", NOW_MS) == (NOW_MS - HOUR_MS, NOW_MS)
    with pytest.raises(InvalidRequest, match="--from: must not be after --to"):
        read_window("now", "-1h", NOW_MS)
    with pytest.raises(InvalidRequest, match="at most 31 days"):
        read_window("-1d", "+31d", NOW_MS)
