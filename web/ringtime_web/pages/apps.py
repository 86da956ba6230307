"""Apps: which there are, and of one its quota, what is ahead, its settings and secrets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls, fires, operating
from ringtime_shared.access import Scope
from ringtime_shared.api.apps import SigningSecretView
from ringtime_shared.api.configuration import configuration_to_json
from ringtime_shared.api.keys import KeyList
from ringtime_shared.api.operating import ForecastView
from ringtime_shared.errors import InvalidRequest
from ringtime_web.pages.asking import read_reason
from ringtime_web.pages.choosing import seek_apps
from ringtime_web.pages.destinations import KINDS as DESTINATION_KINDS
from ringtime_web.pages.keys import KINDS as KEY_KINDS
from ringtime_web.pages.keys import list_keys
from ringtime_web.site import Site, Visit

_SIZE = 100
_HOURS = (1, 6, 24)
_WIDTH, _HEIGHT = 720.0, 140.0
_MOST_DESTINATIONS = 20
_FAR = 10  #: times the fullest minute


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute of the plot."""

    x: float
    y: float
    width: float
    height: float
    is_over: bool
    told: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What is due by minutes, and the line of what the quota is made for."""

    width: float
    height: float
    bars: list[Bar]
    line_y: float | None  #: None: it is far above
    most: int


class AppPages:
    """The list, and one app."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page("/apps", self.show),
            site.page("/app", self.show_one),
            site.action("/app/active", self.set_active),
        ]

    async def show(self, visit: Visit) -> Response:
        """Show the apps whose id has some text in it."""
        text, after = visit.query("q"), visit.query("after")
        found = await seek_apps(visit, text, size=_SIZE, after=after)
        is_full = len(found.apps) == _SIZE
        return visit.render(
            "apps.html",
            shown=found.apps,
            count=found.in_all,
            text=text,
            following=found.apps[-1].app_id if is_full and found.in_all > _SIZE else None,
        )

    async def show_one(self, visit: Visit) -> Response:
        """Show one app."""
        app_id, hours = visit.query("app"), visit.query("hours", "1")
        if hours not in map(str, _HOURS):
            raise InvalidRequest.of("hours", f"must be one of {', '.join(map(str, _HOURS))}")
        app, ahead, destinations, complete = await asyncio.gather(
            visit.api.run(calls.get_app(app_id)),
            visit.api.run(operating.get_forecast(app_id, hours=int(hours))),
            visit.api.run(operating.list_destinations(app_id, size=_MOST_DESTINATIONS)),
            visit.api.run(fires.get_completeness(app_id)),
        )
        secrets: list[SigningSecretView] | None = None
        keys: KeyList | None = None
        if visit.may(Scope.APPS_ADMIN):
            secrets = await visit.api.run(calls.list_signing_secrets(app_id))
            keys = await list_keys(visit, app_id)
        return visit.render(
            "app.html",
            app=app,
            settings=configuration_to_json(app.configuration),
            ahead=ahead,
            complete=complete,
            plot=draw(ahead, int(hours)),
            hours=int(hours),
            every_hours=_HOURS,
            destinations=destinations.destinations,
            kinds=DESTINATION_KINDS,
            secrets=secrets,
            keys=keys,
            key_kinds=KEY_KINDS,
            may_change=visit.may(Scope.APPS_ADMIN),
            done=visit.done,
        )

    async def set_active(self, visit: Visit) -> Response:
        """Let an app fire, or not."""
        app_id, reason = visit.form.get("app", ""), read_reason(visit)
        is_on = visit.form.get("active") == "on"
        call = calls.activate_app(app_id) if is_on else calls.deactivate_app(app_id)
        await visit.api.run(call, reason=reason)
        told = f"{app_id} is {'active' if is_on else 'inactive'} now."
        return visit.go("/app", app=app_id, done=told)


def draw(ahead: ForecastView, hours: int) -> Plot:
    """Return the plot of a forecast."""
    if not ahead.minutes:
        return Plot(_WIDTH, _HEIGHT, [], None, 0)
    most = max(each.due for each in ahead.minutes)
    is_line_near = ahead.carried_per_minute <= _FAR * most  # else the bars could not be seen below it
    top = max(most, ahead.carried_per_minute) if is_line_near else most
    start_s = ahead.minutes[0].at.timestamp()
    minutes = max(hours * 60, int((ahead.minutes[-1].at.timestamp() - start_s) // 60) + 1)
    step = _WIDTH / minutes
    bars = [
        Bar(
            x=round((each.at.timestamp() - start_s) / 60 * step, 2),
            y=round(_HEIGHT * (1 - each.due / top), 2),
            width=round(max(step * 0.85, 1), 2),
            height=round(max(_HEIGHT * each.due / top, 1), 2),
            is_over=each.due > ahead.carried_per_minute,
            told=f"{each.at:%Y-%m-%d %H:%M} UTC: {each.due:,} due",
        )
        for each in ahead.minutes
    ]
    line_y = round(_HEIGHT * (1 - ahead.carried_per_minute / top), 2) if is_line_near else None
    return Plot(_WIDTH, _HEIGHT, bars, line_y, most)
