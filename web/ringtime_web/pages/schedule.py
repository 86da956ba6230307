"""One schedule: its times, what became of it and why, what is planned, who changed it, what can be done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls, recurring
from ringtime_client.exchange import Call
from ringtime_shared.api.audit import AuditEntryView
from ringtime_shared.api.recurring import BackfillReport, RecurringView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.errors import InvalidRequest, RingtimeError, Unauthenticated
from ringtime_shared.ids import Kind, unpack_id
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Status
from ringtime_web.events import pieces
from ringtime_web.pages.explaining import explain_recurring, explain_schedule
from ringtime_web.pages.reading import read_instant, read_uuid, read_whole
from ringtime_web.site import Site, Visit

T = TypeVar("T")
RUNS, PLANNED, AUDITED = 50, 10, 20
_AUDIT_PAGES = 3  #: of the app's log that are looked through for changes of one schedule
_OVER = (Status.SUCCESS, Status.FAILURE, Status.MISS, Status.DELETED)
_DONE = {
    "paused": "It is paused.",
    "resumed": "It makes runs again.",
    "triggered": "It was triggered.",
    "saved": "It was saved.",
    "created": "It was created.",
    "cancelled": "It was cancelled.",
    "maybe": "It was cancelled, within a second of its time: it may be sent all the same.",
    "replayed": "It was filed again.",
    "deleted": "It was deleted.",
}


class SchedulePages:
    """One schedule, one-time or recurring."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page("/schedule", self.show),
            site.page("/live/schedule", self.live),
            site.action("/schedule/cancel", self.cancel),
            site.action("/schedule/trigger", self.trigger),
            site.action("/schedule/replay", self.replay),
            site.action("/schedule/pause", self.pause),
            site.action("/schedule/resume", self.resume),
            site.action("/schedule/delete", self.delete),
            site.action("/schedule/backfill", self.backfill),
        ]

    async def show(self, visit: Visit) -> Response:
        """Show a schedule by its id, or a recurring one by app and name."""
        schedule_id = read_uuid(visit.query("id"))
        if schedule_id is None:
            if visit.query("id"):
                raise InvalidRequest.of("id", "must be the id of a schedule, a UUID")
            found = await visit.api.run(recurring.get_recurring(visit.query("app"), visit.query("name")))
            return await self._show_recurring(visit, found)
        if unpack_id(schedule_id).kind is Kind.RECURRING:
            view = await visit.api.run(recurring.find_recurring(schedule_id))
            if view.state is DefinitionState.DELETED:  # by its name there is none, or another
                return await self._show_recurring(visit, view)
            return visit.go("/schedule", app=view.app_id, name=view.name)
        known = await _know(visit, schedule_id)
        return visit.render("schedule.html", done=_DONE.get(visit.done, ""), **known)

    async def _show_recurring(self, visit: Visit, view: RecurringView) -> Response:
        app_id, name = view.app_id, view.name
        its_app = _try(visit, calls.get_app(app_id))
        its_runs = _try(visit, recurring.list_runs(app_id, name, when="past", size=RUNS))
        its_plan = _try(visit, recurring.preview_recurring(app_id, name, size=PLANNED))
        its_changes = _find_audited(visit, app_id, f"{app_id}/{name}")
        app, runs, planned, entries = await asyncio.gather(its_app, its_runs, its_plan, its_changes)
        now = datetime.now(UTC)
        fires = [] if runs is None else list(runs.schedules)
        return visit.render(
            "recurring.html",
            view=view,
            condition=explain_recurring(view, app, now),
            zone=ZoneInfo(view.time_zone),
            now=now,
            planned=planned,
            runs=[(run, explain_schedule(run, None, now).word) for run in fires],
            chart=_lag_chart(fires),
            entries=entries,
            payload=_shown_payload(view.payload),
            callback=orjson.dumps(dict(view.callback), option=orjson.OPT_INDENT_2).decode(),
            done=_DONE.get(visit.done, ""),
        )

    async def live(self, visit: Visit) -> Response:
        """Tell what may have changed of a one-time schedule."""
        schedule_id = read_uuid(visit.query("id"))
        if schedule_id is None:
            raise InvalidRequest.of("id", "must be the id of a schedule")
        known = await _know(visit, schedule_id, is_whole=False)
        return pieces(
            {
                "state": visit.piece("schedule_state.html", **known),
                "explain": visit.piece("schedule_explain.html", **known),
                "attempts": visit.piece("schedule_attempts.html", **known),
            },
        )

    async def cancel(self, visit: Visit) -> Response:
        """Cancel a one-time schedule, or a run."""
        schedule_id = _id_of(visit)
        result = await visit.api.run(calls.cancel_schedule(schedule_id), reason=visit.form.get("reason", ""))
        return visit.go("/schedule", id=schedule_id, done="cancelled" if result.promised else "maybe")

    async def trigger(self, visit: Visit) -> Response:
        """Send a one-time schedule now, or file a run of a recurring one."""
        reason = visit.form.get("reason", "")
        if name := visit.form.get("name", ""):
            run = await visit.api.run(
                recurring.trigger_recurring(visit.form.get("app", ""), name), reason=reason
            )
            return visit.go("/schedule", id=run.schedule_id, done="triggered")
        schedule_id = _id_of(visit)
        await visit.api.run(calls.trigger_schedule(schedule_id), reason=reason)
        return visit.go("/schedule", id=schedule_id, done="triggered")

    async def replay(self, visit: Visit) -> Response:
        """File a schedule that failed again."""
        schedule_id = _id_of(visit)
        await visit.api.run(calls.replay_schedule(schedule_id), reason=visit.form.get("reason", ""))
        return visit.go("/schedule", id=schedule_id, done="replayed")

    async def pause(self, visit: Visit) -> Response:
        """Pause a recurring schedule, for a while or until somebody resumes it."""
        app_id, name, reason = _named(visit)
        until = read_instant("until", visit.form.get("until", ""))
        await visit.api.run(
            recurring.pause_recurring(app_id, name, reason=reason, until=until), reason=reason
        )
        return visit.go("/schedule", app=app_id, name=name, done="paused")

    async def resume(self, visit: Visit) -> Response:
        """Let a recurring schedule make runs again."""
        app_id, name, reason = _named(visit)
        await visit.api.run(recurring.resume_recurring(app_id, name), reason=reason)
        return visit.go("/schedule", app=app_id, name=name, done="resumed")

    async def delete(self, visit: Visit) -> Response:
        """Delete a recurring schedule, whose name has to be typed."""
        app_id, name, reason = _named(visit)
        if visit.form.get("confirm", "").strip() != name:
            raise InvalidRequest.of("confirm", f"type the name {name} to delete it; nothing was done")
        view = await visit.api.run(recurring.delete_recurring(app_id, name), reason=reason)
        return visit.go("/schedule", id=view.schedule_id, done="deleted")

    async def backfill(self, visit: Visit) -> Response:
        """Say what runs a range would be given; with `sure`, file them."""
        app_id, name, reason = _named(visit)
        start = read_instant("from", visit.form.get("from", ""))
        end = read_instant("to", visit.form.get("to", ""))
        if start is None or end is None:
            raise InvalidRequest.of("from", "say from when to when")
        size = read_whole("size", visit.form.get("size", ""), 1, 1_000) or 100
        is_sure = visit.form.get("sure") == "yes"
        report: BackfillReport = await visit.api.run(
            recurring.backfill_recurring(app_id, name, start=start, end=end, size=size, dry_run=not is_sure),
            reason=reason,
        )
        return visit.render(
            "backfill.html",
            app_id=app_id,
            name=name,
            report=report,
            is_sure=is_sure,
            reason=reason,
            size=size,
            start=visit.form.get("from", ""),
            end=visit.form.get("to", ""),
        )


