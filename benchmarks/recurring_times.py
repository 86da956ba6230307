"""What the next run of a recurring schedule costs, by its definition: microseconds of processor time."""

from __future__ import annotations

import time
from contextlib import suppress

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.rules import Cron
from ringtime_shared.recurring.runs import next_after

STEPS = 2_000
ROUNDS = 5
START_MS = parse_instant("2026-01-27T00:00:00Z")
BERLIN = {"timeZone": "Europe/Berlin"}
DEFINITIONS: list[dict[str, object]] = [
    {"cronExpression": "* * * * *", "timeZone": "UTC"},
    {"cronExpression": "* * * * *", **BERLIN},
    {"cronExpression": "*/15 9-17 * * MON-FRI", **BERLIN},
    {"cronExpression": "30 2 * * *", **BERLIN},
    {"cronExpression": "30 2 * * *", "windowShare": 0.5, **BERLIN},
    {"cronExpression": "0 9 1 * *", **BERLIN},
    {"cronExpression": "0 0 29 2 *", **BERLIN},
    {"interval": {"every": 90, "unit": "seconds", "anchorTime": 0}, **BERLIN},
    {"interval": {"every": 1, "unit": "days", "anchorTime": 0}, **BERLIN},
    {"interval": {"every": 1, "unit": "months", "anchorTime": 0}, **BERLIN},
]
EXPRESSIONS = (
    "*/15 9-17 * * MON-FRI",
    "0 0 29 2 MON#5",
    "* * LW 2 */6",
    "* * */20 * 1L",
    ",".join(["*/1"] * 47) + " * * * *",
)


def step_us(fields: dict[str, object]) -> float:
    """Return what one step costs, of the best round; steps begin anew after five years."""
    times = parse_times(fields)
    next_after(times, START_MS)
    best = float("inf")
    for _ in range(ROUNDS):
        run = next_after(times, START_MS)
        begin = time.process_time()
        for _ in range(STEPS):
            assert run is not None
            after_ms = run.nominal_ms if run.nominal_ms < START_MS + 150_000_000_000 else START_MS
            run = next_after(times, after_ms, 1, key="x")
        best = min(best, (time.process_time() - begin) / STEPS)
    return best * 1e6


def parse_ms(expression: str) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        with suppress(InvalidRequest, ValueError):
            Cron(expression)
        best = min(best, time.process_time() - begin)
    return best * 1e3


def main() -> None:
    for fields in DEFINITIONS:
        print(f"{step_us(fields):8.1f} us a run    {fields}")
    for expression in EXPRESSIONS:
        print(f"{parse_ms(expression):8.2f} ms to read  {expression[:40]}")


if __name__ == "__main__":
    main()
