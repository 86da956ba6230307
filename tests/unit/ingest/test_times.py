"""Times as clients write them; always rounded up, never down."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ringtime_shared.api.instants import parse_delay, parse_instant, to_iso


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (0, 0),
        (1_800_000_000, 1_800_000_000_000),
        (Decimal("1800000000.0"), 1_800_000_000_000),
        (Decimal("1800000000.001"), 1_800_000_000_001),
        (Decimal("1800000000.0001"), 1_800_000_000_001),
        (Decimal("1800000000.9999"), 1_800_000_001_000),
        (Decimal("1800000000." + "0" * 60 + "1"), 1_800_000_000_001),
        (Decimal("1.8e9"), 1_800_000_000_000),
        (Decimal("1e-999999999"), 1),
        ("1970-01-01T00:00:00Z", 0),
        ("2027-01-15T08:00:00Z", 1_800_000_000_000),
        ("2027-01-15T08:00:00.1Z", 1_800_000_000_100),
        ("2027-01-15T08:00:00.000000001Z", 1_800_000_000_001),
        ("2027-01-15T08:00:00.999999999Z", 1_800_000_001_000),
        ("2027-01-15T13:30:00+05:30", 1_800_000_000_000),
        ("2027-01-14T22:00:00-10:00", 1_800_000_000_000),
        ("2027-01-15T08:00:00-00:00", 1_800_000_000_000),
        ("2028-02-29T00:00:00Z", 1_835_395_200_000),
    ],
)
def test_instants(written: object, ms: int) -> None:
    assert parse_instant(written) == ms


@pytest.mark.parametrize("written", [1_800_000_000_000, Decimal("1800000000000.5"), 10**11])
def test_milliseconds_are_recognised(written: object) -> None:
    with pytest.raises(ValueError, match="looks like milliseconds"):
        parse_instant(written)


@pytest.mark.parametrize("written", [10**14, 10**20, 10**400, Decimal("1e20"), Decimal("Infinity")])
def test_what_no_unit_makes_a_time_is_not_taken_for_milliseconds(written: object) -> None:
    with pytest.raises(ValueError, match=r"^is too large, for milliseconds also"):
        parse_instant(written)


@pytest.mark.parametrize(
    ("written", "ms"),
    [(0, 0), (5, 5_000), (Decimal("0.0001"), 1), (Decimal("-0.0"), 0), (Decimal("2.5"), 2_500)],
)
def test_delays(written: object, ms: int) -> None:
    assert parse_delay(written) == ms


@pytest.mark.parametrize("written", [-1, Decimal("-0.001"), 10**12, Decimal("1e12"), Decimal("Infinity")])
def test_bad_delays(written: object) -> None:
    with pytest.raises(ValueError, match=r"must be|too large"):
        parse_delay(written)


@pytest.mark.parametrize("ms", [0, 1, 999, 1_800_000_000_123, 5_974_000_000_999])
def test_what_is_shown_can_be_sent_back(ms: int) -> None:
    assert parse_instant(to_iso(ms)) == ms
    assert to_iso(ms) == f"{datetime.fromtimestamp(ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"
