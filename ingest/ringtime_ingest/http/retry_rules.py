"""`retryPolicy` of an app or a schedule, from JSON; what it may say is in `ringtime_shared.retry_rules`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from ringtime_ingest.http.fields import RETRY_POLICY
from ringtime_shared.errors import Violation
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.retry_rules import STATUS_RULE


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
            wrong.append(Violation(path, STATUS_RULE))
            break
    return tuple(dict.fromkeys(statuses))
