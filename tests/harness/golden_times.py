"""What many definitions run at, as text: a line each of `tests/golden/recurring.txt`.

    .venv/bin/python -m tests.harness.golden_times > tests/golden/recurring.txt

writes it anew. A line that changes is a stored schedule that moves. By a new `tzdata` it may, from a date on
that lies ahead; say so in the changelog. By anything else it must not: what has another meaning gets another
dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import orjson

from ringtime_shared.api.instants import parse_instant, to_iso
from ringtime_shared.models.times import DstGap, DstOverlap, Omitted, Run, Times
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.runs import next_after, preview

FILE = Path(__file__).parents[1] / "golden" / "recurring.txt"
#: when clocks change, by zone, and days of interest where they do not
CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "America/St_Johns": ("2026-03-08T05:30", "2026-11-01T04:30"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "America/Asuncion": ("2024-03-24T03:00", "2024-10-06T04:00"),
    "Africa/Cairo": ("2026-04-23T22:00", "2026-10-29T21:00"),
    "Antarctica/Troll": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "Asia/Kolkata": ("2026-01-01T00:00", "2028-02-28T18:30"),
}
_RUNS = 5
_FIXED = ("30 2 * * *", "45 1 * * *", "30 0 * * *", "30 23 * * *")
_CRONS = (
    *_FIXED,
    "* * * * *",
    "*/20 * * * *",
    "30 * * * *",
    "5/25 0-3 * * *",
    "0,30 1-3 * * *",
    "15 */6 * * *",
    "0 9 * * MON-FRI",
    "0 9 1,15 * *",
    "0 9 L * *",
    "0 9 LW * *",
    "0 9 * * 5L",
    "0 9 * * 1#2",
    "0 9 13 * FRI",
    "0 9 */2 * MON",
    "0 9 * JAN,jul sun",
    "0 0 29 2 *",
    "0 0 30 2 MON",
    "0 0 31 * *",
    "@hourly",
    "@daily",
    "@weekly",
    "@monthly",
    "@yearly",
)
_EVERY = ((90, "seconds"), (45, "minutes"), (6, "hours"), (1, "days"), (2, "weeks"), (1, "months"))


def definitions() -> Iterator[dict[str, object]]:
    """Yield definitions, but for their zone."""
    for cron in _CRONS:
        yield {"cronExpression": cron}
    for every, unit in _EVERY:
        yield {"interval": {"every": every, "unit": unit, "anchorTime": "2023-12-31T00:30:00Z"}}
    for cron, (gap, overlap) in product((*_FIXED, "*/20 * * * *"), zip(DstGap, DstOverlap, strict=True)):
        if gap is not DstGap.CRON:
            yield {"cronExpression": cron, "dstGap": gap.value, "dstOverlap": overlap.value}
    yield {"cronExpression": "0 * * * *", "windowMs": 60_000}
    yield {"cronExpression": "0 9 * * MON-FRI", "windowShare": 0.25}
    yield {"cronExpression": "0 * * * *", "windowMs": 40_000, "windowSpread": "leastLoaded"}
    yield {"cronExpression": "0 9 * * MON-FRI", "windowShare": 0.25, "windowSpread": "leastLoaded"}


def lines() -> Iterator[str]:
    """Yield the lines of the file: runs from a day before a change, or from 50 minutes if there are many."""
    for fields in definitions():
        for zone, changes in CHANGES.items():
            times = parse_times(fields | {"timeZone": zone})
            for change in changes:
                text = orjson.dumps(fields).decode()
                ahead_ms = 3_000_000 if _is_dense(times) else 90_000_000
                shown = preview(times, _RUNS, parse_instant(f"{change}:00Z") - ahead_ms, key="golden")
                yield f"{text} {zone} {change}: " + ", ".join(_show(each) for each in shown)


def _is_dense(times: Times) -> bool:
    run = next_after(times, 0)
    following = run and next_after(times, run.nominal_ms)
    return bool(run and following and following.nominal_ms - run.nominal_ms <= 5_400_000)


def _show(each: Run | Omitted) -> str:
    effect = f" {each.effect.value}" if each.effect else ""
    if isinstance(each, Omitted):
        return f"({each.wall:%m-%d %H:%M}){effect}"
    late = f" +{each.effective_ms - each.nominal_ms}" if each.effective_ms > each.nominal_ms else ""
    return f"{to_iso(each.nominal_ms)[2:19]}{effect}{late}"


if __name__ == "__main__":
    print(*lines(), sep="\n")
