"""An app in the shadow of goscheduler: which of the two delivers what, and what came by the tap.

What holds is in `ringtime_shared.shadow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

#: what is recorded of a row that goscheduler delivers, as a MISS: no release before could read a new status
LEFT_TO_GOSCHEDULER = "shadow: goscheduler delivers it"


class Side(StrEnum):
    """Who delivers."""

    GOSCHEDULER = "goscheduler"
    RINGTIME = "ringtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """From a fire time on, another side delivers."""

    at_ms: int  #: fire times from here on
    to: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What an operator has said of an app's move. It is added to; what was decided is never taken back."""

    begun_ms: int
    handovers: tuple[Handover, ...] = ()  #: each later than the one before, and to the other side
    is_over: bool = False  #: nothing is forwarded any more, and there is no way back

    def side_at(self, fire_ms: int) -> Side:
        """Return who delivers a twin of this fire time."""
        for each in reversed(self.handovers):
            if fire_ms >= each.at_ms:
                return each.to
        return Side.GOSCHEDULER


def side_of(shadow: Shadow | None, fire_ms: int) -> Side:
    """Return who delivers a schedule that has a twin, by what is known of its app. None: it was read before
    the shadow began, and so before there was any handover."""
    return Side.GOSCHEDULER if shadow is None else shadow.side_at(fire_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One call of goscheduler's that came by the tap."""

    app_id: str
    schedule_id: UUID  #: Ringtime's
    tap_id: UUID  #: another for each call
    fire_ms: int
    at_ms: int  #: when it came
    expires_ms: int  #: it is forgotten then
    is_passed: bool  #: it was goscheduler's to deliver, and passed on; else it went no further
    took_ms: int | None = None  #: until the receiver had answered; None: it was not asked, or is being asked
    code: int | None = None  #: what it answered
    error: str = ""  #: why it did not, at most 200 characters

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.is_passed and self.code is not None and 200 <= self.code < 300
