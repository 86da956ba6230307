"""Sign in and out, and how somebody wants to see pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import convert
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client.exchange import BASE, Call
from ringtime_shared.errors import Unauthenticated
from ringtime_web.sessions import ANYBODY, Person
from ringtime_web.site import VIEW, Site, Visit

_MOST_CHARS = 512
_THEMES = ("auto", "light", "dark")


class EntrancePages:
    """The way in."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page("/sign-in", self.show, is_open=True),
            site.action("/sign-in", self.sign_in, is_open=True),
            site.action("/sign-out", self.sign_out, is_open=True),
            site.action("/look", self.look, is_open=True),
        ]

    async def show(self, visit: Visit) -> Response:
        """Ask for a key."""
        if visit.is_signed_in or not self._site.has_keys:
            return visit.go("/")
        return visit.render("sign_in.html", back=visit.query("back"), told="")

    async def sign_in(self, visit: Visit) -> Response:
        """Ask the API whether the key is good; then give the browser a number that stands for it."""
        if not self._site.has_keys:
            return visit.go("/")
        key, back = visit.form.get("key", "").strip(), visit.form.get("back", "")
        is_plain = key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= _MOST_CHARS
        try:
            if not is_plain:
                raise Unauthenticated
            person = await visit.api.with_key(key).run(_ASK_WHO)
        except Unauthenticated:
            told = "This is no key that the service knows, or its time is over."
            return visit.render("sign_in.html", 401, back=back, told=told)
        self._site.sessions.end(visit.token)
        # Another number than before: whoever knew that one knows nothing.
        visit.token = self._site.sessions.begin(key, person)
        return self._back(visit, back)

    async def sign_out(self, visit: Visit) -> Response:
        """Forget the key."""
        self._site.sessions.end(visit.token)
        return visit.go("/sign-in" if self._site.has_keys else "/")

    async def look(self, visit: Visit) -> Response:
        """Keep how somebody wants to see pages."""
        form, look = visit.form, visit.look
        if form.get("theme") in _THEMES:
            look = replace(look, theme=form["theme"])
        if "payloads" in form:
            look = replace(look, hides_payloads=form["payloads"] == "hidden")
        if "live" in form:
            look = replace(look, is_live=form["live"] == "on")
        answer = self._back(visit, form.get("back", ""))
        self._site.set_cookie(answer, VIEW, str(look), is_kept=True)
        return answer

    def _back(self, visit: Visit, address: str) -> Response:
        answer = visit.go("/")
        if self._site.is_own(address):
            answer.headers["location"] = address
        return answer


def _to_person(data: Mapping[str, Any]) -> Person:
    """Return who the API says that its caller is; of an API that does not say, somebody who may try all."""
    caller = data.get("caller")
    if not isinstance(caller, Mapping):
        return ANYBODY
    apps = caller.get("apps")
    return Person(
        who=str(caller.get("who", "")),
        scopes=frozenset(convert(caller.get("scopes"), list[str])),
        apps=None if apps is None else tuple(convert(apps, list[str])),
    )


_ASK_WHO = Call(method="GET", path=BASE, read=_to_person)  #: any good key may
