"""The log of who changed what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """The audit log. Set the same values for every process and for `ringctl`."""

    keep_days: Annotated[int, Meta(ge=0, le=7_300)] = 1_096
    """How long an entry is kept, in days, by the setting at the time of the change. 0: for ever."""
