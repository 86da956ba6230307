"""Medians, spread and ratios of what was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

US_PER_ITEM = "cpu us"  #: microseconds of processor time an item
SHARE = "% of a core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one server showed in one round."""

    figures: dict[str, float]  #: by what the column says
    cpu: dict[str, float]  #: by process, in the unit of the step
    faults: str = ""  #: what must not be, in words
    foreign_share: float = 0.0  #: of the machine, that others took meanwhile
    compiling_share: float = 0.0  #: of `cpu`, that JVMs compiled in

    @property
    def cpu_all(self) -> float:
        return sum(self.cpu.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All rounds of a step, by server; one that could not do it has a reason instead."""

    step: str
    unit: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def spread(values: Sequence[float]) -> float:
    """Return the width of the range as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def render(results: Sequence[Result]) -> str:
    """Return a table for each step."""
    return "\n\n".join(_render_one(each) for each in results) + "\n"


def _render_one(result: Result) -> str:
    columns = list(
        dict.fromkeys(name for each in result.samples.values() for s in each for name in s.figures)
    )
    head = ["", *columns, f"{result.unit}: all", "spread", "ratio", "of each process"]
    lines = [head, ["---"] * len(head)]
    first = next(iter(result.samples.values()), None)
    reference = median(each.cpu_all for each in first) if first else 0.0
    for name, samples in result.samples.items():
        totals = [each.cpu_all for each in samples]
        processes = list(dict.fromkeys(key for each in samples for key in each.cpu))
        parts = [f"{key} {_number(median(each.cpu.get(key, 0.0) for each in samples))}" for key in processes]
        lines.append(
            [
                name,
                *(_number(median(each.figures.get(column, 0.0) for each in samples)) for column in columns),
                _number(median(totals)),
                f"{spread(totals):.0%}",
                f"{median(totals) / reference:.2f}" if reference else "-",
                ", ".join(parts) or "-",
            ]
        )
    told = [
        f"**{result.step}**, medians of {max((len(each) for each in result.samples.values()), default=0)}",
        "",
    ]
    told += ["| " + " | ".join(line) + " |" for line in lines] if result.samples else []
    told += [f"- {name}: {reason}" for name, reason in result.reasons.items()]
    for name, samples in result.samples.items():
        if faults := "; ".join(each.faults for each in samples if each.faults):
            told.append(f"- {name}: {faults}")
    if result.samples:
        most = max(each.foreign_share for samples in result.samples.values() for each in samples)
        told.append(f"- others took up to {most:.0%} of the machine")
        compiling = max(each.compiling_share for samples in result.samples.values() for each in samples)
        if compiling >= 0.005:
            told.append(f"- JVMs compiled in up to {compiling:.0%} of the processor time")
    return "\n".join(told)


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
