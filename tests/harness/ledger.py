"""What a client was told, and the judgement of it against what the receiver saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.harness.receiver import Arrival


@dataclass(slots=True)
class Create:
    """One create, written down before it is sent."""

    number: int
    fire_ms: int
    status: int | None = None  #: of the answer, or `client.REFUSED`, `BROKEN` or `TOO_LATE`
    schedule_id: str | None = None  #: None: not acknowledged
    acked_ms: float = 0.0
    cancel_tried: bool = False
    cancel_promised_ms: float | None = None  #: when the promise was received


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of what must be zero, and of what is bounded."""

    acknowledged: int
    lost: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    after_cancel: list[str] = field(default_factory=list)
    split: list[int] = field(default_factory=list)  #: unanswered creates delivered under several ids
    duplicates: int = 0
    lags_ms: Sequence[float] = ()  #: first delivery after max(fire time, acknowledgement), sorted

    def lag_ms(self, share: float) -> float:
        """Return the lag at this quantile, 0 to 1."""
        return self.lags_ms[min(int(len(self.lags_ms) * share), len(self.lags_ms) - 1)]

    def broken(self) -> list[str]:
        """Return what must not be, in words."""
        named: dict[str, Sequence[object]] = {
            "lost": self.lost,
            "early": self.early,
            "after cancel": self.after_cancel,
            "split": self.split,
        }
        return [f"{name}: {len(found)} {found[:5]}" for name, found in named.items() if found]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {len(self.lost)} lost, {len(self.early)} early, "
            f"{self.duplicates} duplicates, {len(self.after_cancel)} after cancel, "
            f"lag p50 {self.lag_ms(0.5):.0f} p99 {self.lag_ms(0.99):.0f} max {self.lag_ms(1):.0f} ms"
        )


def judge(creates: Sequence[Create], arrivals: Mapping[str, Sequence[Arrival]]) -> Verdict:
    """Compare the ledgers. Clocks are those of one machine."""
    acknowledged = [create for create in creates if create.schedule_id is not None]
    due = {create.schedule_id: create for create in acknowledged}
    ids_of: dict[str, set[str]] = {}
    for schedule_id, found in arrivals.items():
        for arrival in found:
            ids_of.setdefault(arrival.target, set()).add(schedule_id)
    first = {schedule_id: min(each.at_ms for each in found) for schedule_id, found in arrivals.items()}
    return Verdict(
        acknowledged=len(acknowledged),
        lost=[str(key) for key, create in due.items() if key not in first and not create.cancel_tried],
        early=[str(key) for key, create in due.items() if key in first and first[key] < create.fire_ms],
        after_cancel=[
            str(key)
            for key, create in due.items()
            if create.cancel_promised_ms is not None
            and any(each.at_ms > create.cancel_promised_ms for each in arrivals.get(str(key), ()))
        ],
        split=[
            create.number for create in creates if len(ids_of.get(f"/callback?n={create.number}", ())) > 1
        ],
        duplicates=sum(len(found) - 1 for found in arrivals.values()),
        lags_ms=sorted(
            first[str(key)] - max(create.fire_ms, create.acked_ms)
            for key, create in due.items()
            if key in first
        ),
    )
