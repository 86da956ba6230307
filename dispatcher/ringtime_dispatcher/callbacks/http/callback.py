"""HTTP callbacks: one request of HTTP/1.1 an attempt, to an address that was checked for it.

The body is the payload, for every method, as goscheduler sends it. Redirects are answers, not followed;
proxies and netrc of the environment are ignored; an answer is read up to 16 KiB and the piece that passes
them, as it came off the wire, never unpacked.

Each attempt asks what the host's name means now, refuses the target unless every address is allowed, and
connects to one of the addresses it checked. Nothing is left to be looked up in between, so a name that
means one thing to the check and another to the connection gains nothing.

| answer | outcome of the attempt |
|---|---|
| 2xx | success; of 202, its end may come later: see `ringtime_shared.recurring.completing` |
| 410 | failure, and trying again is of no use; the URL is left alone for a while |
| any other status | failure, tried again by policy; `Retry-After` is honoured |
| none: no such host, refused, reset, timed out | failure, tried again by policy |
| none: we, or the receiver, refused a certificate | failure that says which, and why; tried again by policy |
| none: the target is not allowed | failure, and trying again is of no use |
| none: this node is short of descriptors, memory or ports | a shortage: no attempt was made |

The status counts as soon as its line is there, whatever follows it and however the connection ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from ringtime_dispatcher.callbacks.http.answer import AnswerReader
from ringtime_dispatcher.callbacks.http.connections import Connection, Connections, Ended, Shortage, Way
from ringtime_dispatcher.callbacks.http.trust import Trust
from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_shared.callbacks.address_rules import Address
from ringtime_shared.callbacks.egress_policy import NOT_ALLOWED, EgressPolicy
from ringtime_shared.callbacks.http_rules import METHODS, HttpRules, header_fault
from ringtime_shared.callbacks.protocol import Delivery, PromptType, Reply, instant
from ringtime_shared.callbacks.resolver import Answer, Resolver
from ringtime_shared.callbacks.url_rules import DEFAULT_PORTS, Target, parse_target, url_fault
from ringtime_shared.certificates import fault_text
from ringtime_shared.clock import Clock, SystemClock
from ringtime_shared.recurring.completing import Completions, completion_ms_of, ticket_of
from ringtime_shared.settings import CallbackSettings
from ringtime_shared.traces.context import headers_of

_MOST_ADDRESSES = 3  #: tried in one attempt
_MOST_FAILED = 1_024  #: hosts of which a failed address is remembered
_MOST_KNOWN = 1_024  #: origins whose ways are
_GONE = 410
_UNUSABLE = Reply(ok=False, error="the request cannot be made from these details", is_final=True)
_BLOCKED = Reply(ok=False, error=NOT_ALLOWED, is_final=True)
_NO_COMPLETIONS = Reply(
    ok=False,
    error="completion.base_url and completion.secret are not set on this dispatcher",
)
_UNRESOLVED = Reply(ok=False, error="could not resolve the host")
_USUAL = {"accept": "Accept: */*", "user-agent": "User-Agent: ringtime"}  #: unless the schedule has its own
_JSON = "Content-Type: application/json"
_RESOURCE = re.compile(r"[/?]")  #: what the path or the query begins with
_EXPECT_BODY = frozenset(["POST", "PUT", "PATCH"])  #: servers ask these for a length, be it 0


class HttpCallback(HttpRules, PromptType):
    """The `http` callback type. Complete once it is made: nothing is left to be set up at the first attempt.

    Raises StartupError for root certificates that cannot be read.

    Args:
        max_connections: connections at once, idle ones included.
        clock: dates signatures and `Retry-After`; None: the machine's.
        completions: makes the URLs by which receivers say that they are done; None: there are none.
        trust: certificates; None: the machine's roots.
    """

    receiver_key = "url"

    def __init__(
        self,
        policy: EgressPolicy,
        resolver: Resolver,
        *,
        max_connections: int = 500,
        clock: Clock | None = None,
        completions: Completions | None = None,
        trust: Trust | None = None,
    ) -> None:
        super().__init__(policy, resolver)
        self._names = resolver
        self._clock = clock or SystemClock()
        self._completions = completions
        self._trust = trust or Trust(CallbackSettings())
        self._connections = Connections(most=max_connections, trust=self._trust)
        self._known: dict[str, _KnownOrigin] = {}  # by origin
        self._failed: dict[str, Address] = {}  # by host, where an attempt got no answer last

    def destination(self, details: Mapping[str, object]) -> str:
        """Return scheme, host and port: what is down together."""
        target = parse_target(str(details.get("url")))
        return target.origin if target else self.name

    def begin(self, delivery: Delivery, on_end: Callable[[Reply], None]) -> Callable[[], None] | None:
        """Send over a connection that is kept, to an address that is known and allowed."""
        if delivery.tls_profile or delivery.schedule.run is not None:
            return None
        route = parse_route(str(delivery.details.get("url")))
        if route is None or not (ways := self._known_ways(route)):
            return None
        try:
            now_s = self._clock.now_ms() // 1_000 if delivery.secrets else 0  # dates signatures alone
            request = request_bytes(route, delivery, now_s)
        except ValueError:
            return None
        begun_s = asyncio.get_running_loop().time()
        connection = self._connections.take(ways, begun_s)
        if connection is None:
            return None
        answer, target = AnswerReader(is_head=delivery.details["method"] == "HEAD"), route.target

        def read(ended: Ended) -> None:
            on_end(self._conclude(connection, answer, ended, delivery, target, ways))

        connection.begin(request, answer, begun_s + delivery.timeout_ms / 1_000, read)
        return connection.drop

    async def invoke(self, delivery: Delivery) -> Reply:
        """Send once and read the answer; names, connecting and all else within the delivery's timeout."""
        until_s = asyncio.get_running_loop().time() + delivery.timeout_ms / 1_000
        route = parse_route(str(delivery.details.get("url")))
        if route is None:
            return _UNUSABLE
        target = route.target
        profile = delivery.tls_profile if target.scheme == "https" else ""
        if profile and (fault := self._trust.fault(delivery.schedule.app_id, profile)):
            return Reply(ok=False, error=fault)
        if self._is_refused(target):  # an address in the URL has been judged with that
            return _BLOCKED
        addresses: Sequence[Address | None] = (target.address,)
        if target.address is None:
            addresses = await self._names.resolve(
                target.host, app_id=delivery.schedule.app_id, timeout_s=delivery.timeout_ms / 1_000
            )
            if not addresses:
                return _UNRESOLVED
            if not self._policy.allows(target, addresses):
                return _BLOCKED
        ways = self._in_order(target.host, _ways_to(target, addresses, profile))
        now_ms, completion_url = self._clock.now_ms(), ""
        schedule = delivery.schedule
        if schedule.run is not None and (completion_ms := completion_ms_of(schedule)) is not None:
            if self._completions is None:
                return _NO_COMPLETIONS
            completion_url = self._completions.url_of(
                ticket_of(delivery, now_ms=now_ms, most_ms=delivery.timeout_ms + completion_ms)
            )
        try:
            request = request_bytes(route, delivery, now_ms // 1_000, completion_url)
        except ValueError:
            return _UNUSABLE
        return await self._send(target, ways, request, delivery, until_s, profile)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _send(
        self,
        target: Target,
        ways: Sequence[Way],
        request: bytes,
        delivery: Delivery,
        until_s: float,
        profile: str,
    ) -> Reply:
        try:
            connection = await self._connections.open(target, ways, until_s, profile)
        except TimeoutError:
            self._note_failed(target.host, ways[0], ways)
            return Reply(ok=False, error=f"could not connect within {delivery.timeout_ms} ms")
        except Shortage as error:
            return Reply(
                ok=False, error=f"this node is short of something: {error.strerror}", is_shortage=True
            )
        except OSError as error:
            self._note_failed(target.host, ways[0], ways)
            return Reply(ok=False, error=fault_text(error))
        answer = AnswerReader(is_head=delivery.details["method"] == "HEAD")
        ended = await connection.exchange(request, answer, until_s)
        return self._conclude(connection, answer, ended, delivery, target, ways)

    def _conclude(
        self,
        connection: Connection,
        answer: AnswerReader,
        ended: Ended,
        delivery: Delivery,
        target: Target,
        ways: Sequence[Way],
    ) -> Reply:
        self._connections.give_back(connection, answer)
        if answer.status is None:
            self._note_failed(target.host, connection.way, ways)
        elif len(ways) > 1 and connection.way.address != ways[0].address:
            self._note_failed(target.host, ways[0], ways)
        return self._reply(answer, ended, delivery, connection.fault)

    def _reply(self, answer: AnswerReader, ended: Ended, delivery: Delivery, fault: str) -> Reply:
        status = answer.status
        if status is not None:
            if 200 <= status < 300:
                return _success(status)
            return Reply(
                ok=False,
                code=status,
                error=f"answered {status}",
                is_final=status == _GONE,
                retry_after_ms=answer.retry_after_ms(self._clock.now_ms()),
            )
        if answer.fault:
            return Reply(ok=False, error=f"the request failed: {answer.fault}")
        if ended is Ended.OUT_OF_TIME:
            return Reply(ok=False, error=f"no answer within {delivery.timeout_ms} ms")
        return Reply(ok=False, error=f"the connection broke: {fault}" if fault else "the connection broke")

    def _known_ways(self, route: Route) -> Sequence[Way]:
        """Return the ways to a target, as `invoke` finds them; none where its name has to be looked up, or
        may not be called."""
        target, known = route.target, self._known.get(route.target.origin)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            is_allowed = target.address is not None and not self._is_refused(target)
            ways = _ways_to(target, (target.address,)) if is_allowed else ()
            known = self._known[target.origin] = _KnownOrigin(ways)
        if target.address is None:
            addresses = self._names.recall(target.host)
            if addresses is None:
                return ()
            if addresses is not known.addresses:  # it is the same for as long as it is kept
                known.addresses = addresses
                is_allowed = self._policy.allows(target, addresses)
                known.ways = _ways_to(target, addresses) if is_allowed else ()
        return self._in_order(target.host, known.ways)

    def _in_order(self, host: str, ways: Sequence[Way]) -> Sequence[Way]:
        """Return the few to try; the one that failed last comes last."""
        if len(ways) > 1 and (failed := self._failed.get(host)) is not None:
            ways = sorted(ways, key=lambda way: way.address == failed)
        return ways[:_MOST_ADDRESSES]

    def _note_failed(self, host: str, way: Way, ways: Sequence[Way]) -> None:
        if len(ways) == 1:
            return
        if len(self._failed) >= _MOST_FAILED:
            self._failed.clear()
        self._failed[host] = way.address


class _KnownOrigin:
    """What is the same for attempts at one origin. The paths of an app's callbacks differ as a rule."""

    __slots__ = ("addresses", "ways")

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = ways  #: to its address, or to these of its name; none if they are not allowed
        self.addresses: Answer | None = None


def _ways_to(target: Target, addresses: Iterable[Address | None], profile: str = "") -> tuple[Way, ...]:
    return tuple([Way.to(target, address, profile) for address in addresses if address is not None])


@lru_cache(maxsize=100)
def _success(status: int) -> Reply:
    return Reply(ok=True, code=status)


class Route(NamedTuple):
    """A callback URL, read: path and query byte for byte, an empty path as `/`, as HTTP demands; the host in
    lower case and without the scheme's own port, which is what it means."""

    target: Target
    resource: str  #: what the request line asks for: path and query
    host: str  #: the Host header


@lru_cache(maxsize=1_024)
def parse_route(url: str) -> Route | None:
    """Return where a URL leads; None for one that no create would accept."""
    target = None if url_fault(url) is not None else parse_target(url)
    if target is None:
        return None
    rest = url[url.index("://") + 3 :]
    begin = _RESOURCE.search(rest)
    resource = rest[begin.start() :] if begin else ""
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != DEFAULT_PORTS[target.scheme]:
        host = f"{host}:{target.port}"
    return Route(target, resource if resource.startswith("/") else f"/{resource}", host)


def request_bytes(route: Route, delivery: Delivery, now_s: int, completion_url: str = "") -> bytes:
    """Return the request of one attempt, signed as of `now_s`, seconds since 1970.

    Args:
        completion_url: to call when the work is done; "": the answer is the end.

    Raises ValueError for details that no create would accept.
    """
    details, schedule = delivery.details, delivery.schedule
    method, given, body = details.get("method"), details.get("headers") or {}, schedule.body
    if method not in METHODS or not isinstance(given, Mapping):
        raise ValueError("no method, or no headers")
    try:
        head = _client_head(route.host, tuple(given.items()), bool(body))
    except TypeError:  # a value that cannot be told from others is no text
        raise ValueError("a header is no text") from None
    length = f"Content-Length: {len(body)}\r\n" if body or method in _EXPECT_BODY else ""
    text = (
        f"{method} {route.resource} HTTP/1.1\r\n{head}{length}"
        f"Schedule-Id: {schedule.schedule_id}\r\nRingtime-Attempt: {delivery.attempt}\r\n"
        f"Ringtime-Fire-Time: {instant(schedule.fire_ms)}\r\nRingtime-Term: {delivery.term}\r\n"
    )
    sending, run = schedule.sending, schedule.run
    if run is not None or sending is not None or delivery.trace is not None or delivery.secrets:
        text += "".join([f"{line}\r\n" for line in _more_lines(delivery, given, body, now_s, completion_url)])
    return f"{text}\r\n".encode("ascii") + body


def _more_lines(
    delivery: Delivery, given: Mapping[str, object], body: bytes, now_s: int, completion_url: str
) -> Iterator[str]:
    """Yield what few attempts have."""
    schedule = delivery.schedule
    if schedule.run is not None:
        yield f"Parent-Schedule-Id: {schedule.run.recurring_id}"
    if completion_url:
        yield f"Ringtime-Completion-Url: {completion_url}"
    if (told := schedule.hook_of) is not None:
        yield f"Ringtime-Hook: {told.event}"
        yield f"Ringtime-Hook-Of: {told.schedule_id}"
        yield f"Ringtime-Hook-Key: {told.key}"
    if delivery.trace is not None:
        for name, value in headers_of(delivery.trace, given):
            yield f"{name}: {value}"
    if delivery.secrets:
        signed = body if schedule.is_base64 else schedule.payload
        for name, value in signature_headers(delivery, signed, now_s).items():
            yield f"{name}: {value}"


@lru_cache(maxsize=1_024)
def _client_head(host: str, given: tuple[tuple[object, object], ...], has_body: bool) -> str:
    """Return the lines that are the same for all that is sent to this host with these headers, each with its
    end: without the first one, for the paths of an app's callbacks differ as a rule.

    Raises ValueError for headers that no create would accept, TypeError for some of them.
    """
    lines = [f"Host: {host}"]
    names = set()
    for name, value in given:
        if (fault := header_fault(name, value)) is not None:
            raise ValueError(fault)
        names.add(str(name).lower())
        lines.append(f"{name}: {value}")
    for name, line in _USUAL.items():
        if name not in names:
            lines.append(line)
    if has_body and "content-type" not in names:
        lines.append(_JSON)
    return "\r\n".join([*lines, ""])
