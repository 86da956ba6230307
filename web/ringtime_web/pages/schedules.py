"""The schedules of an app: found by id, name or label, in a range of time, with what became of their runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls, recurring
from ringtime_shared.api.recurring import RecurringView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.errors import InvalidRequest, RingtimeError
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Status
from ringtime_web.pages.choosing import find_apps
from ringtime_web.pages.drawing import spark
from ringtime_web.pages.explaining import explain_schedule
from ringtime_web.pages.reading import read_instant, read_uuid, to_field
from ringtime_web.site import Site, Visit

SIZE = 25  #: on a page
_SPARK_RUNS = 20
_AT_ONCE = 8  #: reads of runs, side by side
_MOST_SOUGHT = 3_000  #: recurring schedules looked through for a part of a name, at once
_SPANS = {
    "hour": (timedelta(hours=1), timedelta(hours=1)),
    "now": (timedelta(hours=1), timedelta(days=1)),
    "past": (timedelta(days=1), timedelta(0)),
    "next": (timedelta(0), timedelta(days=7)),
}
_MOST_SELECTED = 200


@dataclass(frozen=True, slots=True)
class RecurringRow:
    """One line of the list."""

    view: RecurringView
    last: ScheduleView | None
    spark: Markup


class SchedulesPages:
    """The list, and what is done to those that were ticked in it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [
            self._site.page("/schedules", self.show),
            self._site.action("/schedules/selected", self.act_on_selected),
        ]

    async def show(self, visit: Visit) -> Response:
        """Show a page of the list; ids lead to their schedule at once."""
        app_id, sought = visit.query("app"), visit.query("q")
        if (schedule_id := read_uuid(sought)) is not None:
            return visit.go("/schedule", id=str(schedule_id))
        if not app_id:
            mine = visit.person.apps
            if mine is not None and len(mine) == 1:
                return visit.go("/schedules", app=mine[0])
            return visit.render("schedules_choose.html", apps=await find_apps(visit, ""))
        if visit.query("kind", "recurring") == "once":
            return await self._show_once(visit, app_id, sought)
        return await self._show_recurring(visit, app_id, sought)

    async def _show_recurring(self, visit: Visit, app_id: str, sought: str) -> Response:
        asked = visit.query("state")
        state = DefinitionState(asked) if asked in DefinitionState.__members__ else None
        token = visit.query("token")
        found: list[RecurringView] = []
        if sought:
            looked = 0
            while True:
                page = await visit.api.run(
                    recurring.list_recurring(app_id, state=state, size=1_000, token=token)
                )
                looked += len(page.recurring)
                found += [each for each in page.recurring if sought.lower() in each.name.lower()]
                token = page.token
                if not token or len(found) >= SIZE or looked >= _MOST_SOUGHT:
                    break
        else:
            page = await visit.api.run(recurring.list_recurring(app_id, state=state, size=SIZE, token=token))
            found, token = list(page.recurring), page.token
        rows = await self._with_runs(visit, app_id, found[: 4 * SIZE])
        return visit.render(
            "schedules_recurring.html", app_id=app_id, q=sought, asked=asked, rows=rows, token=token
        )

    async def _with_runs(
        self, visit: Visit, app_id: str, views: Sequence[RecurringView]
    ) -> list[RecurringRow]:
        """Read the last runs of each. One that cannot be read is shown without."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def row(view: RecurringView) -> RecurringRow:
            if view.damage:
                return RecurringRow(view, None, Markup(""))
            try:
                async with room:
                    page = await visit.api.run(
                        recurring.list_runs(app_id, view.name, when="past", size=_SPARK_RUNS)
                    )
            except RingtimeError:
                return RecurringRow(view, None, Markup(""))
            last = next((run for run in page.schedules if run.status is not Status.SCHEDULED), None)
            return RecurringRow(view, last, spark(page.schedules))

        return list(await asyncio.gather(*map(row, views)))

    async def _show_once(self, visit: Visit, app_id: str, sought: str) -> Response:
        now = datetime.now(UTC)
        span = visit.query("span", "now")
        before, after = _SPANS.get(span, _SPANS["now"])
        start = read_instant("from", visit.query("from")) if span == "given" else now - before
        end = read_instant("to", visit.query("to")) if span == "given" else now + after
        asked = visit.query("state")
        key, middle, value = sought.partition(":")
        page = await visit.api.run(
            calls.list_schedules(
                app_id,
                start=start,
                end=end,
                status=Status(asked) if asked in Status.__members__ else None,
                labels={key: value} if middle else None,
                name_prefix="" if middle else sought,
                host=visit.query("host"),
                size=SIZE,
                token=visit.query("token"),
            )
        )
        rows = [(view, explain_schedule(view, None, now).word) for view in page.schedules]
        return visit.render(
            "schedules_once.html",
            app_id=app_id,
            q=sought,
            asked=asked,
            span=span,
            start=to_field(start),
            end=to_field(end),
            host=visit.query("host"),
            rows=rows,
            token=page.token,
            unreadable=page.unreadable,
        )

    async def act_on_selected(self, visit: Visit) -> Response:
        """Cancel, pause, resume or trigger what was ticked, one after the other."""
        app_id, verb = visit.form.get("app", ""), visit.form.get("verb", "")
        chosen = [text for name, text in visit.fields if name == "chosen"]
        reason = visit.form.get("reason", "")
        if not 1 <= len(chosen) <= _MOST_SELECTED:
            raise InvalidRequest.of("chosen", f"tick 1 to {_MOST_SELECTED} schedules")
        done, problems = 0, list[str]()
        if verb == "cancel":
            ids = [each for each in map(read_uuid, chosen) if each is not None]
            done, problems = await self._cancel(visit, ids, reason)
        else:
            for name in chosen:
                try:
                    match verb:
                        case "pause":
                            await visit.api.run(
                                recurring.pause_recurring(app_id, name, reason=reason), reason=reason
                            )
                        case "resume":
                            await visit.api.run(recurring.resume_recurring(app_id, name), reason=reason)
                        case "trigger":
                            await visit.api.run(recurring.trigger_recurring(app_id, name), reason=reason)
                        case _:
                            raise InvalidRequest.of("verb", "must be cancel, pause, resume or trigger")
                    done += 1
                except RingtimeError as error:
                    problems.append(f"{name}: {error}")
        back = visit.form.get("back", "")
        back = back if self._site.is_own(back) else self._site.url("/schedules", app=app_id)
        return visit.render(
            "selected_done.html", verb=verb, done=done, problems=problems, app_id=app_id, back=back
        )

    async def _cancel(self, visit: Visit, ids: list[UUID], reason: str) -> tuple[int, list[str]]:
        if not ids:
            raise InvalidRequest.of("chosen", "must be ids of schedules")
        results = await visit.api.run(calls.cancel_schedules(ids), reason=reason)
        problems = [str(each) for each in results if isinstance(each, RingtimeError)]
        return len(results) - len(problems), problems
