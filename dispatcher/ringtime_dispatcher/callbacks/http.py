"""HTTP callbacks: one request an attempt, from one pool of connections.

The body is the payload, for every method, as the seed sends it. Redirects are answers, not followed;
proxies and netrc of the environment are ignored; at most 16 KiB of an answer are read, as they came off
the wire, never unpacked.

| answer | outcome of the attempt |
|---|---|
| 2xx | success |
| 410 | failure, and trying again is of no use |
| any other status | failure, tried again by policy; `Retry-After` in seconds is honoured |
| none: refused, reset, timed out | failure, tried again by policy |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    PyreqwestError,
    RequestTimeoutError,
    TransportError,
)
from pyreqwest.response import Response

from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.protocol import Delivery, Reply

_ANSWER_BYTES = 16 * 1024
_IDLE_S = 60  #: a pooled connection older than this is not used again
_GONE = 410


class HttpCallback(HttpRules):
    """The `http` callback type. Must be made while an event loop runs."""

    def __init__(self, *, max_connections: int = 500) -> None:
        self._client: Client = (
            ClientBuilder()
            .follow_redirects(False)
            .no_proxy()
            .gzip(False)
            .deflate(False)
            .brotli(False)
            .zstd(False)
            .tcp_nodelay(True)
            .max_connections(max_connections)
            .pool_idle_timeout(timedelta(seconds=_IDLE_S))
            .user_agent("ringtime")
            .build()
        )

    async def invoke(self, delivery: Delivery) -> Reply:
        """Send once and read the answer."""
        details = orjson.loads(delivery.schedule.callback_details)
        request = (
            self._client.request(details["method"], details["url"])
            .headers(_headers(details.get("headers") or {}, delivery))
            .body_text(delivery.schedule.payload)
            .timeout(timedelta(milliseconds=delivery.timeout_ms))
        )
        try:
            async with request.build_streamed() as response:
                await response.body_reader.read(_ANSWER_BYTES)
                return _reply(response)
        except RequestTimeoutError:
            return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")
        except TransportError as error:
            # The client's own class is no proof that nothing was sent; only this cause is.
            refused = any("(Connect)" in str(cause) for cause in (error.details or {}).get("causes") or ())
            return Reply(ok=False, error="could not connect" if refused else "the connection broke")
        except BuilderError:
            return Reply(ok=False, error="the request cannot be made from these details", is_final=True)
        except PyreqwestError as error:
            return Reply(ok=False, error=f"the request failed: {type(error).__name__}")

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._client.close()


def _headers(given: Mapping[str, str], delivery: Delivery) -> dict[str, str]:
    schedule = delivery.schedule
    headers = {"content-type": "application/json"}
    headers.update((name.lower(), value) for name, value in given.items())
    fire_time = datetime.fromtimestamp(schedule.fire_ms / 1000, UTC).isoformat(timespec="milliseconds")
    headers["schedule-id"] = str(schedule.schedule_id)
    headers["ringtime-attempt"] = str(delivery.attempt)
    headers["ringtime-fire-time"] = fire_time.replace("+00:00", "Z")
    headers["ringtime-term"] = str(delivery.term)
    return headers


def _reply(response: Response) -> Reply:
    status = response.status
    if 200 <= status < 300:
        return Reply(ok=True, code=status)
    retry_after = response.get_header("retry-after") or ""
    return Reply(
        ok=False,
        code=status,
        error=f"answered {status}",
        is_final=status == _GONE,
        retry_after_ms=int(retry_after) * 1000 if retry_after.isascii() and retry_after.isdigit() else None,
    )
