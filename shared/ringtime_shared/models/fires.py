"""How complete the outcomes of what was due are, and what an audit of them finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Status

MOST_LISTED = 10_000  #: findings of one audit that are kept; the rest is counted


class Waits(StrEnum):
    """Why a mark of completeness is where it is."""

    NOTHING = "NOTHING"  #: all that was due has its outcome
    NOT_SETTLED = "NOT_SETTLED"  #: rows of a minute may not be sent yet
    TRIED_AGAIN = "TRIED_AGAIN"  #: a schedule was sent, or was to be, and is to be sent again


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How far everything has its outcome."""

    from_ms: int  #: what was due before was not looked at
    through_ms: int  #: the last instant of it; less than `from_ms`: nothing is sure
    at_ms: int  #: when that was found
    waits: Waits = Waits.NOTHING
    instance: Instance | None = None  #: for whose rows it waits
    schedule_id: UUID | None = None  #: of TRIED_AGAIN; None: which one is being looked for

    @property
    def age_ms(self) -> int:
        """How far it lies in the past."""
        return max(self.at_ms - self.through_ms, 0)


class Reason(StrEnum):
    """What is wrong with a fire."""

    REMOVED = "REMOVED"
    PASSED_OVER = "PASSED_OVER"
    FILING_LOST = "FILING_LOST"
    UNREADABLE = "UNREADABLE"
    CHAIN_BROKEN = "CHAIN_BROKEN"
    TWO_OUTCOMES = "TWO_OUTCOMES"
    TWO_RUNS = "TWO_RUNS"

    @property
    def is_double(self) -> bool:
        """Whether there is an outcome too many; else there is none."""
        return self in (Reason.TWO_OUTCOMES, Reason.TWO_RUNS)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fire that has no outcome, or two."""

    schedule_id: UUID  #: of CHAIN_BROKEN: of the recurring schedule
    reason: Reason
    due_ms: int  #: the slot of its home row; of runs: the nominal time
    says: str  #: one sentence


@dataclass(slots=True)
class FireCounts:
    """What an audit has found, or a part of one."""

    ended: Counter[Status] = field(default_factory=Counter)  #: schedules with one outcome or more
    waiting: int = 0  #: are to be sent yet, or again
    gaps: int = 0
    doubles: int = 0
    findings: list[Finding] = field(default_factory=list)  #: the first `MOST_LISTED`

    @property
    def expected(self) -> int:
        """Fires that were asked for."""
        return self.ended.total() + self.waiting + self.gaps

    def find(self, finding: Finding) -> None:
        """Add a finding."""
        if finding.reason.is_double:
            self.doubles += 1
        else:
            self.gaps += 1
        if len(self.findings) < MOST_LISTED:
            self.findings.append(finding)

    def add(self, other: FireCounts) -> None:
        """Add what another part has."""
        self.ended.update(other.ended)
        self.waiting += other.waiting
        self.gaps += other.gaps
        self.doubles += other.doubles
        self.findings += other.findings[: MOST_LISTED - len(self.findings)]
