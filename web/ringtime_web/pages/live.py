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


def pieces(shown: Mapping[str, str], *, is_over: bool = False, again_ms: int = AGAIN_MS) -> Response:
    """Return the event that puts new contents into elements, by their ids.

    Args:
        is_over: nothing more will change: the page is to be loaded anew, and to ask no more.
    """
    if is_over:
        return Response("event: over\ndata: \n\n", media_type="text/event-stream")
    event = f"retry: {again_ms}\nevent: pieces\ndata: {orjson.dumps(dict(shown)).decode()}\n\n"
    return Response(event, media_type="text/event-stream")
