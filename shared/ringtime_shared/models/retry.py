"""What an app or a schedule asks for when an attempt fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """Each None stands for what the next one in line says: the schedule, its app, the server."""

    attempts: int | None = None  #: attempts in all, the first included
    first_delay_ms: int | None = None  #: bound of the first wait
    factor: float | None = None  #: what the bound is multiplied by after each failure
    max_delay_ms: int | None = None  #: largest bound, and the longest Retry-After that is followed
    max_age_s: int | None = None  #: give up this long after the fire time, whatever attempts are left
    statuses: tuple[str, ...] | None = None  #: HTTP statuses worth another attempt: "503", or "5xx" for all
