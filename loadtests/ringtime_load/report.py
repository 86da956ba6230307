"""`report.html` and its picture, `report.svg`: callbacks due and come, and their lag, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ringtime_load.account import Check, Tally
from ringtime_load.plan import Plan

_WIDTH, _HEIGHT, _LEFT, _TOP = 860, 200, 70, 34
_STYLE = "font-family:system-ui,sans-serif;font-size:13px"


def verdict(checks: Sequence[Check]) -> str:
    """Return the criteria as lines, the broken ones marked, and PASS or FAIL at the end."""
    width = max(len(check.what) for check in checks)
    lines = [
        f"{'ok  ' if check.is_kept else 'FAIL'}  {check.what:<{width}}  {check.found}  ({check.bound})"
        for check in checks
    ]
    return "\n".join([*lines, "PASS" if all(check.is_kept for check in checks) else "FAIL"])


def write(folder: Path, plan: Plan, tally: Tally, checks: Sequence[Check]) -> None:
    """Write `report.svg`, `report.html` and `verdict.txt` into the run's folder."""
    picture = draw(tally)
    (folder / "report.svg").write_text(picture)
    (folder / "verdict.txt").write_text(f"{tally}\n{verdict(checks)}\n")
    rows = "".join(
        f"<tr style='color:{'inherit' if check.is_kept else '#c22'}'><td>{escape(check.what)}</td>"
        f"<td>{escape(check.found)}</td><td>{escape(check.bound)}</td></tr>"
        for check in checks
    )
    outcome = "PASS" if all(check.is_kept for check in checks) else "FAIL"
    lines = (
        f"<!doctype html><meta charset=utf-8><title>{plan.shape}: {outcome}</title>",
        f"<body style='{_STYLE};margin:2em'><h1>{plan.shape}: {outcome}</h1>",
        f"<p>{plan.creates_per_s:,.0f} creates a second once level, {plan.seconds:,.0f} s, climbing for",
        f"{plan.ramp_s:,.0f} s, {plan.tenants:,} app{'' if plan.tenants == 1 else 's'}. ",
        f"{plan.warm_up_s:,.0f} s of warm-up before: what answers take is not judged in these, all else is. "
        if plan.warm_up_s
        else "",
        "<a href=locust.html>Requests over time, by Locust</a></p>",
        f"<p>{escape(str(tally))}</p><table cellpadding=4>",
        f"<tr><th align=left>criterion<th align=left>found<th align=left>bound</tr>{rows}</table>{picture}",
    )
    (folder / "report.html").write_text("\n".join(lines))


def draw(tally: Tally) -> str:
    """Return both plots as one SVG."""
    seconds = sorted(tally.seconds)
    found = [tally.seconds[second] for second in seconds]
    times = [float(second - seconds[0]) for second in seconds]
    plots = (
        _plot(
            "callbacks by the second they were due in",
            times,
            {
                "due": ("#999", [float(each.due) for each in found]),
                "come": ("#27a", [float(each.called) for each in found]),
            },
        ),
        _plot(
            "lag by the second they were due in, ms",
            times,
            {
                "p50": ("#27a", [each.lags.at(0.5) for each in found]),
                "p99": ("#d70", [each.lags.at(0.99) for each in found]),
                "max": ("#c22", [each.lags.largest for each in found]),
            },
        ),
    )
    step = _HEIGHT + _TOP + 40
    body = "".join(
        f"<g transform='translate({_LEFT},{_TOP + step * number})'>{plot}</g>"
        for number, plot in enumerate(plots)
    )
    size = f"0 0 {_WIDTH + _LEFT + 20} {step * len(plots)}"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='{size}' width='950' style='{_STYLE}'>"
        f"<rect width='100%' height='100%' fill='white'/>{body}</svg>"
    )


def _plot(title: str, times: Sequence[float], lines: dict[str, tuple[str, list[float]]]) -> str:
    top = max((value for _, values in lines.values() for value in values), default=0) or 1
    last = (times[-1] if times else 0) or 1
    drawn = [f"<text y='-12' font-weight='bold'>{escape(title)}</text>"]
    for share in (0, 0.5, 1):
        y = _HEIGHT * (1 - share)
        drawn.append(f"<path d='M0 {y}H{_WIDTH}' stroke='#ddd'/>")
        drawn.append(f"<text x='-8' y='{y + 4}' text-anchor='end'>{top * share:,.4g}</text>")
        drawn.append(
            f"<text x='{_WIDTH * share}' y='{_HEIGHT + 18}' text-anchor='middle'>{last * share:,.0f} s</text>"
        )
    for number, (name, (colour, values)) in enumerate(lines.items()):
        points = " ".join(
            f"{_WIDTH * at / last:.1f},{_HEIGHT * (1 - value / top):.1f}"
            for at, value in zip(times, values, strict=True)
        )
        drawn.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        drawn.append(f"<text x='{_WIDTH - 160 + 55 * number}' y='-12' fill='{colour}'>{name}</text>")
    return "".join(drawn)
