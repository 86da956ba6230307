"""What a caller may do, and with whose apps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """One kind of things that a caller may be granted to do. A word is never renamed: keys have it."""

    meaning: str  #: for the documents

    def __new__(cls, word: str, meaning: str) -> Scope:
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    SCHEDULES_READ = (
        "schedules:read",
        "read apps, schedules, recurring schedules, runs, calendars, bulk jobs and dead letters",
    )
    SCHEDULES_WRITE = (
        "schedules:write",
        "create, change, cancel and trigger schedules, recurring ones too; calendars and bulk jobs",
    )
    DEADLETTERS_REPLAY = "deadletters:replay", "send again what was given up"
    APPS_ADMIN = (
        "apps:admin",
        "register, configure, activate, deactivate and delete apps; their signing secrets and audit logs",
    )
    RING_OPERATE = (
        "ring:operate",
        "operate the deployment: what concerns all apps at once, and the audit log of all",
    )
    METRICS_READ = "metrics:read", "read counts of requests"


SCOPES: Mapping[str, Scope] = {scope.value: scope for scope in Scope}  #: by their words


@dataclass(frozen=True, slots=True)
class Grant:
    """What one may do. The app of a request is never taken from the request alone: it is among `apps`."""

    scopes: frozenset[Scope]
    apps: frozenset[str] | None  #: ids; None: all there are, and those to come

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    def sees(self, app_id: str) -> bool:
        """Whether this app exists, as far as who has this grant is to know."""
        return self.apps is None or app_id in self.apps


def grant_of(scopes: Iterable[Scope], apps: Iterable[str] | None) -> Grant:
    """Return the grant of these scopes for these apps; None: for all."""
    return Grant(frozenset(scopes), None if apps is None else frozenset(apps))


EVERYTHING = grant_of(Scope, None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    who: str  #: `key <id>`, `operator <name>`, or `anybody`; for logs and the audit log
    grant: Grant
    key_id: str = ""  #: of the API key; "": it was none
    label: str = ""  #: of the API key
    requests_per_second: int | None = None  #: of the API key; None: as the settings say
    creates_per_second: int | None = None


def caller_to_json(caller: Caller) -> dict[str, object]:
    """Return who asks and what he may do, as the API tells it to himself."""
    grant = caller.grant
    shown: dict[str, object] = {
        "who": caller.who,
        "scopes": [scope.value for scope in Scope if scope in grant.scopes],
    }
    return shown if grant.apps is None else shown | {"apps": sorted(grant.apps)}


def operator(name: str) -> Caller:
    """Return who works on the store itself, as `ringctl` does: nothing keeps him from anything."""
    return Caller(f"operator {name}", EVERYTHING)


ANYBODY = Caller("anybody", EVERYTHING)  #: where keys are off
