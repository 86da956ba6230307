"""One change that an operator made."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who changed what, when, from what to what. Never changed, never deleted by hand."""

    entry_id: UUID  #: makes entries of one millisecond differ; a write repeated is no second entry
    at_ms: int
    operator: str  #: who, as `ringctl` was told or as the system knows the user
    action: str  #: the command, for example `resize apply`
    subject: str  #: what it was done to: an app, a node, a schedule
    before: str = ""  #: JSON
    after: str = ""  #: JSON
