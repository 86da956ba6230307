"""Every error a caller of Ringtime may meet.

RingtimeError
├── InvalidRequest        the caller's to fix: names each field and the rule it broke
│   └── SettingsError     the same for a configuration file or an environment variable
├── NotFound              no such app, schedule, recurring schedule or signing secret
├── Unauthenticated       no API key, or none that is good
├── Forbidden             the key is good, and lacks a scope
├── Conflict              the state of the thing forbids it
│   ├── AppExists
│   ├── LimitReached      the deployment holds as much as its settings allow
│   ├── LiveSchedules     the app has schedules that are still to fire
│   ├── AppInactive
│   ├── AppActive
│   ├── VersionConflict   somebody else changed the app, or recurring schedule, in between
│   ├── Damaged           what is stored of it cannot be read
│   ├── AlreadyDone       too late to cancel: the schedule has its outcome
│   ├── NotReplayable     the schedule has not failed, or was cancelled
│   ├── KeyReused         the idempotency key stands for a create that asked for something else
│   ├── InFlight          the first create of this idempotency key, or name, is under way
│   └── NotChangeable     the schedule is over, or is being sent
├── StoreUnavailable      nothing was written; try again later
│   ├── ClockInDoubt      this node's wall clock cannot be relied on
│   ├── UpstreamUnavailable  goscheduler, which an app in shadow needs, took nothing
│   ├── RateLimited       more than a limit of the key or the app allows
│   ├── DiskFull          there is no room; what is filed is fired all the same
│   └── FolderLost        the files were taken from under the server, which stops
├── OutcomeUnknown        no answer from the store: the write may or may not have happened
│   └── MarksAhead        the schedule was written where a false clock has been: fires perhaps late
├── SecretUnreadable      a secret cannot be decrypted here
├── LeaseLost             this node may not act as an owner any more
└── StartupError          a server, folder or schema that must be there is not; says which

What the API answers says which of these it is in `status.error`: the class's `word`, one of `ErrorWord`. The
sentences are for people, and may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

WHOLE_BODY = "body"  #: the field of a violation that is about a request body as such
MOST_TOLD = 50  #: violations of one request, lest the answer be longer than the request


class ErrorWord(StrEnum):
    """What went wrong, as `status.error` of an answer says it. A word is never renamed: programs go by it."""

    meaning: str  #: for the documents

    def __new__(cls, word: str, meaning: str) -> ErrorWord:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    INVALID_REQUEST = "INVALID_REQUEST", "a value breaks a rule; `errors` names each field and its rule"
    UNREADABLE = "UNREADABLE", "the body is not JSON, or is encoded in a way that is not served"
    NOT_FOUND = "NOT_FOUND", "no such app, schedule, recurring schedule or signing secret"
    UNAUTHENTICATED = (
        "UNAUTHENTICATED",
        "no API key, or none that is good: send one as `Authorization: Bearer rt_...`",
    )
    FORBIDDEN = "FORBIDDEN", "the API key does not grant this; `details.scope` names the scope that does"
    CONFLICT = "CONFLICT", "the state of the thing forbids it, in a way that has no word of its own"
    APP_EXISTS = "APP_EXISTS", "an app of that id is registered with another quota"
    LIMIT_REACHED = "LIMIT_REACHED", "the server holds as many apps or partitions as its settings allow"
    LIVE_SCHEDULES = "LIVE_SCHEDULES", "the app to delete has schedules that are still to fire"
    APP_INACTIVE = "APP_INACTIVE", "the app is deactivated, or being deleted"
    APP_ACTIVE = "APP_ACTIVE", "the app is active already"
    VERSION_CONFLICT = (
        "VERSION_CONFLICT",
        "somebody else changed the app or recurring schedule at the same time, or it is at another revision",
    )
    DAMAGED = "DAMAGED", "what is stored of the thing cannot be read; `details.fault` says why"
    ALREADY_DONE = "ALREADY_DONE", "too late to cancel: `details.scheduleStatus` is the schedule's outcome"
    NOT_REPLAYABLE = (
        "NOT_REPLAYABLE",
        "the schedule cannot be replayed: `details` has its `scheduleStatus`, and the `reason`",
    )
    KEY_REUSED = (
        "KEY_REUSED",
        "the idempotency key stands for an earlier create that asked for something else",
    )
    IN_FLIGHT = "IN_FLIGHT", "the first create of this idempotency key or name is under way; try again soon"
    NOT_CHANGEABLE = (
        "NOT_CHANGEABLE",
        "the schedule is over, is being sent, or is a run: `details` has `scheduleStatus` and the `reason`",
    )
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE", "nothing was written; try again later"
    CLOCK_IN_DOUBT = "CLOCK_IN_DOUBT", "the server's clock cannot be relied on; nothing was written"
    DISK_FULL = "DISK_FULL", "there is no room; nothing was written"
    FOLDER_LOST = "FOLDER_LOST", "the server's files were taken from under it; nothing was written"
    UPSTREAM_UNAVAILABLE = (
        "UPSTREAM_UNAVAILABLE",
        "goscheduler, in whose shadow the app is, could not be reached; nothing was written",
    )
    OUTCOME_UNKNOWN = (
        "OUTCOME_UNKNOWN",
        "the store gave no answer, or had too few replicas for a part of it: it may have been done, or not",
    )
    MARKS_AHEAD = "MARKS_AHEAD", "the schedule was written where a false clock has been, and may fire late"
    BODY_TOO_LARGE = (
        "BODY_TOO_LARGE",
        "the body is longer than `server.max_body_bytes`, or `server.max_batch_bytes`",
    )
    TOO_SLOW = "TOO_SLOW", "headers or body did not arrive in time; nothing was done"
    SERVER_BUSY = "SERVER_BUSY", "too many requests, connections or bytes at once; nothing was done"
    RATE_LIMITED = (
        "RATE_LIMITED",
        "more than a limit of the app or the API key allows, which `details.limit` names; nothing was done",
    )
    NOT_READY = "NOT_READY", "the server's health check fails; the sentence says why where it may"
    NO_SUCH_PATH = "NO_SUCH_PATH", "nothing is served at this path"
    METHOD_NOT_ALLOWED = (
        "METHOD_NOT_ALLOWED",
        "the path is served, the method is not; `Allow` lists those that are",
    )
    MALFORMED_HTTP = "MALFORMED_HTTP", "the request is not HTTP as this server reads it"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE", "the headers are longer, or more, than the server reads"
    FOREIGN_PAGE = "FOREIGN_PAGE", "a web page of another origin sent the request"
    UNKNOWN_HOST = "UNKNOWN_HOST", "`Host` is no name of this service"
    NOT_JSON = "NOT_JSON", "the content type of the body is not `application/json`"
    INTERNAL_ERROR = "INTERNAL_ERROR", "a bug; the server's log has it"


class RingtimeError(Exception):
    """Root of the tree; catch it to catch all of them."""

    #: what an answer calls it; an error that never leaves the process keeps that of a bug
    word: ClassVar[ErrorWord] = ErrorWord.INTERNAL_ERROR

    def details(self) -> Mapping[str, str]:
        """Return facts for programs, by name, that stand in no other field of the answer."""
        return {}


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field broke."""

    field: str  #: as the caller spelled it, with dots into objects: `callback.details.url`
    rule: str  #: what would have been right

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class InvalidRequest(RingtimeError):
    """The request breaks one or more rules; all that were found are in `violations`, each fault once."""

    word = ErrorWord.INVALID_REQUEST

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = self._to_tell(violations)
        super().__init__("; ".join(str(violation) for violation in self.violations))

    @staticmethod
    def _to_tell(violations: Sequence[Violation]) -> tuple[Violation, ...]:
        return told_once(violations)

    @classmethod
    def of(cls, field: str, rule: str) -> Self:
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
    """The app, schedule or signing secret that was asked for does not exist."""

    word = ErrorWord.NOT_FOUND

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no {kind} {key}")
        self.kind = kind
        self.key = key


