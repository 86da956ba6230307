"""Cron expressions read by croniter and by this service: where do they agree, and if not, why?

    .venv/bin/python -m tests.harness.cron_agreement [EXPRESSIONS] [SEED]

Random expressions in five zones over three years. From each of 42 instants both say the runs up to the next
instant, eight at most, so what runs rarely is compared whole and what runs often in 42 places, around every
change of the clocks among them. A difference needs a reason of those below; one without is an error.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

from croniter import croniter

from ringtime_shared.models.times import Times
from ringtime_shared.recurring.rules import cron_of
from ringtime_shared.recurring.runs import next_after
from ringtime_shared.recurring.zones import zone_of
from tests.harness.wall_times import Expression, info_of, make_expression

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "UTC")
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = 3
MOST_RUNS = 8
_DAY_S = 86_400

ONE_VALUE = "a-a: croniter reads a range of one value as the whole field"
STARRED = "*/n and a weekday: as in Debian's cron both must match; croniter takes either"
SUNDAY = "a/n of a weekday: the week goes up to 7, which is Sunday, too; croniter stops at 6"
EVERY = "a weekday such as 0-6 and a day: either matches, as in Debian's cron; croniter takes it for a *"
CLOCKS = "a change of the clocks: croniter has rules of its own, and no policy"
REASONS = (ONE_VALUE, STARRED, EVERY, SUNDAY, CLOCKS)


def compare(expressions: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Return how many comparisons ended how, by "agree" or the reason, and those that have none, in words."""
    rng = Random(seed)
    tally: Counter[str] = Counter()
    unexplained: list[str] = []
    while tally["expressions"] < expressions:
        expression = make_expression(rng)
        try:
            cron_of(expression.text)
        except ValueError:
            continue  # no day matches; what is refused has tests of its own
        tally["expressions"] += 1
        for zone in ZONES:
            for start_s, end_s in pairwise(_starts(zone)):
                ours, theirs = (
                    _ours(expression, zone, start_s, end_s),
                    _theirs(expression, zone, start_s, end_s),
                )
                tally["runs"] += len(ours)
                reason = (
                    "agree" if ours == theirs else _reason_for(expression, zone, start_s, [*ours, *theirs])
                )
                tally[reason or "no reason"] += 1
                if reason is None:
                    unexplained.append(
                        f"{expression.text} in {zone} from {start_s}: {ours}, croniter {theirs}"
                    )
    return tally, unexplained


def _starts(zone: str) -> list[int]:
    """Return instants over three years, every thirty-odd days and a day before each change of the clocks."""
    first = int(FIRST.timestamp())
    last = int(FIRST.replace(year=FIRST.year + YEARS).timestamp())
    starts = {first + n * (last - first) // 36 for n in range(37)}
    period = zone_of(zone).period_at(first * 1_000)
    while period.until_ms < last * 1_000:
        if period.after != period.offset:
            starts.add(period.until_ms // 1_000 - _DAY_S)
        period = zone_of(zone).period_at(period.until_ms)
    return sorted(starts)


def _ours(expression: Expression, zone: str, start_s: int, end_s: int) -> list[int]:
    times = Times(cron=expression.text, zone=zone)
    found: list[int] = []
    run = next_after(times, start_s * 1_000)
    while run is not None and run.nominal_ms < end_s * 1_000 and len(found) < MOST_RUNS:
        found.append(run.nominal_ms // 1_000)
        run = next_after(times, run.nominal_ms, run.index)
    return found


def _theirs(expression: Expression, zone: str, start_s: int, end_s: int) -> list[int]:
    steps = croniter(expression.text, datetime.fromtimestamp(start_s, UTC).astimezone(info_of(zone)))
    found: list[int] = []
    while len(found) < MOST_RUNS:
        at_s = int(steps.get_next(datetime).timestamp())
        if at_s >= end_s:
            break
        found.append(at_s)
    return found


def _reason_for(expression: Expression, zone: str, start_s: int, runs: list[int]) -> str | None:
    """Return why croniter may say otherwise."""
    _, _, days, _, weekdays = expression.text.split()
    if any(one == other for one, other in re.findall(r"(\w+)-(\w+)", expression.text)):
        return ONE_VALUE
    if "*" not in (days, weekdays) and (days.startswith("*") or weekdays.startswith("*")):
        return STARRED
    if "*" not in (days, weekdays) and (len(expression.days) == 31 or len(expression.weekdays) == 7):
        return EVERY
    if re.search(r"(^|,)\w+/", weekdays):
        return SUNDAY
    period = zone_of(zone).period_at(start_s * 1_000)
    if period.offset != period.after and any(abs(at_s - period.until_ms // 1_000) < _DAY_S for at_s in runs):
        return CLOCKS
    return None


def main() -> int:
    expressions = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    tally, unexplained = compare(expressions, seed)
    compared = sum(tally[each] for each in ("agree", "no reason", *REASONS))
    print(
        f"{tally['expressions']:,} expressions in {len(ZONES)} zones, {YEARS} years: {compared:,} comparisons"
    )
    print(f"{tally['runs']:,} runs")
    for each in ("agree", *REASONS, "no reason"):
        print(f"{tally[each]:>10,}  {each}")
    print(*unexplained[:20], sep="\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
