"""One change, and who asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import randbits
from typing import NamedTuple
from uuid import UUID

FAILED = (
    " failed"  #: ends the action of an entry that tells how a change ended which was not made, or may not be
)

_VERSION, _VARIANT = 7 << 76, 2 << 62  # of a UUID


class _EntryIds:
    """Ids that rise within a millisecond, and tell nobody how many there were before."""

    def __init__(self) -> None:
        self._at_ms = 0
        self._counter = 0

    def make(self, at_ms: int) -> UUID:
        """Return a UUID of version 7 that sorts after those that were made for this time or before."""
        is_same = at_ms == self._at_ms
        self._at_ms, self._counter = at_ms, self._counter + 1 if is_same else randbits(11)
        counter = self._counter & 0xFFF
        return UUID(int=at_ms << 80 | _VERSION | counter << 64 | _VARIANT | randbits(62))


new_entry_id = _EntryIds().make


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Who asks for what, as the one who took the request knows it."""

    action: str  #: the command, for example `resize apply`; of a route its subject and verb
    operator: str  #: the name `ringctl` was told; `key` and the id of an API key; or `anybody`
    source: str = ""  #: from where: the host of `ringctl`, the address of a client
    reason: str = ""  #: why, in the words of whoever asked
    request_id: str = ""


class EntryKey(NamedTuple):
    """The place of an entry in the log, which is in the order of these."""

    at_ms: int
    entry_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who changed what, when, from what to what. Never changed, never deleted by hand."""

    entry_id: UUID  #: makes entries of one millisecond differ; a write repeated is no second entry
    at_ms: int
    operator: str  #: see `Cause`
    action: str  #: see `Cause`; with `FAILED` behind it, of an entry about an earlier one
    subject: str  #: what it was done to: an app, a node, a schedule, `app/name`
    app_id: str = ""  #: whose it is; "": no app's
    source: str = ""
    before: str = ""  #: JSON of what changed, as it was
    after: str = ""  #: JSON of what changed, as it was to be; of one that failed `{"error": ...}`
    reason: str = ""
    request_id: str = ""
    about: UUID | None = None  #: of one that failed: the entry that was written before the change
    expires_ms: int = 0  #: when it goes; 0: never

    @property
    def key(self) -> EntryKey:
        """Its place in the log."""
        return EntryKey(self.at_ms, self.entry_id)
