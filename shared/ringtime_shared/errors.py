"""Every error a caller of Ringtime may meet.

RingtimeError
├── InvalidRequest        the caller's to fix: names each field and the rule it broke
│   └── SettingsError     the same for a configuration file or an environment variable
├── NotFound              no such app, schedule or signing secret
├── Conflict              the state of the thing forbids it
│   ├── AppExists
│   ├── AppInactive
│   ├── AppActive
│   ├── VersionConflict   somebody else changed the app in between
│   ├── AlreadyDone       too late to cancel: the schedule has its outcome
│   └── NotReplayable     the schedule has not failed, or was cancelled
├── StoreUnavailable      nothing was written; try again later
├── OutcomeUnknown        no answer from the store: the write may or may not have happened
├── LeaseLost             this node may not act as an owner any more
└── StartupError          a server, folder or schema that must be there is not; says which
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    """The request breaks one or more rules; all that were found are in `violations`."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(str(violation) for violation in violations))
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, rule: str) -> InvalidRequest:
        return cls([Violation(field, rule)])


class SettingsError(InvalidRequest):
    """A setting is unknown or its value is out of range; the field is the setting's key."""


class NotFound(RingtimeError):
    """There is no such thing."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no {kind} {key}")
        self.kind = kind
        self.key = key


class Conflict(RingtimeError):
    """The request is well formed, but the state of the thing forbids it."""


class AppExists(Conflict):
    """An app of that id is registered already."""


class AppInactive(Conflict):
    """The app is deactivated."""


class AppActive(Conflict):
    """The app is active already."""


class VersionConflict(Conflict):
    """The app was changed since it was read; read it again and decide again."""


class AlreadyDone(Conflict):
    """The schedule has its outcome; a cancel comes too late."""

    def __init__(self, schedule_id: str, status: str) -> None:
        super().__init__(f"schedule {schedule_id} is {status} already")
        self.status = status


class NotReplayable(Conflict):
    """The schedule is not one to file again."""

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


class OutcomeUnknown(RingtimeError):
    """The store gave no answer in time; the write may or may not have happened."""


class LeaseLost(RingtimeError):
    """The node's lease ran out; another node may own its poller instances by now."""


class StartupError(RingtimeError):
    """Something that must be there at start is missing or in the wrong state."""
