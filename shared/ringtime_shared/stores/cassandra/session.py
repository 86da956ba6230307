"""Statements: put together into batches, repeated, and what an error of the driver means.

Repetition. Every plain statement of this driver may be repeated: writes put the same values under keys made
by the client, and outcomes and pointers, over which others may write, name the time of their first try. So a
statement that failed for another reason than being wrong is tried `ATTEMPTS` times. An LWT is never repeated
here: whoever sent it reads at SERIAL and decides.

Errors: was anything sent, and is it worth another try? The driver reports NoHostAvailable only when no
connection took the request. A coordinator says Unavailable or Overloaded before it writes, but it looks at
one partition after the other: of a batch over several partitions the first may be written by then.

Batches. An unlogged batch is cheaper than its statements one by one if one node can carry it out, so
statements are grouped by the replicas of their partition. It stays under the server's limits: a batch over
several partitions fails from 50 KiB on (a batch within one partition has no such limit, so a large row may
go alone).
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any, NamedTuple, Protocol, cast

from cassandra import (
    AuthenticationFailed,
    RequestValidationException,
    Unavailable,
    UnsupportedOperation,
    protocol,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy
from cassandra.policies import HostDistance
from cassandra.pool import NoConnectionsAvailable
from cassandra.query import BatchStatement, BatchType, BoundStatement

from ringtime_shared.certificates import find_fault
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra.bridge import Answer, Bridge, Landing, Record, ShortWay
from ringtime_shared.stores.cassandra.cluster import PLAIN, SERIAL, held_logs, make_cluster
from ringtime_shared.stores.cassandra.loop_connection import LoopIo
from ringtime_shared.stores.cassandra.wire import Wire
from ringtime_shared.stores.write_probe import WriteProbe

_REFUSED = (
    RequestValidationException,
    protocol.RequestValidationException,
    AuthenticationFailed,
    UnsupportedOperation,
)
_NOT_SENT = (NoHostAvailable, NoConnectionsAvailable, ConnectionBusy)
_NOT_BEGUN = (Unavailable, protocol.OverloadedErrorMessage, protocol.IsBootstrappingErrorMessage)


class Failure(NamedTuple):
    """Why a statement has no answer."""

    text: str
    may_be_written: bool
    is_retryable: bool

    def after(self, earlier: Failure) -> Failure:
        """Return what both tries of one statement together mean."""
        return self._replace(may_be_written=self.may_be_written or earlier.may_be_written)


def from_driver(error: BaseException, *, spans_partitions: bool = False) -> Failure:
    """Return what `error` means for the statement that got it."""
    text = f"Cassandra: {_describe(error)}"
    if isinstance(error, _REFUSED):
        return Failure(text, may_be_written=False, is_retryable=False)
    if isinstance(error, _NOT_SENT):
        return Failure(text, may_be_written=False, is_retryable=True)
    if isinstance(error, _NOT_BEGUN):
        return Failure(text, may_be_written=spans_partitions, is_retryable=True)
    return Failure(text, may_be_written=True, is_retryable=True)


def _describe(error: BaseException) -> str:
    if isinstance(error, NoHostAvailable):
        reasons: dict[Any, Any] = error.errors
        hosts = ", ".join(f"{host}: {_describe(reason)}" for host, reason in reasons.items())
        return f"no host available ({hosts or 'all are marked down'})"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:500]


_pack_int = Struct(">i").pack
_SYSTEM_CLOCK = SystemClock()
ATTEMPTS = 2  # `cassandra.request_timeout_ms` is limited so that this many fit in a create's deadline
BACKOFF_S = (0.02, 0.1)

Values = tuple[bytes | None, ...]
Query = tuple[bool, bytes, Values | Wire]  #: as the driver keeps a prepared statement in a batch
Result = list[Record] | Failure


class RawBatch(BatchStatement):  # type: ignore[misc] # the driver is untyped
    """An unlogged batch of prepared statements with values serialised before: binding each by
    `BatchStatement.add` costs three times as much."""

    def __init__(
        self, queries: list[Query], keyspace: str, routing_key: bytes, *, spans_partitions: bool
    ) -> None:
        super().__init__(BatchType.UNLOGGED)
        self.keyspace = keyspace
        self._statements_and_parameters = queries
        self.routing_key = routing_key
        self.spans_partitions = spans_partitions


class _Raw(BoundStatement):  # type: ignore[misc] # the driver is untyped
    """A bound statement with values serialised before; made in a quarter of the time the driver takes."""

    fetch_size = None

    def __init__(self, prepared: Any, keyspace: str, values: Values | Wire) -> None:
        self.prepared_statement = prepared
        self.keyspace = keyspace
        self.values = self.raw_values = values


class _ForMany(_Raw):
    """One that is told where to go: the driver finds no key in a list of them."""

    routing_key: bytes = b""


class Prepared:
    """A prepared statement."""

    def __init__(self, prepared: Any, keyspace: str) -> None:
        self._prepared = prepared
        self._keyspace = keyspace
        self._id: bytes = prepared.query_id

    def bind(self, *values: object) -> Any:
        """Return the statement with these values, serialised by the driver: 3 to 5 us a value."""
        return self._prepared.bind(values)

    def with_raw(self, values: Values | Wire) -> Any:
        """Return the statement with values that are serialised already."""
        return _Raw(self._prepared, self._keyspace, values)

    def for_many(self, values: Values, routing_key: bytes) -> Any:
        """Return the statement for several partitions on the same replicas, which the key of one tells."""
        bound = _ForMany(self._prepared, self._keyspace, values)
        bound.routing_key = routing_key
        return bound

    def in_batch(self, values: Values | Wire) -> Query:
        return (True, self._id, values)


class CqlSession:
    """A connected driver session, for one event loop."""

    def __init__(self, cluster: Any, session: Any, keyspace: str, io: LoopIo | None = None) -> None:
        """`io`: of the cluster's connections; None: they are the driver's own."""
        self.keyspace = keyspace
        self._cluster = cluster
        self._session = session
        self._io = io
        self._bridge = Bridge(session, _direct(cluster, session, keyspace, io) if io else None)
        self._is_closing = False
        self.writes = WriteProbe(SystemClock().boot_ms)  #: learns of every write that is no LWT

    @classmethod
    async def connect(
        cls, settings: CassandraSettings, now_ms: Callable[[], int] = _SYSTEM_CLOCK.now_ms
    ) -> CqlSession:
        """Raises StartupError. `now_ms`: the time of writes."""
        io = LoopIo() if settings.io == "loop" else None
        cluster = make_cluster(settings, now_ms, io.connection_class if io else None)
        try:
            session = await asyncio.to_thread(connect_session, cluster, settings)
        except BaseException:
            await _shut_down(cluster, io)
            raise
        return cls(cluster, session, settings.keyspace, io)

    async def prepare(self, *texts: str) -> list[Prepared]:
        """Prepare CQL; `$` before a table stands for the keyspace. Raises StartupError.

        Tables are named in full because the server objects to prepared statements after `USE`.
        """
        named = [text.replace("$", f"{self.keyspace}.") for text in texts]
        return await asyncio.to_thread(lambda: [self._prepare(text) for text in named])

    def _prepare(self, text: str) -> Prepared:
        try:
            return Prepared(self._session.prepare(text), self.keyspace)
        except Exception as error:  # the driver's errors have no common root
            raise StartupError(f"cannot prepare {' '.join(text.split())!r}: {error}") from error

    def hosts(self) -> list[Any]:
        """Return the hosts of this datacenter that are up, as the driver sees it, by address."""
        distance = self._cluster.profile_manager.distance
        found = [host for host in self._cluster.metadata.all_hosts() if host.is_up]
        return sorted(
            (host for host in found if distance(host) == HostDistance.LOCAL),
            key=lambda host: str(host.endpoint),
        )

    async def ask_host(self, statement: Any, host: Any) -> list[Record]:
        """Return the rows one host answers with, asked once. Raises StoreUnavailable."""
        (answer,) = await self._bridge.ask([statement], PLAIN, host)
        if isinstance(answer, BaseException):
            raise StoreUnavailable(_to_failure(answer, statement).text)
        return answer

    def replicas_of(self, routing_key: bytes) -> Hashable:
        """Return the nodes that hold this partition; None: there is only one node."""
        metadata = self._cluster.metadata
        if len(metadata.all_hosts()) <= 1:
            return None
        return frozenset(metadata.get_replicas(self.keyspace, routing_key))

    async def read(self, statement: Any, *, is_serial: bool = False) -> list[Record]:
        """Return all rows. Raises StoreUnavailable."""
        profile = SERIAL if is_serial else PLAIN
        self._check_open()
        rows: Answer | Result = await self._bridge.ask_one(statement, profile)
        if isinstance(rows, BaseException):
            (rows,) = await self._repeat((statement,), [rows], profile, ATTEMPTS)
        if isinstance(rows, Failure):
            raise StoreUnavailable(rows.text)
        return rows

    async def read_all(self, statements: Sequence[Any], *, is_serial: bool = False) -> list[list[Record]]:
        """Return all rows of each statement. Raises StoreUnavailable if one cannot be read."""
        answers: list[list[Record]] = []
        for result in await self._run(statements, SERIAL if is_serial else PLAIN, ATTEMPTS):
            if isinstance(result, Failure):
                raise StoreUnavailable(result.text)
            answers.append(result)
        return answers

    async def write(self, statements: Sequence[Any]) -> None:
        """Execute all, in no order.

        Raises:
            StoreUnavailable: none was written.
            OutcomeUnknown: some were, or may have been.
        """
        probe = self.writes
        try:
            answers = await self._run(statements, PLAIN, ATTEMPTS)
            failures = [answer for answer in answers if isinstance(answer, Failure)]
            if failures:
                unsure = [failure for failure in failures if failure.may_be_written]
                if unsure or len(failures) < len(answers):
                    raise OutcomeUnknown((unsure or failures)[0].text)
                raise StoreUnavailable(failures[0].text)
        except (StoreUnavailable, OutcomeUnknown):
            probe.written_ms = None
            raise
        probe.written_ms = probe.boot_ms()

    def write_time(self) -> int:
        """Return the timestamp of a write of now, in microseconds, for a statement that names its own: it may
        be executed again, and has that of the first time. See `cluster.WriteTimes`."""
        time_us: int = self._cluster.timestamp_generator()
        return time_us

    async def write_if(self, statement: Any) -> Record | None:
        """Execute an LWT once; return its row, which begins with whether it was applied; None: no answer.

        Raises:
            StoreUnavailable: it was surely not applied.
        """
        (answer,) = await self._run([statement], PLAIN, 1)
        if not isinstance(answer, Failure):
            return answer[0]
        if answer.may_be_written:
            return None
        raise StoreUnavailable(answer.text)

    async def ping(self, statement: Any) -> None:
        (answer,) = await self._run([statement], PLAIN, 1)
        if isinstance(answer, Failure):
            raise StoreUnavailable(answer.text)

    async def close(self) -> None:
        """Wait for what is under way, which its timeouts bound, and disconnect. Safe twice."""
        if not self._is_closing:
            self._is_closing = True
            await self._bridge.wait_idle()
            await _shut_down(self._cluster, self._io)

    async def _run(self, statements: Sequence[Any], profile: object, attempts: int) -> list[Result]:
        self._check_open()
        if len(statements) == 1:
            answers = [await self._bridge.ask_one(statements[0], profile)]
        else:
            answers = await self._bridge.ask(statements, profile)
        for answer in answers:
            if isinstance(answer, BaseException):
                return await self._repeat(statements, answers, profile, attempts)
        return cast(list[Result], answers)  # as nearly always

    def _check_open(self) -> None:
        if self._is_closing:
            raise StoreUnavailable("the store is closed")

    async def _repeat(
        self, statements: Sequence[Any], answers: Sequence[Answer], profile: object, attempts: int
    ) -> list[Result]:
        """Return what came of statements, tried once, after further tries of those that are worth it."""
        results = _to_results(statements, answers)
        for _ in range(attempts - 1):
            failed = {
                n: result
                for n, result in enumerate(results)
                if isinstance(result, Failure) and result.is_retryable
            }
            if not failed or self._is_closing:
                break
            await asyncio.sleep(random.uniform(*BACKOFF_S))
            repeated = [statements[n] for n in failed]
            again = _to_results(repeated, await self._bridge.ask(repeated, profile))
            for (n, earlier), result in zip(failed.items(), again, strict=True):
                results[n] = result.after(earlier) if isinstance(result, Failure) else result
        return results


def _direct(cluster: Any, session: Any, keyspace: str, io: LoopIo) -> Callable[[Landing], ShortWay]:
    """Return what makes the way past the driver's own. Only who goes it needs the driver's compiled parts."""
    from ringtime_shared.stores.cassandra.direct import Direct

    return partial(Direct, cluster, session, keyspace, io)


async def _shut_down(cluster: Any, io: LoopIo | None) -> None:
    await asyncio.to_thread(cluster.shutdown)
    if io is not None:
        await io.close()


def _to_results(statements: Sequence[Any], answers: Sequence[Answer]) -> list[Result]:
    return [
        _to_failure(answer, statement) if isinstance(answer, BaseException) else answer
        for statement, answer in zip(statements, answers, strict=True)
    ]


def _to_failure(error: BaseException, statement: Any) -> Failure:
    return from_driver(error, spans_partitions=getattr(statement, "spans_partitions", False))


def connect_session(cluster: Any, settings: CassandraSettings) -> Any:
    """Connect in this thread, which has no event loop. Raises StartupError."""
    where = f"Cassandra at {', '.join(settings.contact_points)}, port {settings.port}"
    try:
        with held_logs():
            session = cluster.connect()
    except Exception as error:  # the driver's errors have no common root
        _check_datacenter(
            cluster, settings, where
        )  # if it is wrong, the driver only says that nobody answers
        servers = [(host, settings.port) for host in settings.contact_points]
        fault = asyncio.run(find_fault(servers, cluster.ssl_context))
        why = f"{fault}; the driver says: " if fault else ""
        raise StartupError(f"cannot connect to {where}: {why}{from_driver(error).text}") from error
    _check_datacenter(cluster, settings, where)
    return session


def _check_datacenter(cluster: Any, settings: CassandraSettings, where: str) -> None:
    found = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter is not None}
    if found and settings.local_dc not in found:
        raise StartupError(
            f"{where} has no datacenter {settings.local_dc!r}, only: {', '.join(sorted(found))}"
        )


PARTITIONS_AT_ONCE = 25  #: in one read; servers may be told to refuse more


def alike(reads: Iterable[tuple[bytes, Hashable]], layout: Layout) -> Iterable[list[int]]:
    """Return the numbers of those reads that one statement can carry out; the caller bounds how many it does.

    Where partitions have few rows, one statement for 25 costs both sides a third to a tenth of what 25 do.

    Args:
        reads: of each the routing key, and what must be the same for all of one statement.
    """
    found: dict[Hashable, list[int]] = defaultdict(list)
    for number, (routing_key, sameness) in enumerate(reads):
        found[layout.replicas_of(routing_key), sameness].append(number)
    return found.values()


def pack_list(values: Sequence[bytes]) -> bytes:
    """Return a value of type list."""
    return _pack_int(len(values)) + b"".join([_pack_int(len(value)) + value for value in values])


MAX_BYTES = 40 * 1024
_BYTES_PER_STATEMENT = 160  # what a row with ten cells takes besides its values


class Item(NamedTuple):
    """One statement, and what goes into its batch if there is room."""

    routing_key: bytes
    query: Query
    companions: Sequence[tuple[bytes, Query]] = ()
    note: int | None = None  #: for what closes its batch
    receipt: bytes = b""  #: for the receipt of its partition in its batch


class Layout(Protocol):
    """What a session knows of where partitions are."""

    keyspace: str

    def replicas_of(self, routing_key: bytes) -> Hashable: ...


#: Makes what closes a batch of the notes of its items, by their routing keys: for each of these at most one
#: statement, which is not longer than the key, two bytes a note and `_CLOSING_BYTES` together.
Closing = Callable[[Mapping[bytes, set[int]]], Iterable[tuple[bytes, Query]]]
_CLOSING_BYTES = 200

#: Makes the statement of a receipt, of at most `_CLOSING_BYTES` beside its key and what its items say, for a
#: partition in a batch.
Signing = Callable[[bytes, Sequence[bytes]], Query]


def make_batches(
    items: Iterable[Item],
    layout: Layout,
    max_items: int,
    closing: Closing = lambda _: (),
    signing: Signing | None = None,
) -> list[RawBatch]:
    """Return batches that hold all items, at most `max_items` each; companions, and what closes a batch whose
    items have notes, are not counted, nor are receipts, each of which goes with all that it tells of."""
    by_key: dict[bytes, list[Item]] = defaultdict(list)
    for item in items:
        by_key[item.routing_key].append(item)
    by_replicas: dict[Hashable, list[Item]] = defaultdict(list)
    for routing_key, group in by_key.items():
        by_replicas[layout.replicas_of(routing_key)].extend(group)
    return [
        batch
        for group in by_replicas.values()
        for batch in _pack(group, layout.keyspace, max_items, closing, signing)
    ]


def _pack(
    items: Sequence[Item], keyspace: str, max_items: int, closing: Closing, signing: Signing | None
) -> Iterable[RawBatch]:
    filling = _Filling(keyspace, closing, signing)
    for item in items:
        size = _size(item.query)
        if item.note is not None:
            size += 2 if item.routing_key in filling.notes else _CLOSING_BYTES + len(item.routing_key)
        if item.receipt:
            is_first = item.routing_key not in filling.receipts
            size += len(item.receipt) + (_CLOSING_BYTES + len(item.routing_key) if is_first else 0)
        if filling.items == max_items or (filling.queries and filling.size + size > MAX_BYTES):
            yield from filling.close()
            filling = _Filling(keyspace, closing, signing)
        filling.items += 1
        filling.add(item.routing_key, item.query, size)
        if item.note is not None:
            filling.notes[item.routing_key].add(item.note)
        if item.receipt:
            filling.receipts[item.routing_key].append(item.receipt)
        for routing_key, query in item.companions:
            size = _size(query)
            if filling.size + size > MAX_BYTES:
                yield from filling.close()
                filling = _Filling(keyspace, closing, signing)
            filling.add(routing_key, query, size)
    if filling.queries:
        yield from filling.close()


def _size(query: Query) -> int:
    values = query[2]
    if isinstance(values, Wire):
        return _BYTES_PER_STATEMENT + len(values.packed)
    return _BYTES_PER_STATEMENT + sum(map(len, filter(None, values)))


class _Filling:
    """A batch that is being filled."""

    def __init__(self, keyspace: str, closing: Closing, signing: Signing | None) -> None:
        self.items = 0
        self.size = 0
        self.queries: list[Query] = []
        self.notes: dict[bytes, set[int]] = defaultdict(set)
        self.receipts: dict[bytes, list[bytes]] = defaultdict(list)
        self._keys: dict[bytes, None] = {}
        self._keyspace = keyspace
        self._closing = closing
        self._signing = signing

    def add(self, routing_key: bytes, query: Query, size: int) -> None:
        self.size += size
        self.queries.append(query)
        self._keys[routing_key] = None

    def close(self) -> Iterator[RawBatch]:
        if self._signing is not None:
            for routing_key, told in self.receipts.items():
                self.add(routing_key, self._signing(routing_key, told), 0)
        ends = list(self._closing(self.notes)) if self.notes else []
        if self.size <= MAX_BYTES:  # else it is one large row, which goes alone
            for routing_key, query in ends:
                self.add(routing_key, query, 0)
            ends = []
        yield self._batch(self.queries, self._keys)
        if ends:
            yield self._batch([query for _, query in ends], dict.fromkeys(key for key, _ in ends))

    def _batch(self, queries: list[Query], keys: Mapping[bytes, None]) -> RawBatch:
        return RawBatch(queries, self._keyspace, next(iter(keys)), spans_partitions=len(keys) > 1)
