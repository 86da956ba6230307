"""A calendar of an app, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from ringtime_shared.models.times import Exclusions


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """When nothing runs of the definitions that name it. Each write raises `revision`."""

    app_id: str
    name: str  #: unique in its app
    revision: int = 1
    changed_ms: int
    exclusions: Exclusions
    is_deleted: bool = False  #: no definition may name it anew; one that did meanwhile goes by it
    damage: str = ""  #: why what is stored cannot be read; then other fields say nothing. Never stored
