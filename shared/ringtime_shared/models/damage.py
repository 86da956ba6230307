"""A stored record that cannot be read, as it is noted for people."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One damaged record. The note is kept apart from the record, and for a month."""

    table: str  #: where the record is, as the schema calls it
    key: str  #: which one: its key columns, for a person who looks for it
    app_id: str
    fault: str  #: the column, and what is wrong with it; at most 200 characters
    found_ms: int
