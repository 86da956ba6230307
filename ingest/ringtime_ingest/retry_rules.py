"""`retryPolicy` of an app or a schedule: its keys, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from ringtime_ingest.fields import RETRY_POLICY
from ringtime_shared.errors import Violation
from ringtime_shared.models.retry import RetryRules

MOST_STATUSES = 50
_STATUS = re.compile(r"[345](?:xx|[0-9][0-9])")
_STATUS_RULE = "must be statuses from 300 to 599, or 3xx, 4xx, 5xx"
_MOST_DELAY_MS = 604_800_000  #: a week
_MOST_FACTOR = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBounds:
    """The most a policy may ask for."""

    attempts: int
    age_s: int


def read_retry(value: object, path: str, wrong: list[Violation]) -> RetryRules | None:
    """Return the rules of a `retryPolicy` object; note wrong types in `wrong`. 0 is as good as left out."""
    found = RETRY_POLICY.read(value, f"{path}.", wrong)
    statuses = found.get("statuses")
    factor = cast(int | Decimal | None, found.get("factor"))
    rules = RetryRules(
        attempts=_number(found, "attempts"),
        first_delay_ms=_number(found, "firstDelayMs"),
        factor=float(factor) if factor else None,
        max_delay_ms=_number(found, "maxDelayMs"),
        max_age_s=_number(found, "maxAgeSeconds"),
        statuses=None if statuses is None else _read_statuses(statuses, f"{path}.statuses", wrong),
    )
    return None if rules == RetryRules() else rules


def _number(found: Mapping[str, object], name: str) -> int | None:
    return cast(int, found.get(name)) or None


def _read_statuses(value: object, path: str, wrong: list[Violation]) -> tuple[str, ...]:
    statuses = []
    for item in cast(list[object], value):
        if type(item) is int:
            statuses.append(str(item))
        elif isinstance(item, str):
            statuses.append(item.lower())
        else:
            wrong.append(Violation(path, _STATUS_RULE))
            break
    return tuple(dict.fromkeys(statuses))


def check_retry(rules: RetryRules, path: str, bounds: RetryBounds) -> list[Violation]:
    """Return everything that is wrong with a policy."""
    violations = []
    for name, value, most in (
        ("attempts", rules.attempts, bounds.attempts),
        ("firstDelayMs", rules.first_delay_ms, _MOST_DELAY_MS),
        ("factor", rules.factor, _MOST_FACTOR),
        ("maxDelayMs", rules.max_delay_ms, _MOST_DELAY_MS),
        ("maxAgeSeconds", rules.max_age_s, bounds.age_s),
    ):
        if value is not None and not 1 <= value <= most:
            violations.append(Violation(f"{path}.{name}", f"must be from 1 to {most}"))
    first_ms, most_ms = rules.first_delay_ms, rules.max_delay_ms
    if first_ms is not None and most_ms is not None and first_ms > most_ms:
        violations.append(Violation(f"{path}.firstDelayMs", "must not exceed maxDelayMs"))
    if rules.statuses is not None:
        if len(rules.statuses) > MOST_STATUSES:
            violations.append(Violation(f"{path}.statuses", f"must be at most {MOST_STATUSES}"))
        elif not all(map(_STATUS.fullmatch, rules.statuses)):
            violations.append(Violation(f"{path}.statuses", _STATUS_RULE))
    return violations


def retry_to_json(rules: RetryRules, attempts: int | None = None) -> dict[str, object]:
    """Return the rules as the API shows them, without what was left out."""
    named = {
        "attempts": attempts if rules.attempts is None else rules.attempts,
        "firstDelayMs": rules.first_delay_ms,
        "factor": rules.factor,
        "maxDelayMs": rules.max_delay_ms,
        "maxAgeSeconds": rules.max_age_s,
        "statuses": rules.statuses,
    }
    return {name: value for name, value in named.items() if value is not None}
