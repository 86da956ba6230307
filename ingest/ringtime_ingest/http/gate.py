"""The outermost layer: who may come in, how many requests at once and how long a body, and what becomes of
a bug.

The gate stands before the short way (`Shortcut`) and the long one alike, so it is the one place for whatever
is to be asked of every request. It asks for the API key of all but those to open routes, and says in the ASGI
scope who the caller is (`guard.CALLER`); what he may do, and with which apps, the guard of the route asks.

The short way is that of the busiest routes, to the method that answers past Starlette's router, which tries
one pattern after another and wraps what it finds in layers that they have no use for: half of what a read
costs. There a request finds the same method by its path as it is spelled. All else goes the long way: other
routes, other methods, another spelling. What stands before both ways (the server, this gate) and what is
behind them (the guard, the method, what it reads and raises) is the same, so an answer is the same to the
byte, whichever way it came.

Pure ASGI. An exception nobody expected is logged once and answered without a word about it; Starlette's
own handler would raise it again and have the server log it a second time.

Bodies are bounded each in bytes and in time, all together in bytes. Our own server (see
`ringtime_shared.http_server`) hands over whole bodies within these bounds, so there is one piece to look at;
behind another server they are counted as they arrive, so that what a sender holds here is never more than it
has sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from logging import DEBUG
from time import perf_counter as now_s
from typing import cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringtime_ingest.http.envelope import (
    ERRORS,
    FAULT,
    FAULT_SENTENCE,
    UNAVAILABLE,
    Answer,
    BodyTooLarge,
    BodyTooSlow,
    TooMuchAtOnce,
    failure,
    refusal,
)
from ringtime_ingest.http.guard import CALLER
from ringtime_ingest.http.meter import METERED, Meter
from ringtime_ingest.http.shapes import Unreadable
from ringtime_shared.access import ANYBODY, KeyChecks
from ringtime_shared.api.audit import REQUEST_ID
from ringtime_shared.api.batches import BATCH_PATHS
from ringtime_shared.errors import ErrorWord, RateLimited, StoreUnavailable, Unauthenticated
from ringtime_shared.http_server import TAKE, WHOLE
from ringtime_shared.logs.requests import name_request, under_way
from ringtime_shared.metrics.names import Instrument, Kind, Role
from ringtime_shared.metrics.registry import Buckets
from ringtime_shared.settings import ServerSettings

_OTHER_CHARSET = re.compile(rb"charset\s*+=\s*+\"?+(?!utf-?8\b)", re.IGNORECASE)
_ALWAYS = ("/health/", "/metrics")
_REQUEST_ID = REQUEST_ID.lower().encode()
_BEGUN = "ringtime.begun"  #: in the scope: when the request came in, on a clock of its own
_STARTED = "ringtime.started"  #: in the scope: that an answer was begun
_log = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
_ID = "{schedule_id}"
_ID_CHARS = 36  #: whether they are an id is the method's to say, on both ways
_TOLD = tuple(ERRORS)  #: what a client is told of; all else is a bug
#: not one of ours, so not among `names`; the buckets are those that goscheduler's library has
DURATION = Instrument(
    name="http_requests_duration",
    kind=Kind.HISTOGRAM,
    help="",
    roles=(Role.INGEST,),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


def busy() -> Answer:
    """Return the answer to a request for which there is no room; nothing of it was done."""
    return failure(UNAVAILABLE, ErrorWord.SERVER_BUSY, "too many requests at once; try again")


class Room:
    """The places of one server: a request takes one, a batch as many as its work is worth."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._by_batches = 0

    @contextmanager
    def for_batch(self, places: int) -> Iterator[bool]:
        """Hold so many places, a quarter of all at most, and yield True; False if there are not so many for
        it, since batches together have half."""
        places = max(min(places, self.most // 4), 1)  # the request itself has one already
        if self._by_batches + places > max(self.most // 2, 1) or self.taken + places > self.most + 1:
            yield False
            return
        self.taken += places - 1
        self._by_batches += places
        try:
            yield True
        finally:
            self.taken -= places - 1
            self._by_batches -= places


class Shortcut:
    """Finds the methods of routes whose path is plain, or ends in the id of a schedule."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """`routes`: those that may be reached by the short way."""
        self._plain: dict[tuple[str, str], Endpoint] = {}
        self._by_id: dict[tuple[str, str], Endpoint] = {}
        for route in routes:
            if isinstance(route, Route) and "{" not in (path := route.path.removesuffix(_ID)):
                found = self._plain if path == route.path else self._by_id
                for method in route.methods or ():
                    found[method, path] = cast(Endpoint, route.endpoint)

    def find(self, scope: Scope) -> Endpoint | None:
        """Return the method that answers, with what the path names in the scope; None: the request goes the
        long way."""
        method, path = scope["method"], scope["path"]
        endpoint = self._plain.get((method, path))
        if endpoint is None:
            schedule_id = path[-_ID_CHARS:]
            endpoint = self._by_id.get((method, path[:-_ID_CHARS]))
            if endpoint is None or "/" in schedule_id:
                return None
            scope["path_params"] = {"schedule_id": schedule_id}
        scope["endpoint"] = endpoint
        return endpoint


class RequestCounts:
    """Requests that were answered, by the endpoint that they found, None: none; see `routes.metrics`."""

    def __init__(self) -> None:
        self.counts = Counter[tuple[object, bool]]()  #: beside it, whether they got what they asked for
        self.took: dict[object, Buckets] = {}

    def note(self, endpoint: object, status: int, took_s: float) -> None:
        """Count one."""
        self.counts[endpoint, status < 400] += 1
        took = self.took.get(endpoint)
        if took is None:
            took = self.took[endpoint] = Buckets(DURATION)
        took.add(took_s)


class Gate:
    """The application as the server calls it: lets requests in that have a good key, while there is room; who
    asks how the server does always passes."""

    def __init__(
        self,
        app: ASGIApp,
        room: Room,
        counts: RequestCounts,
        short: Shortcut | None = None,
        *,
        meter: Meter,
        keys: KeyChecks | None = None,
        is_open: Callable[[str], object] = lambda _: False,
        most_of_key: int,
        routes: Sequence[BaseRoute],
    ) -> None:
        """
        Args:
            app: the long way.
            counts: told of each answer.
            short: the short way, asked first; None: all go the long one.
            keys: tell callers by their keys; None: anybody may do everything.
            is_open: whether a path needs no key.
            most_of_key: requests in progress with one key.
            routes: all there are, for whoever asks which.
        """
        self._app = app
        self._room = room
        self._note = counts.note
        self._short = short
        self._meter = meter
        self._keys = keys
        self._is_open = is_open
        self._most_of_key = most_of_key
        self._of_keys: dict[str, int] = {}  # requests in progress, by key
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            scope["app"] = self
            await self._app(scope, receive, send)
            return
        scope[_BEGUN] = now_s()
        if self._room.taken >= self._room.most and not scope["path"].startswith(_ALWAYS):
            await self._tell(busy(), scope, receive, send)
            return
        self._room.taken += 1
        key_id, logged = "", [scope]
        under_way.set(logged)
        try:
            if self._keys is None:
                scope[CALLER] = ANYBODY
            elif not self._is_open(scope["path"]):
                given = _given(scope)
                caller = scope[CALLER] = self._keys.recall(given) or await self._keys.check(given)
                key_id = self._take_place(caller.key_id)
                self._meter.with_key(scope, caller)
            endpoint = None if self._short is None else self._short.find(scope)
            if endpoint is None:
                await self._go_long(scope, receive, send)
                return
            try:
                answer = await endpoint(Request(scope, receive))
            except _TOLD as error:
                answer = refusal(error)
            await self._tell(answer, scope, receive, send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except (Unauthenticated, StoreUnavailable) as error:  # of the key: the ways answer their own
            await self._tell(refusal(error), scope, receive, send)
        except Exception:
            _log.exception("%s failed", scope["method"])
            if scope.get(_STARTED, False):
                raise  # the connection has to be cut: the answer cannot be completed
            fault = failure(FAULT, ErrorWord.INTERNAL_ERROR, FAULT_SENTENCE)
            fault.raw_headers.append((_REQUEST_ID, name_request(scope).encode()))
            await self._tell(fault, scope, receive, send)
        finally:
            logged.clear()
            self._room.taken -= 1
            if key_id:
                self._of_keys[key_id] -= 1
                if not self._of_keys[key_id]:
                    del self._of_keys[key_id]

    def _take_place(self, key_id: str) -> str:
        """Return the key for which a place was taken. Raises RateLimited when it has as many as it may."""
        taken = self._of_keys.get(key_id, 0)
        if taken >= self._most_of_key:
            raise RateLimited("key-concurrency", 1, "too many requests of this API key at once; try again")
        self._of_keys[key_id] = taken + 1
        return key_id

    async def _go_long(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if _STARTED not in scope:
                scope[_STARTED] = True
                self._note(scope.get("endpoint"), message["status"], now_s() - scope[_BEGUN])
                if _log.isEnabledFor(DEBUG):
                    _log_answer(scope, message["status"])
                if METERED in scope:
                    message["headers"] = [*message["headers"], *self._meter.headers(scope)]
            await send(message)

        scope["app"] = self  # so Starlette's router raises for a path there is not, and we answer
        await self._app(scope, receive, watched)

    async def _tell(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Count an answer that is whole, and give it to the server: our own takes it in one piece, unless
        something stands in between."""
        self._note(scope.get("endpoint"), answer.status_code, now_s() - scope[_BEGUN])
        if _log.isEnabledFor(DEBUG):
            _log_answer(scope, answer.status_code)
        if METERED in scope:
            answer.raw_headers += self._meter.headers(scope)
        scope[_STARTED] = True
        its_send, take = scope.get(TAKE, (None, None))
        if its_send is send and take is not None:
            take(answer.status_code, answer.raw_headers, answer.body)
        else:
            await answer(scope, receive, send)


def _log_answer(scope: Scope, status: int) -> None:
    """Say which route has answered, for whoever follows each request. Not its path: clients put secrets into
    paths, be it by mistake or as the tickets of completions."""
    route = getattr(scope.get("endpoint"), "__qualname__", "no route")
    _log.debug("%s %s: %d", scope["method"], route, status, extra={"status": status})


def _given(scope: Scope) -> bytes:
    """Return what a request says in `Authorization`. Raises Unauthenticated if it does not, or says it twice:
    what stands before this server may have looked at the other one."""
    given: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if given is not None:
                raise Unauthenticated
            given = value
    if given is None:
        raise Unauthenticated
    return given


class Bodies:
    """Reads the bodies of one server's requests."""

    def __init__(self, settings: ServerSettings, *, reads_plain: bool = True) -> None:
        """`reads_plain`: whether those of creates may be read by `plain`."""
        self.reads_plain = reads_plain
        self._most_bytes = settings.max_body_bytes
        self._most_batch_bytes = settings.most_batch_bytes
        self._deadline_s = settings.read_deadline_s
        self._free_bytes = settings.max_reading_bytes

    async def read(self, request: Request) -> bytes:
        """Return the whole body.

        Raises BodyTooLarge, BodyTooSlow, TooMuchAtOnce, Unreadable, ClientDisconnect.
        """
        is_batch = request.scope["path"] in BATCH_PATHS
        most_bytes = self._most_batch_bytes if is_batch else self._most_bytes
        for name, value in request.scope["headers"]:
            if name == b"content-length":
                # the server has checked that it is a number, and gives no more bytes than it says
                if len(value) > 18 or int(value) > most_bytes:
                    raise BodyTooLarge(most_bytes)
            elif name == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
                raise Unreadable.of("Content-Encoding", "must be left out: send the body uncompressed")
            elif name == b"content-type" and _OTHER_CHARSET.search(value):
                raise Unreadable.of("Content-Type", "the charset must be utf-8")
        its_receive, whole = request.scope.get(WHOLE, (None, None))
        if its_receive is request.receive and whole is not None:
            if len(whole) > most_bytes:
                raise BodyTooLarge(most_bytes)
            return cast(bytes, whole)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._deadline_s):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    self._free_bytes -= len(chunk)
                    if size > most_bytes:
                        raise BodyTooLarge(most_bytes)
                    if self._free_bytes < 0:
                        raise TooMuchAtOnce
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return chunk if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:
            raise BodyTooSlow(self._deadline_s) from None
        finally:
            self._free_bytes += size
