"""The routes of signing secrets. The secret itself is in one answer only, that of its create."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ringtime_ingest.http.body import BodyReader
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import NEW_SIGNING_SECRET
from ringtime_ingest.http.parsing import parse_app_id
from ringtime_ingest.http.routes.api import BASE
from ringtime_ingest.http.strict_json import Unreadable, decode_json
from ringtime_ingest.service.signing import SigningSecrets
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import SigningSecret
from ringtime_shared.settings import ServerSettings


class SigningApi:
    """The endpoints, on the plural path of apps and on the singular one."""

    def __init__(self, signing: SigningSecrets, bodies: BodyReader, settings: ServerSettings) -> None:
        self._signing = signing
        self._bodies = bodies
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        """Return all routes."""
        return [
            Route(f"{BASE}/{word}/{{app_id}}/signing-secrets{tail}", endpoint, methods=[method])
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("", self.create_secret, "POST"),
                ("", self.fetch_secrets, "GET"),
                ("/{secret_id}", self.delete_secret, "DELETE"),
            )
        ]

    async def create_secret(self, request: Request) -> Response:
        app_id, settings = _app_id_of(request), self._settings
        body = await self._bodies.read(request.scope, request.receive)
        made = await self._signing.create(app_id, parse_new_secret(body, settings.max_json_depth))
        shown = {"secretId": made.secret_id, "secret": made.secret, "createdAt": to_iso(made.created_ms)}
        answer = success(shown, code=201, http=settings.created_http_status)
        answer.raw_headers.append((b"cache-control", b"no-store"))
        return answer

    async def fetch_secrets(self, request: Request) -> Response:
        live = await self._signing.fetch(_app_id_of(request))
        return success({"signingSecrets": [_secret_to_json(each) for each in live]}, total=len(live))

    async def delete_secret(self, request: Request) -> Response:
        secret_id = request.path_params["secret_id"]
        await self._signing.delete(_app_id_of(request), secret_id)
        return success({"secretId": secret_id})


def parse_new_secret(body: bytes, max_depth: int) -> str | None:
    """Return the client's own secret; None, also without a body: make one. Raises Unreadable."""
    if not body:
        return None
    wrong: list[Violation] = []
    found = NEW_SIGNING_SECRET.read(decode_json(body, max_depth), "", wrong)
    if wrong:
        raise Unreadable(wrong)
    return cast("str | None", found.get("secret"))


def _secret_to_json(secret: SigningSecret) -> dict[str, object]:
    return {"secretId": secret.secret_id, "createdAt": to_iso(secret.created_ms)}


def _app_id_of(request: Request) -> str:
    return parse_app_id(request.path_params["app_id"])