class Unauthenticated(RingtimeError):
    """The request has no API key, or none that is good. What is wrong with it is not told: that a key was
    revoked, or is no key at all, is nobody's business who does not have it."""

    word = ErrorWord.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("needs an API key: send one that is good as `Authorization: Bearer rt_...`")


class Forbidden(RingtimeError):
    """The API key is good, and does not grant this."""

    word = ErrorWord.FORBIDDEN

    def __init__(self, scope: str, why: str = "") -> None:
        super().__init__(why or f"the API key lacks the scope {scope}")
        self.scope = scope

    def details(self) -> Mapping[str, str]:
        return {"scope": self.scope}


class Conflict(RingtimeError):
    """The request is well formed, but the state of the thing forbids it.

    `field` is what the caller would have to change, as `Violation.field` has it, or the id of the thing.
    """

    word = ErrorWord.CONFLICT

    field = "appId"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        if field is not None:
            self.field = field


class AppExists(Conflict):
    """An app of that id is registered already."""

    word = ErrorWord.APP_EXISTS


class LimitReached(Conflict):
    """The deployment holds as many apps, or partitions, as its settings allow."""

    word = ErrorWord.LIMIT_REACHED


class LiveSchedules(Conflict):
    """The app has schedules without an outcome, so it is not deleted."""

    word = ErrorWord.LIVE_SCHEDULES


class AppInactive(Conflict):
    """The app is deactivated, or being deleted."""

    word = ErrorWord.APP_INACTIVE


class AppActive(Conflict):
    """The app is active already."""

    word = ErrorWord.APP_ACTIVE


class VersionConflict(Conflict):
    """The thing was changed since it was read; read it again and decide again."""

    word = ErrorWord.VERSION_CONFLICT


class Damaged(Conflict):
    """What is stored of one thing cannot be read, or holds impossible values. Nothing else is affected."""

    word = ErrorWord.DAMAGED

    def __init__(self, kind: str, key: str, fault: str) -> None:
        super().__init__(
            f"what is stored of {kind} {key} cannot be read: {fault}",
            "appId" if kind == "app" else "scheduleId",
        )
        self.kind = kind
        self.key = key
        self.fault = fault  #: the column, and what is wrong with it

    def details(self) -> Mapping[str, str]:
        return {"fault": self.fault}


