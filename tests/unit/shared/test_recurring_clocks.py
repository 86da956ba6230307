"""The tables of docs/recurring.md, computed: what becomes of planned times when clocks change."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.harness.wall_times import info_of

from ringtime_shared.models.times import DstGap, DstOverlap, Effect, Omitted, Run, Times
from ringtime_shared.recurring.parsing import KEYS
from ringtime_shared.recurring.runs import next_after, preview
from ringtime_shared.recurring.zones import from_wall

DAY_MS = 86_400_000
_PAGE = Path(__file__).parents[3] / "docs" / "recurring.md"


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of a table of the page, without its two first lines."""
    text = _PAGE.read_text("utf-8").split(f"### {heading}\n", 1)[1]
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


GAPS = rows_of("Gaps: the run of a fixed time")
OVERLAPS = rows_of("Overlaps: the runs of a fixed time")
STARRED = rows_of("Expressions with a star, by default")


def show(zone: str, instants: Iterable[int]) -> str:
    """Return instants as the page has them: wall time and offset."""
    return ", ".join(
        _show_one(datetime.fromtimestamp(ms / 1_000, UTC).astimezone(info_of(zone))) for ms in instants
    )


def _show_one(at: datetime) -> str:
    offset = at.strftime("%z")
    return at.strftime("%H:%M") + offset[:3] + (f":{offset[3:]}" if offset[3:] != "00" else "")


def instants(times: Times, low_ms: int, high_ms: int) -> list[int]:
    found: list[int] = []
    run = next_after(times, low_ms)
    while run is not None and run.nominal_ms < high_ms:
        found.append(run.nominal_ms)
        run = next_after(times, run.nominal_ms, run.index)
    return found


def fixed_at(
    wall: datetime, zone: str, gap: DstGap = DstGap.CRON, overlap: DstOverlap = DstOverlap.CRON
) -> list[int]:
    """Return the runs around a wall time of an expression that names it."""
    cron = f"{wall.minute} {wall.hour} {wall.day} {wall.month} *"
    middle = from_wall(wall)
    return instants(
        Times(cron=cron, zone=zone, dst_gap=gap, dst_overlap=overlap),
        middle - 2 * DAY_MS,
        middle + 2 * DAY_MS,
    )


@pytest.mark.parametrize("row", GAPS, ids=[row[0] for row in GAPS])
def test_a_time_in_a_gap(row: list[str]) -> None:
    zone, planned, clocks, *by_policy = row
    wall = datetime.fromisoformat(planned)

    assert [show(zone, fixed_at(wall, zone, gap=gap)) or "-" for gap in DstGap] == by_policy
    begin, end = clocks.split(" to ")
    before = wall.replace(hour=int(begin[:2]), minute=int(begin[3:])) - timedelta(minutes=1)
    after = wall.replace(hour=int(end[:2]), minute=int(end[3:]))
    assert fixed_at(after, zone)[0] - fixed_at(before, zone)[0] == 60_000  # the clocks do jump there


@pytest.mark.parametrize("row", OVERLAPS, ids=[row[0] for row in OVERLAPS])
def test_a_time_in_an_overlap(row: list[str]) -> None:
    zone, planned, clocks, *by_policy = row
    wall = datetime.fromisoformat(planned)
    begin, end = (timedelta(hours=int(each[:2]), minutes=int(each[3:])) for each in clocks.split(" to "))
    apart = fixed_at(wall, zone, overlap=DstOverlap.BOTH)

    assert [show(zone, fixed_at(wall, zone, overlap=overlap)) for overlap in DstOverlap] == by_policy
    assert timedelta(milliseconds=apart[1] - apart[0]) == (begin - end) % timedelta(days=1)


@pytest.mark.parametrize("row", STARRED, ids=[f"{row[1]} {row[2]}" for row in STARRED])
def test_an_expression_with_a_star(row: list[str]) -> None:
    cron, zone, start, expected = row
    low = int(datetime.fromisoformat(start).replace(tzinfo=info_of(zone)).timestamp() * 1_000)
    found = instants(Times(cron=cron, zone=zone), low, low + 2 * DAY_MS)[: len(expected.split(", "))]

    assert show(zone, found) == expected


def test_the_page_has_zones_of_every_kind() -> None:
    for rows in (GAPS, OVERLAPS):
        zones = {row[0] for row in rows}
        assert len(zones) >= 6
        assert zones > {
            "Australia/Lord_Howe",
            "Pacific/Auckland",
            "America/Asuncion",
            "Asia/Beirut",
            "Africa/Cairo",
        }


def test_the_page_names_every_key_of_a_definition() -> None:
    text = _PAGE.read_text("utf-8").split("## What a definition says", 1)[1].split("## ", 1)[0]

    assert set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in text.splitlines() if "|" in line))
    ) == set(KEYS)


def test_a_preview_tells_what_the_clocks_do() -> None:
    def effects(cron: str, day: str, n: int, **policy: object) -> list[Effect | None]:
        times = Times(cron=cron, zone="Europe/Berlin", **policy)  # type: ignore[arg-type]
        low = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1_000)
        return [each.effect for each in preview(times, n, low)]

    assert effects("30 2 * * *", "2026-03-28", 3) == [None, Effect.SHIFTED, None]
    assert effects("30 2 * * *", "2026-03-28", 2, dst_gap=DstGap.SKIP) == [None, Effect.SKIPPED, None]
    assert effects("30 2 * * *", "2026-10-24", 3) == [None, Effect.FIRST, None]
    assert effects("30 2 * * *", "2026-10-24", 3, dst_overlap=DstOverlap.SECOND) == [
        None,
        Effect.SECOND,
        None,
    ]
    assert effects("30 2 * * *", "2026-10-24", 3, dst_overlap=DstOverlap.BOTH) == [
        None,
        Effect.FIRST,
        Effect.SECOND,
    ]


def test_a_preview_of_every_minute_tells_of_a_gap_once() -> None:
    shown = preview(Times(cron="* * * * *", zone="Europe/Berlin"), 4, from_wall(datetime(2026, 3, 29, 0, 58)))  # noqa: DTZ001

    assert [each.wall.strftime("%H:%M") for each in shown] == [
        "01:59",
        "02:00",
        "03:00",
        "03:01",
        "03:02",
    ]
    assert isinstance(shown[1], Omitted)
    assert all(isinstance(each, Run) for each in (shown[0], *shown[2:]))


def test_a_planned_time_that_is_moved_onto_another_is_the_same_run() -> None:
    times = Times(cron="0,30 2-3 * * *", zone="Europe/Berlin", dst_gap=DstGap.SHIFT)
    shown = preview(times, 3, from_wall(datetime(2026, 3, 29, 0, 0)))  # noqa: DTZ001

    assert [(each.wall.strftime("%d %H:%M"), each.effect) for each in shown] == [
        ("29 03:00", None),
        ("29 03:30", None),
        ("30 02:00", None),
    ]
