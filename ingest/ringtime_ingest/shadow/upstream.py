"""goscheduler, as one base URL that the operator gave: creates and deletes of schedules.

A connection pool of its own; redirects are not followed and proxies of the environment ignored, so nothing
that goscheduler, or whoever answers for it, says leads anywhere else. Requests at once are bounded, and each
in time.

| goscheduler | a create | a delete |
|---|---|---|
| 200 | its id | done |
| 404 | refused | done: it is not there |
| another 4xx | InvalidRequest, with its words | UpstreamUnavailable |
| 3xx, or a 2xx without an id | UpstreamUnavailable, OutcomeUnknown | UpstreamUnavailable |
| 5xx, no answer in time, a broken connection | OutcomeUnknown | OutcomeUnknown |
| no connection, or too many at once | UpstreamUnavailable | UpstreamUnavailable |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import orjson

from ringtime_client.exchange import Answer
from ringtime_client.transport import AsyncTransport
from ringtime_ingest.shadow.places import Places
from ringtime_shared.errors import InvalidRequest, OutcomeUnknown, UpstreamUnavailable
from ringtime_shared.settings import ShadowSettings

_SCHEDULES = "/goscheduler/schedules"
_APP_CODES = (4001, 4002)  #: the app is unknown there, or not active
_MOST_SAID_CHARS = 200


class Upstream:
    """goscheduler. Made where there is an event loop."""

    def __init__(self, settings: ShadowSettings) -> None:
        self._url = settings.upstream_url + _SCHEDULES
        self._timeout_s = settings.upstream_timeout_ms / 1_000
        self._places = Places(settings.most_forwarded)
        self._http = AsyncTransport(timedelta(seconds=self._timeout_s))

    async def create(self, app_id: str, body: Mapping[str, object]) -> UUID:
        """Create a schedule; return its id there.

        Raises InvalidRequest, UpstreamUnavailable, OutcomeUnknown.
        """
        answer = await self._ask(app_id, "POST", self._url, orjson.dumps(body))
        if answer.http == 200:
            schedule_id = _id_in(answer.body)
            if schedule_id is None:
                raise OutcomeUnknown("goscheduler's answer names no schedule")
            return schedule_id
        if not 400 <= answer.http < 500:
            raise UpstreamUnavailable(f"goscheduler answered {answer.http}; nothing was created")
        code, said = _refusal_in(answer.body)
        field = "appId" if code in _APP_CODES else "body"
        raise InvalidRequest.of(
            field, f"goscheduler refused it with {code or answer.http}: {said}".rstrip(": ")
        )

    async def delete(self, app_id: str, schedule_id: UUID) -> None:
        """See to it that a schedule is not there. Raises UpstreamUnavailable, OutcomeUnknown."""
        answer = await self._ask(app_id, "DELETE", f"{self._url}/{schedule_id}", None)
        if answer.http not in (200, 404):
            raise UpstreamUnavailable(f"goscheduler answered {answer.http}; nothing was cancelled")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _ask(self, app_id: str, method: str, url: str, body: bytes | None) -> Answer:
        """Return an answer that tells what became of it."""
        if self._places.are_full(app_id):
            raise UpstreamUnavailable("too many requests to goscheduler at once; try again")
        with self._places.one(app_id):
            ending = await self._http.send(method, url, body, self._timeout_s)
        if not isinstance(ending, Answer):
            if ending.sent:
                raise OutcomeUnknown(f"goscheduler did not answer: {ending.reason}")
            raise UpstreamUnavailable("goscheduler could not be reached; nothing was written")
        if ending.http >= 500:
            raise OutcomeUnknown(f"goscheduler answered {ending.http}")
        return ending


def _id_in(body: bytes) -> UUID | None:
    try:
        return UUID(orjson.loads(body)["data"]["schedule"]["scheduleId"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _refusal_in(body: bytes) -> tuple[int, str]:
    """Return the code and the words of a refusal; 0 and none for what is no answer of goscheduler's."""
    try:
        status = orjson.loads(body)["status"]
        code, said = status["statusCode"], status["statusMessage"]
    except (ValueError, KeyError, TypeError):
        return 0, ""
    words = said if isinstance(said, str) else ""
    printable = "".join(each if each.isprintable() else " " for each in words[:_MOST_SAID_CHARS])
    return (code if isinstance(code, int) else 0), printable
