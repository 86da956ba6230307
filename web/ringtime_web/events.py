"""Live pieces of a page, as server-sent events.

Each answer ends after one event, and says after how long the browser is to ask again, which it does by
itself. So a page that somebody forgot costs a request every few seconds and no connection, a proxy that
collects answers passes them on, and a server that stops has nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

AGAIN_MS = 2_000
LATER_MS = 10_000  #: when there was nothing to tell


def pieces(shown: Mapping[str, str], *, is_over: bool = False, again_ms: int = AGAIN_MS) -> Response:
    """Return the event that puts new contents into elements, by their ids.

    Args:
        is_over: nothing more will change.
    """
    return over() if is_over else _event("pieces", orjson.dumps(dict(shown)).decode(), again_ms)


def over() -> Response:
    """Return the event that has the page loaded anew; it asks for no more."""
    return _event("over", "")


def stale(why: str) -> Response:
    """Return the event that says why there is nothing newer; it is asked for again."""
    return _event("stale", orjson.dumps(why).decode(), LATER_MS)


def _event(name: str, data: str, again_ms: int | None = None) -> Response:
    retry = "" if again_ms is None else f"retry: {again_ms}\n"
    return Response(f"{retry}event: {name}\ndata: {data}\n\n", media_type="text/event-stream")
