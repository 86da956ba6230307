"""What an app or a schedule asks for when an attempt fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ringtime_shared.models.setting import Setting

_WEEK_MS = 604_800_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """Each None stands for what the next one in line says: the schedule, its app, the server.

    A bound that is a name is one of `ringtime_shared.apps.retry_rules.RetryBounds`.
    """

    attempts: Annotated[
        int | None,
        Setting(
            "attempts",
            "Attempts in all, the first included. A schedule: no more than its app.",
            most="max_http_attempts",
            unset="limits.http_attempts",
        ),
    ] = None
    first_delay_ms: Annotated[
        int | None,
        Setting(
            "firstDelayMs",
            "Bound of the first wait; a wait is random up to its bound, 1 s at least.",
            unit="milliseconds",
            most=_WEEK_MS,
            unset="retry.first_delay_ms",
        ),
    ] = None
    factor: Annotated[
        float | None,
        Setting(
            "factor",
            "What the bound is multiplied by after each failure.",
            most=100,
            unset="retry.factor",
        ),
    ] = None
    max_delay_ms: Annotated[
        int | None,
        Setting(
            "maxDelayMs",
            "Largest bound; also the longest Retry-After that is followed.",
            unit="milliseconds",
            most=_WEEK_MS,
            unset="retry.max_delay_ms",
        ),
    ] = None
    max_age_s: Annotated[
        int | None,
        Setting(
            "maxAgeSeconds",
            "Give up this long after the fire time. A schedule: no more than its app.",
            unit="seconds",
            most="max_age_s",
            unset="retry.max_age_s",
        ),
    ] = None
    statuses: Annotated[
        tuple[str, ...] | None,
        Setting(
            "statuses",
            "HTTP statuses worth another attempt: numbers, or `3xx`, `4xx`, `5xx`; 410 only if named itself.",
            unset="retry.statuses",
        ),
    ] = None
