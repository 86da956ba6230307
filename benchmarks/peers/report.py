"""The table and the picture: pure, from results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.peers.judging import Result

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
_TITLES = {
    "burst": "burst: all due at one instant",
    "kill": "kill: a burst, the worker killed in the middle and started again",
    "steady": "steady: creates one by one, each due 2 to 6 s later",
    "waiting": "waiting: steady, beside jobs that wait for days",
}
_HEAD = (
    "system",
    "jobs",
    "a second",
    "lag p50 ms",
    "p99",
    "max",
    "early",
    "lost",
    "stuck",
    "twice",
    "recovery s",
    "CPU us a job",
)
_COLOURS = ("#d62728", "#ff7f0e", "#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
_MORE_COLOURS = ("#bcbd22", "#000000")
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 60, 380, 190
_FROM_MS, _TO_MS = 1.0, 1e5  #: what the picture shows of the lags


def table(results: Sequence[Result]) -> str:
    """Return one Markdown table, a block for each scenario, in the order the results came in."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|---|" + "---:|" * (len(_HEAD) - 1)]
    for scenario, title in _TITLES.items():
        found = [each for each in results if each.scenario == scenario]
        if found:
            lines.append(f"| **{title}** |" + " |" * (len(_HEAD) - 1))
            lines += [_row(each) for each in found]
    return "\n".join(lines)


def _row(result: Result) -> str:
    judged = result.judged
    broken = judged.lost + judged.stuck
    recovery = "" if result.recovery_s is None else f"{result.recovery_s:.1f}"
    if result.recovery_s is not None and broken:
        recovery = f"not in {result.waited_s:.0f}"
    early = f"{judged.early:,} by up to {judged.earliest_ms:,.0f} ms" if judged.early else "0"
    parts = ", ".join(f"{name} {used:,.0f}" for name, used in result.cpu_us.items())
    cost = f"{sum(result.cpu_us.values()):,.0f}: {parts}" if len(result.cpu_us) > 1 else parts
    jobs = f"{judged.jobs:,}" + (f" beside {result.waiting:,}" if result.waiting else "")
    jobs += f", {result.note}" if result.note else ""
    cells = (
        result.system,
        jobs,
        f"{judged.per_s:,.0f}" if result.scenario == "burst" else "",
        *(_lag(each) for each in (judged.p50_ms, judged.p99_ms, judged.max_ms)),
        early,
        f"{judged.lost:,}",
        f"{judged.stuck:,}",
        f"{judged.duplicates:,}",
        recovery,
        cost,
    )
    return "| " + " | ".join(cells) + " |"


def _lag(value: float) -> str:
    return "never" if math.isnan(value) else f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"


def picture(results: Sequence[Result]) -> str:
    """Return an SVG: for each scenario, the share of jobs done by the time since they were due."""
    systems = list(dict.fromkeys(each.system for each in results))
    colours = dict(zip(systems, (*_COLOURS, *_MORE_COLOURS) * 2, strict=False))
    scenarios = [each for each in _TITLES if any(result.scenario == each for result in results)]
    plots = []
    for place, scenario in enumerate(scenarios):
        x = _LEFT + place % 2 * (_WIDTH + _LEFT + 30)
        y = _TOP + place // 2 * (_HEIGHT + _TOP + 30)
        found = [each for each in results if each.scenario == scenario]
        plots.append(f"<g transform='translate({x},{y})'>{_plot(scenario, found, colours)}</g>")
    rows = math.ceil(len(scenarios) / 2)
    key_y = rows * (_HEIGHT + _TOP + 30) + 20
    for number, system in enumerate(systems):
        x, y = _LEFT + number % 4 * 215, key_y + number // 4 * 20
        plots.append(f"<path d='M{x} {y - 4}h22' stroke='{colours[system]}' stroke-width='3'/>")
        plots.append(f"<text x='{x + 28}' y='{y}'>{escape(system)}</text>")
    width = 2 * (_WIDTH + _LEFT + 30)
    height = key_y + math.ceil(len(systems) / 4) * 20 + 10
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' "
        f"style='font-family:system-ui,sans-serif;font-size:12px'>"
        f"<rect width='100%' height='100%' fill='white'/>{''.join(plots)}</svg>\n"
    )


def _plot(scenario: str, results: Sequence[Result], colours: dict[str, str]) -> str:
    drawn = [f"<text y='-26' font-weight='bold'>{escape(_TITLES[scenario])}</text>"]
    drawn.append("<text y='-10' fill='#666'>share of jobs done, by the time since they were due</text>")
    for share in (0.0, 0.5, 1.0):
        y = _HEIGHT * (1 - share)
        drawn.append(f"<path d='M0 {y}H{_WIDTH}' stroke='#ddd'/>")
        drawn.append(f"<text x='-6' y='{y + 4}' text-anchor='end'>{share:.0%}</text>")
    for power, name in enumerate(("1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s")):
        x = _x(10.0**power)
        drawn.append(f"<path d='M{x:.1f} 0V{_HEIGHT}' stroke='#eee'/>")
        drawn.append(f"<text x='{x:.1f}' y='{_HEIGHT + 16}' text-anchor='middle'>{name}</text>")
    for result in results:
        lags = result.judged.quantiles
        points = [
            (_x(lag), _HEIGHT * (1 - number / (len(lags) - 1)))
            for number, lag in enumerate(lags)
            if math.isfinite(lag)
        ]
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            colour = colours[result.system]
            drawn.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.8'/>")
    return "".join(drawn)


def _x(lag_ms: float) -> float:
    """Where a lag is on the axis; what is less than it shows, early jobs too, is at its left end."""
    shown = min(max(lag_ms, _FROM_MS), _TO_MS)
    return _WIDTH * math.log(shown / _FROM_MS) / math.log(_TO_MS / _FROM_MS)


def put_between(page: str, section: str) -> str:
    """Return the page with the section between its marks, which are added at the end if it has none."""
    if BEGIN not in page:
        page = f"{page.rstrip()}\n\n{BEGIN}\n{END}\n" if page.strip() else f"{BEGIN}\n{END}\n"
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section.strip()}\n{END}{rest.split(END, 1)[1]}"
