"""What a retry policy of an app or a schedule may say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringtime_shared.api.configuration import check_values
from ringtime_shared.errors import Violation
from ringtime_shared.models.retry import RetryRules

MOST_STATUSES = 50
STATUS_RULE = "must be statuses from 300 to 599, or 3xx, 4xx, 5xx"
STATUS_PATTERN = "[345](?:xx|[0-9][0-9])"
_STATUS = re.compile(STATUS_PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBounds:
    """The most a policy may ask for, by the names that the entries of `RetryRules` use."""

    max_http_attempts: int
    max_age_s: int


def check_retry(rules: RetryRules, path: str, bounds: RetryBounds) -> list[Violation]:
    """Return everything that is wrong with a policy."""
    violations = check_values(rules, f"{path}.", bounds)
    first_ms, most_ms = rules.first_delay_ms, rules.max_delay_ms
    if first_ms is not None and most_ms is not None and first_ms > most_ms:
        violations.append(Violation(f"{path}.firstDelayMs", "must not exceed maxDelayMs"))
    if rules.statuses is not None:
        if len(rules.statuses) > MOST_STATUSES:
            violations.append(Violation(f"{path}.statuses", f"must be at most {MOST_STATUSES}"))
        elif not all(map(_STATUS.fullmatch, rules.statuses)):
            violations.append(Violation(f"{path}.statuses", STATUS_RULE))
    return violations
