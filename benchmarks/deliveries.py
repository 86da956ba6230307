"""What was acknowledged against what came: lost, early, doubled, and how late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Filed(NamedTuple):
    """A schedule that was acknowledged."""

    schedule_id: str
    fire_ms: float
    acked_ms: float


def read_filed(file: Path) -> list[Filed]:
    """Read what the load generator wrote."""
    lines = (line.split(",") for line in file.read_text().splitlines())
    return [Filed(schedule_id, float(fire_ms), float(acked_ms)) for schedule_id, fire_ms, acked_ms in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """The judgement."""

    filed: int
    lost: int
    early: int
    doubled: int  #: callbacks beyond the first of a schedule
    lags_ms: Sequence[float] = field(repr=False)  #: from fire time, or answer if that was later; sorted
    per_s: float  #: from the first to the last

    def lag_ms(self, share: float) -> float:
        """Return the lag at this quantile, 0 to 1."""
        return (
            self.lags_ms[min(int(len(self.lags_ms) * share), len(self.lags_ms) - 1)] if self.lags_ms else 0.0
        )

    def faults(self) -> str:
        """Return what should be none, in words; empty if all is well."""
        named = {"lost": self.lost, "early": self.early, "doubled": self.doubled}
        return ", ".join(f"{count:,} {name}" for name, count in named.items() if count)


def judge(filed: Sequence[Filed], came: Mapping[str, Sequence[float]]) -> Deliveries:
    """Compare; instants are of one machine's clock, in ms."""
    first = {each.schedule_id: min(came[each.schedule_id]) for each in filed if each.schedule_id in came}
    lags_ms = sorted(
        first[each.schedule_id] - max(each.fire_ms, each.acked_ms)
        for each in filed
        if each.schedule_id in first
    )
    span_s = (max(first.values()) - min(first.values())) / 1000 if len(first) > 1 else 0.0
    return Deliveries(
        filed=len(filed),
        lost=len(filed) - len(first),
        early=sum(first[each.schedule_id] < each.fire_ms for each in filed if each.schedule_id in first),
        doubled=sum(len(came[key]) - 1 for key in first),
        lags_ms=lags_ms,
        per_s=len(first) / span_s if span_s else 0.0,
    )
