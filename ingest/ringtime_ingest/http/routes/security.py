"""Whom to tell of a weakness, where those who look for it expect that: `/.well-known/security.txt`.

Source: RFC 9116.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import NO_PATH, Answer, failure
from ringtime_ingest.http.guard import OPEN, Declared
from ringtime_shared.errors import ErrorWord
from ringtime_shared.http_server import SECURITY_TXT
from ringtime_shared.settings import ServerSettings

_PLAIN = b"text/plain; charset=utf-8"


class SecurityRoutes:
    """One route, for whoever asks; 404 while the settings name nobody."""

    def __init__(self, settings: ServerSettings) -> None:
        lines = [f"Contact: {each}" for each in settings.security_contacts]
        lines.append(f"Expires: {settings.security_expires}T00:00:00Z")
        self._text = "\n".join([*lines, ""]).encode() if settings.security_contacts else b""

    def all(self) -> list[BaseRoute]:
        return [Declared(SECURITY_TXT, self.fetch, ["GET"], OPEN)]

    async def fetch(self, request: Request) -> Response:
        if not self._text:
            return failure(NO_PATH, ErrorWord.NO_SUCH_PATH, "server.security_contacts names nobody")
        return Answer(self._text, 200, kind=_PLAIN)