async def _know(visit: Visit, schedule_id: UUID, *, is_whole: bool = True) -> dict[str, Any]:
    """Read what the page of a one-time schedule shows."""
    view = await visit.api.run(calls.get_schedule(schedule_id))
    app = await _try(visit, calls.get_app(view.app_id))
    parent = None
    if is_whole and view.parent_schedule_id is not None:
        parent = await _try(visit, recurring.find_recurring(view.parent_schedule_id))
    now = datetime.now(UTC)
    return {
        "view": view,
        "parent": parent,
        "now": now,
        "condition": explain_schedule(view, app, now),
        "is_over": view.status in _OVER,
        "payload": _shown_payload(view.payload),
        "callback": orjson.dumps(dict(view.callback), option=orjson.OPT_INDENT_2).decode(),
        "live_url": visit.site.url("/live/schedule", id=str(schedule_id)),
        "entries": await _find_audited(visit, view.app_id, str(schedule_id)) if is_whole else None,
    }


async def _try(visit: Visit, call: Call[T]) -> T | None:
    """Return what a part of a page shows; None: it cannot be had, and the page does without."""
    try:
        return await visit.api.run(call)
    except Unauthenticated:
        raise
    except RingtimeError:
        return None


async def _find_audited(visit: Visit, app_id: str, subject: str) -> list[AuditEntryView] | None:
    """Return the last changes of one subject; None: the caller may not read the log."""
    if not visit.may("apps:admin"):
        return None
    found: list[AuditEntryView] = []
    token, since = "", datetime.now(UTC) - timedelta(days=90)
    for _ in range(_AUDIT_PAGES):
        page = await _try(visit, calls.list_audit(app_id, start=since, size=1_000, token=token))
        if page is None:
            return None
        found += [entry for entry in page.entries if entry.subject == subject]
        token = page.token
        if not token or len(found) >= AUDITED:
            break
    return found[:AUDITED]


def _lag_chart(runs: Sequence[ScheduleView]) -> str:
    """Return the lags of runs, oldest first, as the chart takes them; "": there is none."""
    sent = sorted(
        (run for run in runs if run.fired_at and run.lag_ms is not None), key=lambda run: run.fire_time
    )
    if len(sent) < 2:
        return ""
    data = [[int(run.fire_time.timestamp()) for run in sent], [run.lag_ms for run in sent]]
    chart = {
        "series": [{"label": "Lag", "kind": "accent", "points": True}],
        "data": data,
        "unit": " ms",
        "height": 150,
    }
    return orjson.dumps(chart).decode()


def _shown_payload(payload: str) -> str:
    """Return a payload, JSON on several lines."""
    try:
        return orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return payload


def _id_of(visit: Visit) -> UUID:
    schedule_id = read_uuid(visit.form.get("id", ""))
    if schedule_id is None:
        raise InvalidRequest.of("id", "must be the id of a schedule")
    return schedule_id


def _named(visit: Visit) -> tuple[str, str, str]:
    form = visit.form
    return form.get("app", ""), form.get("name", ""), form.get("reason", "").strip()
