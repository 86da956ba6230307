"""What every page stands on: who is signed in, what a form must have, how errors look, what headers say.

A page is declared by `Site.page`, a form by `Site.action`. Both get a `Visit`, or are not called at all:
nobody comes to a page without a session where the API asks for keys, and no form is read that does not come
from one of our own pages. What a page raises of `RingtimeError` becomes a page that says it.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ringtime_shared.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    Unauthenticated,
)
from ringtime_web.api import Api, Carrier
from ringtime_web.events import over, stale
from ringtime_web.rendering import Templates
from ringtime_web.sessions import ANYBODY, NOBODY, Person, Sessions, new_token
from ringtime_web.static_files import static_files

BY_ITSELF = ("live", "job")  #: ids of the parts of pages that ask again and again
UI = "/ui"  #: below it is every page but the first
SESSION, VIEW = "ringtime_session", "ringtime_view"  #: cookies
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
MOST_FORM_BYTES = 262_144
_MOST_FIELDS = 2_000
_FORM = "application/x-www-form-urlencoded"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with `no-referrer`, browsers send `Origin: null` with our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "cache-control": "no-store",
}
_HTTP: tuple[tuple[type[RingtimeError], int, str], ...] = (
    (Forbidden, 403, "Your key may not do this"),
    (NotFound, 404, "There is no such thing"),
    (InvalidRequest, 400, "That cannot be asked for"),
    (Conflict, 409, "It is not possible just now"),
    (OutcomeUnknown, 504, "It may have been done, or not"),
    (StoreUnavailable, 503, "The service cannot answer just now"),
)
_STEPS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)  #: browsers walk up by them
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody wants to see pages; his browser keeps it."""

    theme: str = "auto"  #: or `dark`, `light`
    hides_payloads: bool = False
    is_live: bool = True

    @classmethod
    def of(cls, text: str) -> Look:
        """Return what the cookie says; nonsense is nothing."""
        words = set(text.split("."))
        theme = next((word for word in ("dark", "light") if word in words), "auto")
        return cls(theme, "hidden" in words, "still" not in words)

    def __str__(self) -> str:
        return ".".join(
            [self.theme, *(["hidden"] if self.hides_payloads else []), *([] if self.is_live else ["still"])]
        )


@dataclass(slots=True)
class Visit:
    """One request for a page, and whose it is."""

    request: Request
    site: Site
    api: Api
    token: str  #: of the browser
    is_signed_in: bool
    person: Person
    look: Look
    form: Mapping[str, str]  #: what was sent with a form; of fields given twice the last one
    fields: list[tuple[str, str]]  #: the same, all of them

    def query(self, name: str, default: str = "") -> str:
        """Return a value of the address."""
        return self.request.query_params.get(name, default).strip()

    def may(self, scope: str) -> bool:
        """Whether it is worth offering what takes a scope; the API decides."""
        return self.person.may(scope)

    @property
    def done(self) -> str:
        """What a form has done that led here; "": none did. No link makes a page say so."""
        told = self.query("done")
        return told if self.site.sessions.is_sealed(self.token, told, self.query("seal")) else ""

    @property
    def is_piece(self) -> bool:
        """Whether a script asks for a piece of a page."""
        return self.request.headers.get("hx-request") == "true"

    def render(self, template: str, status: int = 200, /, **known: Any) -> Response:
        """Return a page."""
        return HTMLResponse(self.piece(template, **known), status)

    def piece(self, template: str, /, **known: Any) -> str:
        """Return a page, or a piece of one, as text."""
        shared = {
            "visit": self,
            "look": self.look,
            "form_token": self.site.sessions.form_token(self.token),
            "path": self.request.url.path,
            "here": self.site.here(self.request),
        }
        return self.site.templates.render(template, shared | known)

    def go(self, path: str, /, **query: object) -> Response:
        """Return the answer to a form that was carried out: look there. `done` says what was done."""
        if query.get("done"):
            query["seal"] = self.site.sessions.seal(self.token, str(query["done"]).strip())
        given = {name: value for name, value in query.items() if value not in (None, "")}
        url = self.site.url(path) + (f"?{urlencode(given, doseq=True)}" if given else "")
        if self.is_piece:
            return Response(status_code=204, headers={"hx-redirect": url})
        return RedirectResponse(url, 303)


