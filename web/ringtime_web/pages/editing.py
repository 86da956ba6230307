"""Make a schedule, or change one; what it comes to is shown while it is typed."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls, recurring
from ringtime_shared.errors import InvalidRequest, RingtimeError, Unauthenticated, Violation
from ringtime_web.pages.drafts import (
    NEW,
    Draft,
    callback_of,
    changes,
    draft_of_recurring,
    draft_of_schedule,
    policies_of,
    sending_of,
    times_of,
)
from ringtime_web.pages.reading import read_instant, read_lines, read_uuid, read_whole
from ringtime_web.site import Site, Visit

_PREVIEWED = 10


class EditingPages:
    """New and Edit."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page("/schedule/new", self.show_new),
            site.action("/schedule/new", self.create),
            site.page("/schedule/edit", self.show_edit),
            site.action("/schedule/edit", self.save),
            site.action("/schedule/preview", self.preview),
        ]

    async def show_new(self, visit: Visit) -> Response:
        """Show an empty form."""
        kind = "once" if visit.query("kind") == "once" else "recurring"
        return _form(visit, NEW, kind=kind, app_id=visit.query("app"), is_new=True)

    async def create(self, visit: Visit) -> Response:
        """Make what the form says."""
        form, app_id = visit.form, visit.form.get("app", "").strip()
        draft = {**NEW, **form}
        kind = "once" if form.get("kind") == "once" else "recurring"
        reason, name = form.get("reason", ""), form.get("name", "").strip()
        try:
            if kind == "recurring":
                made = await visit.api.run(
                    recurring.put_recurring(
                        app_id,
                        name,
                        times=times_of(draft),
                        payload=draft["payload"],
                        callback=callback_of(draft),
                        revision=0,
                        **policies_of(draft),
                        **sending_of(draft),
                    ),
                    reason=reason,
                )
                return visit.go("/schedule", app=app_id, name=made.name, done="created")
            at = read_instant("at", draft["at"])
            given: dict[str, Any] = {
                "payload": draft["payload"],
                "callback": callback_of(draft),
                "labels": read_lines("labels", draft["labels"]),
                **sending_of(draft),
            }
            if at is None:
                raise InvalidRequest.of("at", "is needed: when it is sent")
            call = (
                calls.put_schedule(app_id, name, at=at, **given)
                if name
                else calls.create_schedule(
                    app_id, at=at, idempotency_key=form.get("idempotency_key", ""), **given
                )
            )
            view = await visit.api.run(call, reason=reason)
            return visit.go("/schedule", id=view.schedule_id, done="created")
        except Unauthenticated:
            raise
        except RingtimeError as error:
            return _form(visit, draft, kind=kind, app_id=app_id, is_new=True, error=error)

    async def show_edit(self, visit: Visit) -> Response:
        """Show the form of a schedule that there is."""
        before, kind, app_id = await self._before(
            visit, visit.query("id"), visit.query("app"), visit.query("name")
        )
        return _form(visit, before, kind=kind, app_id=app_id, is_new=False)

    async def save(self, visit: Visit) -> Response:
        """Change what differs. A recurring schedule that others changed meanwhile stays as it is."""
        form, reason = visit.form, visit.form.get("reason", "")
        before, kind, app_id = await self._before(
            visit, form.get("id", ""), form.get("app", ""), form.get("name", "")
        )
        draft = {**before, **form}
        try:
            given = changes(draft, before, is_recurring=kind == "recurring")
            if not given:
                raise InvalidRequest.of("form", "nothing was changed")
            if kind == "recurring":
                view = await visit.api.run(
                    recurring.patch_recurring(
                        app_id,
                        before["name"],
                        revision=read_whole("revision", form.get("revision", ""), 1),
                        **given,
                    ),
                    reason=reason,
                )
                return visit.go("/schedule", app=app_id, name=view.name, done="saved")
            changed = await visit.api.run(calls.patch_schedule(form["id"], **given), reason=reason)
            return visit.go("/schedule", id=changed.schedule_id, done="saved")
        except Unauthenticated:
            raise
        except RingtimeError as error:
            return _form(visit, draft, kind=kind, app_id=app_id, is_new=False, error=error)

    async def preview(self, visit: Visit) -> Response:
        """Say what the times of a form come to."""
        form = visit.form
        try:
            if form.get("kind") == "once":
                at = read_instant("at", form.get("at", ""))
                return visit.render("preview_once.html", at=at, now=datetime.now(UTC))
            call = recurring.preview_times(form.get("app", "").strip(), times=times_of(form), size=_PREVIEWED)
            planned = await visit.api.run(call)
        except Unauthenticated:
            raise
        except RingtimeError as error:
            return visit.render("preview_wrong.html", problems=_told(error))
        return visit.render("planned.html", planned=planned)

    async def _before(self, visit: Visit, text: str, app_id: str, name: str) -> tuple[Draft, str, str]:
        """Return what there is, as fields; which kind, and whose."""
        schedule_id = read_uuid(text)
        if schedule_id is None:
            view = await visit.api.run(recurring.get_recurring(app_id, name))
            return draft_of_recurring(view), "recurring", view.app_id
        one = await visit.api.run(calls.get_schedule(schedule_id))
        return draft_of_schedule(one), "once", one.app_id


def _form(
    visit: Visit, draft: Draft, *, kind: str, app_id: str, is_new: bool, error: RingtimeError | None = None
) -> Response:
    return visit.render(
        "edit.html",
        200 if error is None else 400,
        draft=draft,
        kind=kind,
        app_id=app_id,
        is_new=is_new,
        schedule_id=visit.form.get("id", "") or visit.query("id"),
        problems=[] if error is None else _told(error),
        zones=_zones(),
    )


def _told(error: RingtimeError) -> list[Violation]:
    """Return what is wrong, by field where that is known."""
    if isinstance(error, InvalidRequest):
        return list(error.violations)
    return [Violation("", str(error))]


@cache
def _zones() -> list[str]:
    return sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")
