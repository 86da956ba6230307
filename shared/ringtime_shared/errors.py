"""Every error a caller of Ringtime may meet.

RingtimeError
├── InvalidRequest        the caller's to fix: names each field and the rule it broke
│   └── SettingsError     the same for a configuration file or an environment variable
├── NotFound              no such app, schedule or signing secret
├── Conflict              the state of the thing forbids it
│   ├── AppExists
│   ├── LimitReached      the deployment holds as much as its settings allow
│   ├── LiveSchedules     the app has schedules that are still to fire
│   ├── AppInactive
│   ├── AppActive
│   ├── VersionConflict   somebody else changed the app in between
│   ├── Damaged           what is stored of it cannot be read
│   ├── AlreadyDone       too late to cancel: the schedule has its outcome
│   └── NotReplayable     the schedule has not failed, or was cancelled
├── StoreUnavailable      nothing was written; try again later
│   ├── ClockInDoubt      this node's wall clock cannot be relied on
│   ├── DiskFull          there is no room; what is filed is fired all the same
│   └── FolderLost        the files were taken from under the server, which stops
├── OutcomeUnknown        no answer from the store: the write may or may not have happened
│   └── MarksAhead        the schedule was written where a false clock has been: fires perhaps late
├── LeaseLost             this node may not act as an owner any more
└── StartupError          a server, folder or schema that must be there is not; says which
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WHOLE_BODY = "body"  #: the field of a violation that is about a request body as such
MOST_TOLD = 50  #: violations of one request, lest the answer be longer than the request


class RingtimeError(Exception):
    """Root of the tree; catch it to catch all of them."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field broke."""

    field: str  #: as the caller spelled it, with dots into objects: `callback.details.url`
    rule: str  #: what would have been right

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class InvalidRequest(RingtimeError):
    """The request breaks one or more rules; all that were found are in `violations`, each fault once."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = self._to_tell(violations)
        super().__init__("; ".join(str(violation) for violation in self.violations))

    @staticmethod
    def _to_tell(violations: Sequence[Violation]) -> tuple[Violation, ...]:
        return told_once(violations)

    @classmethod
    def of(cls, field: str, rule: str) -> InvalidRequest:
        return cls([Violation(field, rule)])


def told_once(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """Return the first violation of each field, at most `MOST_TOLD`.

    What is inside a field that is at fault is left out, and everything when the body itself is: `callback`
    that is a list has no `callback.type` either, which is no second fault.
    """
    told: dict[str, Violation] = {}
    for violation in violations:
        if not _is_told(violation.field, told):
            told[violation.field] = violation
    return tuple(told.values())[:MOST_TOLD]


def _is_told(field: str, told: Mapping[str, Violation]) -> bool:
    if field in told or WHOLE_BODY in told:
        return True
    return any(field[:place] in told for place, letter in enumerate(field) if letter == ".")


class SettingsError(InvalidRequest):
    """A setting is unknown or its value is out of range; the field is the setting's key. Every rule that a
    setting breaks is told: each try costs a start."""

    @staticmethod
    def _to_tell(violations: Sequence[Violation]) -> tuple[Violation, ...]:
        return tuple(violations)


class NotFound(RingtimeError):
    """There is no such thing."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no {kind} {key}")
        self.kind = kind
        self.key = key


class Conflict(RingtimeError):
    """The request is well formed, but the state of the thing forbids it.

    `field` is what the caller would have to change, as `Violation.field` has it, or the id of the thing.
    """

    field = "appId"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        if field is not None:
            self.field = field


class AppExists(Conflict):
    """An app of that id is registered already."""


class LimitReached(Conflict):
    """The deployment holds as many apps, or partitions, as its settings allow."""


class LiveSchedules(Conflict):
    """The app has schedules without an outcome, so it is not deleted."""


class AppInactive(Conflict):
    """The app is deactivated, or being deleted."""


class AppActive(Conflict):
    """The app is active already."""


class VersionConflict(Conflict):
    """The app was changed since it was read; read it again and decide again."""


class Damaged(Conflict):
    """What is stored of one thing cannot be read, or says what cannot be. Nothing else is affected."""

    def __init__(self, kind: str, key: str, fault: str) -> None:
        super().__init__(
            f"what is stored of {kind} {key} cannot be read: {fault}",
            "scheduleId" if kind == "schedule" else "appId",
        )
        self.kind = kind
        self.key = key
        self.fault = fault  #: the column, and what is wrong with it


class AlreadyDone(Conflict):
    """The schedule has its outcome; a cancel comes too late."""

    field = "scheduleId"

    def __init__(self, schedule_id: str, status: str) -> None:
        super().__init__(f"schedule {schedule_id} is {status} already")
        self.status = status


class NotReplayable(Conflict):
    """The schedule is not one to file again."""

    field = "scheduleId"

    def __init__(
        self,
        schedule_id: str,
        status: str,
        why: str = "only a FAILURE that was not cancelled can be replayed",
    ) -> None:
        super().__init__(f"schedule {schedule_id} is {status}: {why}")
        self.status = status


class StoreUnavailable(RingtimeError):
    """The store refused or could not be reached before anything was written."""


class DiskFull(StoreUnavailable):
    """The disk takes no more; nothing was written."""


class FolderLost(StoreUnavailable):
    """The data folder is not the one that was opened any more; nothing was written."""


class OutcomeUnknown(RingtimeError):
    """The store gave no answer in time; the write may or may not have happened."""


class ClockInDoubt(StoreUnavailable):
    """The wall clock of this node cannot be relied on; nothing was written."""

    def __init__(self, doubt: str) -> None:
        super().__init__(f"this server's clock is in doubt and nothing was written; try again later: {doubt}")


class MarksAhead(OutcomeUnknown):
    """The schedule was written, but its owner's marks lie in the future: a false clock set them."""

    def __init__(self, instance: str, ahead_ms: int) -> None:
        super().__init__(
            f"the outcome is unknown: the schedule exists, but {instance} is marked as read up to"
            f" {ahead_ms / 1_000:,.0f} s ahead of now, which only a false clock can have done; it fires late,"
            " once a dispatcher has put that right"
        )


class LeaseLost(RingtimeError):
    """The node's lease ran out; another node may own its poller instances by now."""


class StartupError(RingtimeError):
    """Something that must be there at start is missing or in the wrong state."""