class AlreadyDone(Conflict):
    """The schedule has its outcome; a cancel comes too late."""

    word = ErrorWord.ALREADY_DONE

    field = "scheduleId"

    def __init__(self, schedule_id: str, status: str) -> None:
        super().__init__(f"schedule {schedule_id} is {status} already")
        self.status = status

    def details(self) -> Mapping[str, str]:
        return {"scheduleStatus": self.status}


class NotReplayable(Conflict):
    """The schedule cannot be replayed: it has not failed, or was cancelled."""

    word = ErrorWord.NOT_REPLAYABLE

    field = "scheduleId"

    def __init__(
        self,
        schedule_id: str,
        status: str,
        why: str = "only a FAILURE that was not cancelled can be replayed",
    ) -> None:
        super().__init__(f"schedule {schedule_id} is {status}: {why}")
        self.status = status
        self.why = why

    def details(self) -> Mapping[str, str]:
        return {"scheduleStatus": self.status, "reason": self.why}


class KeyReused(Conflict):
    """The idempotency key stands for an earlier create that asked for something else."""

    word = ErrorWord.KEY_REUSED

    field = "idempotencyKey"

    def __init__(
        self, message: str = "stands for another schedule: take a new key", field: str | None = None
    ) -> None:
        super().__init__(message, field)


class InFlight(Conflict):
    """The first create of this idempotency key, or name, is under way, or was broken off just now."""

    word = ErrorWord.IN_FLIGHT

    field = "idempotencyKey"

    def __init__(
        self, message: str = "the first create is under way; try again in a moment", field: str | None = None
    ) -> None:
        super().__init__(message, field)


class NotChangeable(Conflict):
    """The schedule cannot be changed: it is over, an attempt was made or is about to be, or it is a run."""

    word = ErrorWord.NOT_CHANGEABLE

    field = "scheduleId"

    def __init__(self, schedule_id: str, status: str, why: str) -> None:
        super().__init__(f"schedule {schedule_id} is {status}, and cannot be changed: {why}")
        self.status = status
        self.why = why

    def details(self) -> Mapping[str, str]:
        return {"scheduleStatus": self.status, "reason": self.why}


class StoreUnavailable(RingtimeError):
    """The store refused or could not be reached before anything was written."""

    word = ErrorWord.STORE_UNAVAILABLE


class UpstreamUnavailable(StoreUnavailable):
    """goscheduler, in whose shadow an app is, took nothing, and nothing was written."""

    word = ErrorWord.UPSTREAM_UNAVAILABLE


class RateLimited(StoreUnavailable):
    """A limit of the app, or of the API key, allows no more just now; nothing was done."""

    word = ErrorWord.RATE_LIMITED

    def __init__(self, limit: str, wait_s: float, message: str | None = None) -> None:
        """
        Args:
            limit: its name, as the `RateLimit` header has it.
            wait_s: for how long, by what is known; 0: unknown.
        """
        super().__init__(message or f"more than the limit {limit} allows; try again in {wait_s:,.1f} s")
        self.limit = limit
        self.wait_s = wait_s

    def details(self) -> Mapping[str, str]:
        return {"limit": self.limit}


class DiskFull(StoreUnavailable):
    """The disk takes no more; nothing was written."""

    word = ErrorWord.DISK_FULL


class FolderLost(StoreUnavailable):
    """The data folder is not the one that was opened any more; nothing was written."""

    word = ErrorWord.FOLDER_LOST


class OutcomeUnknown(RingtimeError):
    """The store gave no answer in time, or one that says this of a part of the write only; it may or may not
    have happened."""

    word = ErrorWord.OUTCOME_UNKNOWN


class ClockInDoubt(StoreUnavailable):
    """The wall clock of this node cannot be relied on; nothing was written."""

    word = ErrorWord.CLOCK_IN_DOUBT

    def __init__(self, doubt: str) -> None:
        super().__init__(f"this server's clock is in doubt and nothing was written; try again later: {doubt}")


class MarksAhead(OutcomeUnknown):
    """The schedule was written, but its owner's marks lie in the future: a false clock set them."""

    word = ErrorWord.MARKS_AHEAD

    def __init__(self, instance: str, ahead_ms: int) -> None:
        super().__init__(
            f"the outcome is unknown: the schedule exists, but {instance} is marked as read up to"
            f" {ahead_ms / 1_000:,.0f} s ahead of now, which only a false clock can have done; it fires late,"
            " once a dispatcher has put that right"
        )


class SecretUnreadable(RingtimeError):
    """A secret cannot be decrypted by this process: it has not the key, or what is stored was altered."""


class LeaseLost(RingtimeError):
    """The node's lease ran out; another node may own its poller instances by now."""


class StartupError(RingtimeError):
    """Something that must be there at start is missing or in the wrong state."""
