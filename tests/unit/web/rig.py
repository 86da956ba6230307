"""The dashboard on the real API and a store in memory, and a browser of forty lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from http.cookies import SimpleCookie
from typing import Any, cast
from urllib.parse import urlencode

from tests.unit.ingest.rig import Client, Reply, Rig, make_rig

from ringtime_ingest.http import create_app
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.settings import ServerSettings, WebSettings
from ringtime_web.api import InProcess
from ringtime_web.app import Dashboard

_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
HTML = ("accept", "text/html,application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser was answered."""

    reply: Reply

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.reply.headers

    @property
    def html(self) -> str:
        return self.reply.body.decode()

    @property
    def text(self) -> str:
        """What is to be read on it."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.html)).split())

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def form_token(self) -> str:
        found = _TOKEN.search(self.html)
        assert found is not None, self.html[:2_000]
        return found[1]


class Browser:
    """Keeps cookies, and sends forms with the token of the last page."""

    def __init__(self, web: Web) -> None:
        self.cookies: dict[str, str] = {}
        self.attributes: dict[str, str] = {}  #: of cookies, as they were set
        self.token = ""
        self._client = Client(web.app)

    async def get(self, target: str, *headers: tuple[str, str]) -> Page:
        page = await self._send("GET", target, b"", headers)
        found = _TOKEN.search(page.html)
        self.token = self.token if found is None else found[1]
        return page

    async def post(
        self,
        target: str,
        fields: Mapping[str, object] | Sequence[tuple[str, object]] = (),
        *headers: tuple[str, str],
        token: str | None = None,
    ) -> Page:
        pairs = [*(fields.items() if isinstance(fields, Mapping) else fields)]
        body = urlencode([*pairs, ("form_token", self.token if token is None else token)]).encode()
        kind = ("content-type", "application/x-www-form-urlencoded")
        return await self._send("POST", target, body, [kind, *headers])

    async def sign_in(self, key: str) -> Page:
        await self.get("/ui/sign-in")
        return await self.post("/ui/sign-in", {"key": key})

    async def _send(self, method: str, target: str, body: bytes, headers: Iterable[tuple[str, str]]) -> Page:
        sent = [HTML, ("host", "localhost"), *headers]
        if self.cookies:
            sent.append(("cookie", "; ".join(f"{name}={text}" for name, text in self.cookies.items())))
        reply = await self._client.call(method, target, body, headers=sent)
        for name, line in reply.headers.items():
            if name == "set-cookie":
                for key, morsel in SimpleCookie(line).items():
                    self.cookies[key] = morsel.value
                    self.attributes[key] = line
        return Page(reply)


@dataclass(frozen=True, slots=True)
class Web:
    """A dashboard, and what is behind it."""

    rig: Rig
    dashboard: Dashboard
    app: Any

    def browser(self) -> Browser:
        return Browser(self)

    def key(self, scopes: Iterable[Scope] = Scope, apps: Iterable[str] | None = None) -> str:
        """Return a new key of the API."""
        text, key = make_key(set(scopes), apps, label="test", now_ms=1)
        self.rig.store.real._api_keys[key.key_id] = replace(key)
        return text


def make_web(
    *, has_keys: bool = False, is_secure: bool = False, rig: Rig | None = None, **settings: Any
) -> Web:
    """Return a dashboard before an API on a store in memory, as `ringtime serve` has it.

    Args:
        settings: of `WebSettings`.
    """
    rig = make_rig() if rig is None else rig
    api: Any = rig.client.app
    if has_keys:

        async def ready() -> None: ...

        keys = KeyChecks(cast(Any, rig.store), rig.clock)
        api = create_app(rig.service, ServerSettings(), ready, keys=keys)
    dashboard = Dashboard(
        WebSettings(**settings),
        InProcess(api),
        has_keys=has_keys,
        is_secure=is_secure,
        boot_ms=rig.clock.boot_ms,
    )
    return Web(rig, dashboard, dashboard.before(api))
