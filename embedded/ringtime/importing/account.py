"""What a pass has counted, by app, and why what is not carried is not. Its size is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_REASONS = 500
_EXAMPLES = 3


@dataclass(slots=True)
class Counts:
    """Of one app, or of all."""

    schedules: int = 0  #: one-time schedules that were read, and runs that are carried like them
    crons: int = 0  #: that were read
    past: int = 0  #: due before the instant from which on schedules are carried
    ended: int = 0  #: due since, and goscheduler noted how they ended
    runs: int = 0  #: that goscheduler made of crons, and ours makes itself
    deleted: int = 0  #: crons that are deleted there
    refused: int = 0  #: cannot be carried; the reasons say why
    failed: int = 0  #: the server could not say: the next import goes on with them
    created: int = 0  #: filed by this pass; in a plan: would be
    there: int = 0  #: imported before

    @property
    def carried(self) -> int:
        """How many are to be found here after an import."""
        return self.created + self.there

    def add(self, other: Counts) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> Mapping[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Reason:
    """Why some were not carried."""

    count: int = 0
    ids: list[str] = field(default_factory=list)  #: the first few


@dataclass(slots=True)
class Account:
    """What a pass came to."""

    apps: dict[str, Counts] = field(default_factory=dict)
    registered: list[str] = field(default_factory=list)  #: apps, by this pass; in a plan: would be
    kept: list[str] = field(default_factory=list)  #: apps that were registered already, and stay as they are
    cancelled: Counter[str] = field(default_factory=Counter)  #: here, because they are gone there; by app
    reasons: dict[tuple[str, str, str], Reason] = field(default_factory=dict)  #: by app, kind, sentence
    warnings: list[str] = field(default_factory=list)

    def of(self, app_id: str) -> Counts:
        return self.apps.setdefault(app_id, Counts())

    def refuse(self, app_id: str, kind: str, why: str, subject: str) -> None:
        """Note why one is not carried."""
        key = (app_id, kind, why)
        if key not in self.reasons and len(self.reasons) >= MOST_REASONS:
            key = ("", kind, "other reasons")
        reason = self.reasons.setdefault(key, Reason())
        reason.count += 1
        if len(reason.ids) < _EXAMPLES:
            reason.ids.append(subject)

    @property
    def total(self) -> Counts:
        total = Counts()
        for counts in self.apps.values():
            total.add(counts)
        return total

    def to_json(self) -> Mapping[str, Any]:
        return {
            "apps": {app_id: counts.to_json() for app_id, counts in sorted(self.apps.items())},
            "total": self.total.to_json(),
            "registered": self.registered,
            "kept": self.kept,
            "cancelled": dict(self.cancelled),
            "notCarried": [
                {"appId": app_id, "kind": kind, "why": why, "count": reason.count, "examples": reason.ids}
                for (app_id, kind, why), reason in self.reasons.items()
            ],
            "warnings": self.warnings,
        }
