"""How complete the outcomes are, and audits of fires, as the API and the tools show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.models.fires import Completeness, Finding, FireCounts, Reason, Waits


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletenessView:
    """How far everything that was due has its recorded outcome."""

    from_time: Annotated[datetime, Doc("What was due before was not looked at.", name="from")]
    through: Annotated[
        datetime,
        Doc("All that was due up to here has its outcome. Before `from`: nothing is sure."),
    ]
    age_ms: Annotated[int, Doc("How far `through` lies in the past: 90 s to 150 s while nothing is late.")]
    waits: Annotated[Waits, Doc("What keeps it from going on.")]
    partition: Annotated[
        int | None, Doc("For whose rows it waits; left out: it does not.", name="partitionId")
    ] = None
    app_id: Annotated[str, Doc("Whose rows these are.")] = ""
    schedule_id: Annotated[UUID | None, Doc("Of TRIED_AGAIN: the first that has no outcome.")] = None


def completeness_to_json(found: Completeness) -> dict[str, object]:
    """Return a mark as the API shows it."""
    shown: dict[str, object] = {
        "from": to_iso(found.from_ms),
        "through": to_iso(found.through_ms),
        "ageMs": found.age_ms,
        "waits": found.waits,
    }
    if found.instance is not None:
        shown["appId"], shown["partitionId"] = found.instance
    if found.schedule_id is not None:
        shown["scheduleId"] = str(found.schedule_id)
    return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """A fire that has no outcome, or two."""

    schedule_id: Annotated[UUID, Doc("Of CHAIN_BROKEN: the id of the recurring schedule.")]
    reason: Annotated[Reason, Doc("TWO_OUTCOMES and TWO_RUNS are doubles, the others gaps.")]
    due: Annotated[datetime, Doc("When it was to be sent; of runs that are doubled, the nominal time.")]
    says: Annotated[str, Doc("What was found, in a sentence.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FireAuditPage:
    """Part of an audit: each part counts what it has looked at, and the sum is the audit's."""

    expected: Annotated[int, Doc("Fires that were asked for.")]
    ended: Annotated[Mapping[str, int], Doc("How many of them ended, by status.")]
    waiting: Annotated[int, Doc("Are to be sent yet, or again.")]
    gaps: Annotated[int, Doc("Have no outcome, and will have none.")]
    doubles: Annotated[int, Doc("Have two.")]
    findings: Annotated[Sequence[FindingView], Doc("Each gap and double, at most 10,000 of a part.")]
    token: Annotated[str, Doc("Goes on after this part; empty: the audit is over.", name="continuationToken")]


def audit_to_json(audit: FireCounts, token: str) -> dict[str, object]:
    """Return a part of an audit as the API shows it."""
    return {
        "expected": audit.expected,
        "ended": {status.value: audit.ended[status] for status in sorted(audit.ended)},
        "waiting": audit.waiting,
        "gaps": audit.gaps,
        "doubles": audit.doubles,
        "findings": [finding_to_json(each) for each in audit.findings],
        "continuationToken": token,
    }


def finding_to_json(finding: Finding) -> dict[str, object]:
    """Return a finding as the API shows it."""
    return {
        "scheduleId": str(finding.schedule_id),
        "reason": finding.reason,
        "due": to_iso(finding.due_ms),
        "says": finding.says,
    }
