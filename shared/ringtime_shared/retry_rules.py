"""What a retry policy of an app or a schedule may say. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ringtime_shared.errors import Violation
from ringtime_shared.models.retry import RetryRules

MOST_STATUSES = 50
STATUS_RULE = "must be statuses from 300 to 599, or 3xx, 4xx, 5xx"
STATUS_PATTERN = "[345](?:xx|[0-9][0-9])"
_STATUS = re.compile(STATUS_PATTERN)
_MOST_DELAY_MS = 604_800_000  #: a week
_MOST_FACTOR = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBounds:
    """The most a policy may ask for."""

    attempts: int
    age_s: int


def retry_maxima(bounds: RetryBounds) -> Mapping[str, int]:
    """Return the most of each number of a policy, by field; the least is 1."""
    return {
        "attempts": bounds.attempts,
        "firstDelayMs": _MOST_DELAY_MS,
        "factor": _MOST_FACTOR,
        "maxDelayMs": _MOST_DELAY_MS,
        "maxAgeSeconds": bounds.age_s,
    }


def check_retry(rules: RetryRules, path: str, bounds: RetryBounds) -> list[Violation]:
    """Return everything that is wrong with a policy."""
    violations = []
    given = {
        "attempts": rules.attempts,
        "firstDelayMs": rules.first_delay_ms,
        "factor": rules.factor,
        "maxDelayMs": rules.max_delay_ms,
        "maxAgeSeconds": rules.max_age_s,
    }
    for name, most in retry_maxima(bounds).items():
        value = given[name]
        if value is not None and not 1 <= value <= most:
            violations.append(Violation(f"{path}.{name}", f"must be from 1 to {most}"))
    first_ms, most_ms = rules.first_delay_ms, rules.max_delay_ms
    if first_ms is not None and most_ms is not None and first_ms > most_ms:
        violations.append(Violation(f"{path}.firstDelayMs", "must not exceed maxDelayMs"))
    if rules.statuses is not None:
        if len(rules.statuses) > MOST_STATUSES:
            violations.append(Violation(f"{path}.statuses", f"must be at most {MOST_STATUSES}"))
        elif not all(map(_STATUS.fullmatch, rules.statuses)):
            violations.append(Violation(f"{path}.statuses", STATUS_RULE))
    return violations
