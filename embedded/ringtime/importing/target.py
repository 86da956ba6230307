"""The API of the Ringtime that takes an import. Every request may be repeated, so one that fails is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from ringtime_client.answers import NOTHING_DONE, RATE_LIMITED, UNAVAILABLE
from ringtime_client.credentials import find_key, with_key
from ringtime_client.exchange import BASE, Answer
from ringtime_client.transport import AsyncTransport, root_of
from ringtime_shared.api.imports import IMPORTS_PATH
from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import Conflict, ErrorWord, StoreUnavailable
from ringtime_shared.models.schedule import Status
from ringtime_shared.recurring.run_rows import CHANGE_AHEAD_MS

REQUEST_S = 60.0
PATIENCE_S = 60.0  #: how long a server may be away before the import ends
_NOT_FOUND = 404
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_AGAIN = frozenset(
    {*NOTHING_DONE, ErrorWord.OUTCOME_UNKNOWN, ErrorWord.IN_FLIGHT, ErrorWord.VERSION_CONFLICT}
)
Json = dict[str, Any]


class Target:
    """A running Ringtime."""

    def __init__(self, url: str, key_file: Path | None = None, *, patience_s: float = PATIENCE_S) -> None:
        """Raises InvalidRequest."""
        self._root = root_of(url)
        headers = with_key(self._root, None, find_key(None, key_file))
        self._transport = AsyncTransport(timedelta(seconds=REQUEST_S), headers)
        self._patience_s = patience_s

    async def close(self) -> None:
        await self._transport.close()

    async def apps(self) -> Mapping[str, Json]:
        """Return the registered apps, by id. Raises StoreUnavailable, Conflict."""
        data = await self._ask("GET", f"{BASE}/apps")
        return {app["appId"]: app for app in data["apps"]}

    async def register(self, body: Json) -> None:
        """Register an app. Raises StoreUnavailable, Conflict."""
        await self._ask("POST", f"{BASE}/apps", body)

    async def send(self, items: Sequence[Json], *, is_plan: bool) -> list[Json]:
        """Import schedules, or say what would become of them; return the result of each. Raises
        StoreUnavailable, Conflict."""
        flag = "?dry_run=true" if is_plan else ""
        data = await self._ask("POST", f"{IMPORTS_PATH}{flag}", {"schedules": list(items)})
        results: list[Json] = data["results"]
        return results

    async def cancel(self, schedule_id: str) -> bool:
        """Cancel by an old id; False: there is none to cancel. Raises StoreUnavailable, Conflict."""
        try:
            await self._ask("DELETE", f"{BASE}/schedules/{quote(schedule_id)}")
        except Refused as refused:
            if refused.http in (_NOT_FOUND, 409):
                return False
            raise
        return True

    async def runs_from_ms(self, schedule_id: str) -> int | None:
        """Return from when on a cron, by its old id, makes its runs here; None: it was not imported, or is
        deleted. Raises StoreUnavailable, Conflict."""
        try:
            shown = (await self._ask("GET", f"{BASE}/schedules/{quote(schedule_id)}"))["schedule"]
        except Refused as refused:
            if refused.http == _NOT_FOUND:
                return None
            raise
        if shown["status"] == Status.DELETED:
            return None
        first_ms = parse_instant(shown["createdAt"]) + CHANGE_AHEAD_MS + 1
        return max(first_ms, parse_instant(shown["startTime"])) if "startTime" in shown else first_ms

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Return the `data` of an answer, asking again while the server cannot say."""
        sent = None if body is None else orjson.dumps(body)
        until_s = asyncio.get_running_loop().time() + self._patience_s
        wait_s = _FIRST_WAIT_S
        while True:
            ending = await self._transport.send(method, self._root + path, sent, REQUEST_S)
            if not isinstance(ending, Answer):
                why = ending.reason
            elif ending.http in (408, RATE_LIMITED, *UNAVAILABLE):
                why = f"HTTP {ending.http}: {_sentence(ending.body)}"
            else:
                return _read(method, path, ending)
            if asyncio.get_running_loop().time() + wait_s > until_s:
                raise StoreUnavailable(
                    f"{self._root} does not answer: {why}; run the import again, and it goes on"
                )
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


class Refused(Conflict):
    """The API said no."""

    def __init__(self, message: str, http: int) -> None:
        super().__init__(message)
        self.http = http


def is_passing(result: Mapping[str, Any]) -> bool:
    """Whether the result of an item says that it may be done if it is asked for again."""
    return result.get("status", {}).get("error") in _AGAIN


def why_refused(status: Mapping[str, Any]) -> str:
    """Return what is wrong with an item."""
    errors = status.get("errors") or ()
    told = "; ".join(f"{each['field']} {each['rule']}" for each in errors)
    return told or str(status.get("statusMessage", "refused"))


def _read(method: str, path: str, answer: Answer) -> Json:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or answer.http >= 300 or not isinstance(document.get("data"), dict):
        what = f"{method} {path.partition('?')[0]} is answered {answer.http}: {_sentence(answer.body)}"
        raise Refused(what, answer.http)
    data: Json = document["data"]
    return data


def _sentence(body: bytes) -> str:
    try:
        status = orjson.loads(body)["status"]
        return why_refused(status)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
