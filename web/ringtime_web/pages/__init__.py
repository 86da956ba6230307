"""The pages, one module each. A new one: a class with `all`, its line in `NAV`, its templates."""

from __future__ import annotations

from typing import NamedTuple

from starlette.routing import Route

from ringtime_web.pages.apps import AppPages
from ringtime_web.pages.audit import AuditPages
from ringtime_web.pages.choosing import ChoosingPages
from ringtime_web.pages.dead_letters import DeadLetterPages
from ringtime_web.pages.destinations import DestinationPages
from ringtime_web.pages.editing import EditingPages
from ringtime_web.pages.entrance import EntrancePages
from ringtime_web.pages.fires import FirePages
from ringtime_web.pages.jobs import JobPages
from ringtime_web.pages.keys import KeyPages
from ringtime_web.pages.overview import OverviewPages
from ringtime_web.pages.ring import RingPages
from ringtime_web.pages.schedule import SchedulePages
from ringtime_web.pages.schedules import SchedulesPages
from ringtime_web.site import Site


class NavItem(NamedTuple):
    """A page that every page leads to."""

    path: str
    title: str


NAV = (
    NavItem("/", "Overview"),
    NavItem("/schedules", "Schedules"),
    NavItem("/fires", "Fires"),
    NavItem("/dead-letters", "Dead letters"),
    NavItem("/destinations", "Destinations"),
    NavItem("/ring", "Ring"),
    NavItem("/apps", "Apps"),
    NavItem("/audit", "Audit"),
)


def all_pages(site: Site) -> list[Route]:
    """Return the routes of all pages."""
    groups = (
        EntrancePages(site),
        ChoosingPages(site),
        OverviewPages(site),
        SchedulesPages(site),
        SchedulePages(site),
        FirePages(site),
        DeadLetterPages(site),
        DestinationPages(site),
        RingPages(site),
        AppPages(site),
        KeyPages(site),
        AuditPages(site),
        EditingPages(site),
        JobPages(site),
    )
    return [route for group in groups for route in group.all()]
