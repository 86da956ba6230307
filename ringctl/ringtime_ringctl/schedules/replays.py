"""Replays through the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from ringtime_ringctl.deployment.http_calls import Answer, post
from ringtime_shared.errors import Conflict, OutcomeUnknown, StoreUnavailable

TIMEOUT_S = 60.0
SIZE = 500  #: replays asked for in one call
MAX_IDS = 1_000  #: what the API takes in one call


@dataclass(slots=True)
class Report:
    """What became of it."""

    replayed: int = 0
    skipped: list[Mapping[str, str]] = field(default_factory=list)  #: scheduleId and reason


async def replay_ids(base: str, app_id: str, schedule_ids: Sequence[str]) -> Report:
    """File these schedules again. Raises Conflict, StoreUnavailable, OutcomeUnknown."""
    report = Report()
    for start in range(0, len(schedule_ids), MAX_IDS):
        await _replay(base, app_id, {"scheduleIds": schedule_ids[start : start + MAX_IDS]}, report)
    return report


async def replay_range(
    base: str, app_id: str, asked: Mapping[str, object], on_progress: Callable[[int], None]
) -> Report:
    """File everything of a range again, a page at a time. Raises as `replay_ids` does.

    Args:
        asked: `startTime` and `endTime` as the API takes them.
        on_progress: called with how many were looked at.
    """
    report, token = Report(), ""
    while True:
        more = {"continuationToken": token} if token else {}
        token = await _replay(base, app_id, {**asked, "size": SIZE, **more}, report)
        on_progress(report.replayed + len(report.skipped))
        if not token:
            return report


async def _replay(base: str, app_id: str, body: Mapping[str, object], report: Report) -> str:
    """Ask once, add to the report, return the token to go on with."""
    url = f"{base}/apps/{quote(app_id, safe='')}/dead-letters/replay"
    data = read_answer(url, await post(url, body, timeout_s=TIMEOUT_S), report.replayed)
    report.replayed += int(str(data.get("replayed", 0)))
    skipped = data.get("skipped")
    if isinstance(skipped, list):
        report.skipped += [
            {key: str(each.get(key, "")) for key in ("scheduleId", "reason")} for each in skipped
        ]
    return str(data.get("continuationToken") or "")


def read_answer(url: str, answer: Answer, done: int) -> Mapping[str, object]:
    """Return what was answered.

    Args:
        done: how many earlier calls have filed again, for the message.

    Raises Conflict when the API refuses, StoreUnavailable and OutcomeUnknown when it cannot.
    """
    before = f"{done:,} were filed again, then: " if done else ""
    if answer.status is None:
        if "refused" in answer.error or "not known" in answer.error:
            raise StoreUnavailable(f"{before}nobody answers at {url}: {answer.error}; see --api")
        raise OutcomeUnknown(f"{before}no answer from {url}: {answer.error}")
    status, data = answer.body.get("status"), answer.body.get("data")
    if answer.status < 300 and isinstance(data, dict):
        return data
    told = status.get("statusMessage") if isinstance(status, dict) else None
    message = f"{before}{url} answered {answer.status}: {told or 'nothing that can be read'}"
    if answer.status >= 500:
        raise OutcomeUnknown(message)
    raise Conflict(message)