Endpoint = Callable[[Visit], Awaitable[Response]]


class Site:
    """The dashboard of one process.

    Args:
        has_keys: whether people have to sign in.
        is_secure: whether browsers reach it by TLS alone.
    """

    def __init__(
        self,
        carrier: Carrier,
        sessions: Sessions,
        *,
        prefix: str,
        has_keys: bool,
        is_secure: bool,
        version: str,
        nav: object = (),
    ) -> None:
        self.carrier = carrier
        self.sessions = sessions
        self.prefix = prefix
        self.has_keys = has_keys
        self.is_secure = is_secure
        self.templates = Templates(
            url=self.url,
            static=self.static,
            has_keys=has_keys,
            version=version,
            nav=nav,
            new_key=new_token,
        )

    def url(self, path: str, /, **query: object) -> str:
        """Return the address of a page: `/` is the first one, others are below `/ui`."""
        given = {name: value for name, value in query.items() if value not in (None, "", False)}
        tail = f"?{urlencode(given, doseq=True)}" if given else ""
        return f"{self.prefix}/{tail}" if path == "/" else f"{self.prefix}{UI}{path}{tail}"

    def static(self, name: str) -> str:
        """Return the address of a script or a style, which changes with its contents."""
        return f"{self.prefix}{UI}/static/{name}?v={static_files()[name].version}"

    def here(self, request: Request) -> str:
        """Return the address that was asked for, to come back to."""
        query = request.url.query
        return request.url.path + (f"?{query}" if query else "")

    def is_own(self, address: str) -> bool:
        """Whether an address that somebody gave leads to one of our pages, and to no other site."""
        home = f"{self.prefix}/"
        below = f"{self.prefix}{UI}/"
        path = address.partition("?")[0]
        is_plain = address.isascii() and address.isprintable() and " " not in address  # it becomes a header
        leads_away = "\\" in path or "//" in path or _STEPS.search(path) is not None
        return is_plain and (path == home or path.startswith(below)) and not leads_away

    def page(self, path: str, endpoint: Endpoint, *, is_open: bool = False) -> Route:
        """Return the route of a page. `is_open`: also for whoever is not signed in."""
        return Route(self.url(path), self._over(endpoint, is_open=is_open), methods=["GET"])

    def action(self, path: str, endpoint: Endpoint, *, is_open: bool = False) -> Route:
        """Return the route of a form."""
        return Route(self.url(path), self._over(endpoint, is_open=is_open), methods=["POST"])

    def set_cookie(self, answer: Response, name: str, text: str, *, is_kept: bool = False) -> None:
        """Have the browser keep something for us: no script may read it, no other site have it sent."""
        answer.set_cookie(
            name,
            text,
            max_age=31_536_000 if is_kept else None,
            path=self.prefix or "/",
            secure=self.is_secure,
            httponly=True,
            samesite="strict",
        )

    def _over(self, endpoint: Endpoint, *, is_open: bool) -> Callable[[Request], Awaitable[Response]]:
        @wraps(endpoint)
        async def answered(request: Request) -> Response:
            token = request.cookies.get(SESSION, "")
            is_asked = not self._asks_by_itself(request)
            session = self.sessions.find(token, is_asked=is_asked) if self.has_keys else None
            visit = Visit(
                request=request,
                site=self,
                api=Api(self.carrier, "" if session is None else session.key, _client_of(request)),
                token=token or new_token(),
                is_signed_in=session is not None,
                person=(NOBODY if session is None else session.person) if self.has_keys else ANYBODY,
                look=Look.of(request.cookies.get(VIEW, "")),
                form={},
                fields=[],
            )
            answer = await self._answer(
                endpoint, visit, is_open=is_open or not self.has_keys or session is not None
            )
            if visit.token != token:
                self.set_cookie(answer, SESSION, visit.token)
            for name, text in HEADERS.items():
                answer.headers.setdefault(name, text)
            return answer

        return answered

    def _asks_by_itself(self, request: Request) -> bool:
        """Whether a page asks that nobody may be looking at."""
        by = request.headers.get("hx-trigger", "")  # the id of the part of a page that asks
        return request.method == "GET" and (by in BY_ITSELF or self._is_live(request))

    def _is_live(self, request: Request) -> bool:
        return request.url.path.startswith(self.url("/live/"))

    async def _answer(self, endpoint: Endpoint, visit: Visit, *, is_open: bool) -> Response:
        request = visit.request
        if SESSION not in request.cookies and request.headers.get("sec-fetch-site") == "cross-site":
            # A link from another site comes without the cookie, which is `Strict`. The same address comes
            # with it, if there is one, when a page of our own asks for it.
            visit.token = ""
            return visit.render("again.html")
        try:
            if request.method == "POST":
                await _read_form(visit)
                if not self.sessions.is_own_form(visit.token, visit.form.get(FORM_TOKEN, "")):
                    return self.fault(
                        visit,
                        403,
                        "This page is too old",
                        "Nothing was done. Load the page again, and repeat it.",
                    )
            if not is_open:
                return self._ask_to_sign_in(visit)
            return await endpoint(visit)
        except ClientDisconnect:
            return Response(status_code=400)
        except Unauthenticated:
            self.sessions.end(visit.token)
            return self._ask_to_sign_in(visit)
        except RingtimeError as error:
            return self.refused(visit, error)
        except Exception:  # noqa: BLE001 - a bug of one page is told by a number, and the log has the rest
            number = secrets.token_hex(4)
            _log.exception("the page %s failed: %s", visit.request.url.path, number)
            return self.fault(
                visit, 500, "This page has a fault", f"The log of the dashboard has it under {number}."
            )

    def refused(self, visit: Visit, error: RingtimeError) -> Response:
        """Return the page that says why the API did not do something."""
        for kind, status, title in _HTTP:
            if isinstance(error, kind):
                return self.fault(visit, status, title, str(error))
        return self.fault(visit, 502, "The service gave an answer that is none", str(error))

    def fault(self, visit: Visit, status: int, title: str, told: str) -> Response:
        """Return a page that says what is wrong; to a script, a piece that says it."""
        if self._is_live(visit.request):  # an answer that is no event would be the last one asked for
            return stale(f"{title}. {told}")
        template = "fault_piece.html" if visit.is_piece else "fault.html"
        return visit.render(template, status, title=title, told=told)

    def _ask_to_sign_in(self, visit: Visit) -> Response:
        request = visit.request
        if visit.is_piece:
            return Response(status_code=401, headers={"hx-refresh": "true"})
        if self._is_live(request):
            return over()
        back = self.here(request) if request.method == "GET" else ""
        return visit.go("/sign-in", back="" if back == self.url("/") else back)


async def _read_form(visit: Visit) -> None:
    """Read a form, of bounded length. Raises InvalidRequest, ClientDisconnect."""
    request = visit.request
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequest.of("Content-Type", f"must be {_FORM}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise InvalidRequest.of("form", f"must be at most {MOST_FORM_BYTES:,} bytes")
    try:
        visit.fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise InvalidRequest.of("form", "must be URL-encoded UTF-8") from None
    visit.form = dict(visit.fields)


def _client_of(request: Request) -> tuple[str, int]:
    return ("", 0) if request.client is None else (request.client.host, request.client.port)
