"""Prepared statements straight to a node that has the rows: what the driver's `execute_async` does, in a
fraction of its time.

It takes the everyday statements: prepared ones, LWTs among them, and unlogged batches of them. All else goes
the driver's own way (`bridge`): SERIAL reads, one particular host, what follows the first page of a result, a
statement that the node does not know (any more) and that has to be prepared again, and whatever finds no live
replica. None of these was carried out before it goes there, so neither is an LWT twice.

Where the time is saved: the part of a frame that never changes is made once; the result comes without the
description of its columns, and is read by the driver's compiled parser; there is no future and no timer a
statement; I/O is on the event loop (`loop_connection`). Microseconds of this process + of Cassandra a call,
measured by `benchmarks/cassandra_store.py --ways`, 64 at once, on two cores that were busy with other things:

    call              the driver's way    this way
    fetch_row         348 + 343           69 + 130
    put_rows of 1     304 + 603           75 + 343
    put_updates of 1  320 + 650           72 + 340

Columns. The server tells the description of a statement's columns when it is prepared, under an id that goes
with every request. If its own has another id by then, the answer brings the new description, and is read by
it. An answer without one is read by the description that its request named.

It leans on inner parts of the driver, which `tests/unit/test_cassandra_driver.py` names.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from random import shuffle
from struct import Struct
from typing import Any
from uuid import UUID

from cassandra.bytesio import BytesIOReader
from cassandra.connection import ConnectionException
from cassandra.cqltypes import UUIDType
from cassandra.deserializers import make_deserializers
from cassandra.obj_parser import ListParser
from cassandra.parsing import ParseDesc
from cassandra.policies import ColDesc
from cassandra.protocol import PreparedQueryNotFound, ProtocolException, ProtocolHandler
from cassandra.query import FETCH_SIZE_UNSET, BatchStatement, BatchType, BoundStatement

from ringtime_shared.ids import to_uuid
from ringtime_shared.stores.cassandra.bridge import Landing
from ringtime_shared.stores.cassandra.cluster import PLAIN, PROTOCOL, is_usual
from ringtime_shared.stores.cassandra.loop_connection import LoopConnection, LoopIo
from ringtime_shared.stores.cassandra.wire import Wire

_EXECUTE, _BATCH, _RESULT = 0x0A, 0x0D, 0x08
_VALUES, _SKIP_METADATA, _PAGE_SIZE, _SERIAL, _TIMESTAMP = 0x01, 0x02, 0x04, 0x10, 0x20
_WARNED = 0x08
_VOID = b"\0\0\0\1"
_ROWS = b"\0\0\0\2"
_NO_METADATA = (b"\0\0\0\4", b"\0\0\0\5")  # the second: of one table, which it does not name either
_NULL = b"\xff\xff\xff\xff"
_CONDITION = re.compile(r"\bIF\b", re.IGNORECASE)

_pack_int = Struct(">i").pack
_pack_tail = Struct(">HI").pack  # consistency and flags
_pack_flags = Struct(">I").pack
_pack_short = Struct(">H").pack
_unpack_short = Struct(">H").unpack_from
_pack_long = Struct(">q").pack
_parse_rows = ListParser().parse_rows


class _Shape:
    """What of a prepared statement's frames and answers stays the same."""

    __slots__ = (
        "bare",
        "columns",
        "description",
        "head",
        "is_conditional",
        "is_read",
        "opening",
        "prepared",
        "values",
    )

    def __init__(self, prepared: Any, consistency: int) -> None:
        self.prepared = prepared
        metadata_id = prepared.result_metadata_id or b""  # before the columns: the driver sets it after
        self.columns = prepared.result_metadata
        self.is_conditional = _CONDITION.search(prepared.query_string) is not None
        self.is_read = bool(self.columns) and not self.is_conditional
        self.values = len(prepared.column_metadata)
        columns = self.columns or []
        #: how an answer begins that the description fits
        self.bare = frozenset(_ROWS + flags + _pack_int(len(columns)) for flags in _NO_METADATA)
        self.description = _describe(columns) if columns else None
        ids = [_pack_short(len(each)) + each for each in (prepared.query_id, metadata_id)]
        self.head = b"".join(ids) + _pack_short(consistency)
        flags = _VALUES | (_SKIP_METADATA if self.is_read else _TIMESTAMP)
        if self.is_conditional:
            flags |= _SERIAL
        #: all before the values, unless a page is to have so many rows
        self.opening = self.head + _pack_flags(flags) + _pack_short(self.values)

    def learn(self, columns: Any, metadata_id: bytes | None) -> None:
        """Take the description that the server has now, from the next request on."""
        if metadata_id is not None:
            self.prepared.result_metadata_id = metadata_id
            self.prepared.result_metadata = columns


class _Uuid(UUIDType):  # type: ignore[misc] # the driver is untyped
    """Ids, in half of the time that the driver takes, which calls `UUID`; nearly all that is read has one."""

    @staticmethod
    def deserialize(data: bytes, _: int) -> UUID:
        return to_uuid(int.from_bytes(data))


def _describe(columns: Sequence[Any]) -> ParseDesc:
    names = [column[2] for column in columns]
    types = [_Uuid if column[3] is UUIDType else column[3] for column in columns]
    places = [ColDesc(*column[:3]) for column in columns]
    return ParseDesc(names, types, None, places, make_deserializers(types), PROTOCOL)


class _Request:
    """A statement under way, for its connection."""

    __slots__ = ("_call", "_index", "_land", "_link", "_shape", "deadline")

    def __init__(
        self, land: Landing, call: Any, index: int, link: LoopConnection, shape: Any, deadline: float
    ) -> None:
        self._land = land
        self._call = call
        self._index = index
        self._link = link
        self._shape = shape
        self.deadline = deadline

    def answered(self, flags: int, opcode: int, body: bytes) -> None:
        if flags == _WARNED and (end := _end_of_usual(body)) is not None:
            flags, body = 0, body[end:]
        if opcode == _RESULT and not flags:
            if body == _VOID:
                self._land(self._call, self._index, [], None)
                return
            if self._shape is not None and body[:12] in self._shape.bare:
                try:
                    rows = _parse_rows(BytesIOReader(body[12:]), self._shape.description)
                except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
                    self.failed(error)
                    return
                self._land(self._call, self._index, rows, None)
                return
        self._answered_otherwise(flags, opcode, body)

    def failed(self, error: BaseException) -> None:
        self._land(self._call, self._index, error, None)

    def _answered_otherwise(self, flags: int, opcode: int, body: bytes) -> None:
        """Read an error, or rows that come with warnings, a description of columns or further pages."""
        shape, link = self._shape, self._link
        try:
            message = ProtocolHandler.decode_message(
                PROTOCOL,
                link.user_type_map,
                0,
                flags,
                opcode,
                body,
                link.decompressor,
                shape.columns if shape is not None else None,
            )
        except Exception as error:  # noqa: BLE001 - as above
            self.failed(error)
            return
        if isinstance(message, PreparedQueryNotFound):
            self._land(self._call, self._index, None, None)
        elif isinstance(message, Exception):
            if isinstance(message, ProtocolException):
                link.defunct(message)
            self.failed(message.to_exception() if hasattr(message, "to_exception") else message)
        elif opcode != _RESULT:
            self.failed(ConnectionException(f"unexpected answer {message!r}", link.endpoint))
        else:
            if shape is not None and message.column_metadata:
                shape.learn(message.column_metadata, getattr(message, "result_metadata_id", None))
            self._land(self._call, self._index, message.parsed_rows or [], message.paging_state)


def _end_of_usual(body: bytes) -> int | None:
    """Return where the warnings that a body begins with end; None: one of them is to be logged."""
    (count,), position = _unpack_short(body), 2
    for _ in range(count):
        (length,) = _unpack_short(body, position)
        start, position = position + 2, position + 2 + length
        if not is_usual(body[start:position].decode(errors="replace")):
            return None
    return position


class Direct:
    """Sends statements over the connections that the driver keeps open. For the event loop."""

    def __init__(self, cluster: Any, session: Any, keyspace: str, io: LoopIo, land: Landing) -> None:
        profile = cluster.profile_manager.profiles[PLAIN]
        self._session = session
        self._land = land
        self._consistency: int = profile.consistency_level
        self._serial = _pack_short(profile.serial_consistency_level)
        self._timeout_s: float = profile.request_timeout
        self._stamp: Callable[[], int] = cluster.timestamp_generator
        self._replicas = _Replicas(cluster.metadata, keyspace)
        self._shapes: dict[bytes, _Shape] = {}  # as many as there are statements
        self._batch_heads: dict[bytes, bytes] = {}
        self._batch_tail = _pack_tail(self._consistency, _TIMESTAMP)
        io.lost = self._note_lost

    def send(self, statement: Any, call: Any, index: int) -> bool:
        """Send; `land(call, index, ...)` is called when it is known what came of it. False: it is for the
        driver's own way.

        Raises:
            ConnectionBusy: it was not sent.
        """
        if isinstance(statement, BoundStatement):
            prepared = statement.prepared_statement
            shape = self._shapes.get(prepared.query_id)
            if shape is None or shape.columns is not prepared.result_metadata:
                shape = self._shapes[prepared.query_id] = _Shape(prepared, self._consistency)
            values = statement.values
            if len(values) != shape.values:
                return False
            opcode, body = _EXECUTE, self._execution(shape, values, statement.fetch_size)
            if shape.is_conditional:
                shape = None  # each answer describes its own columns, which depend on what came of it
        elif isinstance(statement, BatchStatement) and statement.batch_type is BatchType.UNLOGGED:
            shape = None
            opcode, body = _BATCH, self._batch(statement._statements_and_parameters)
        else:
            return False
        link = self._link_for(statement)
        if link is None:
            return False
        deadline = time.monotonic() + self._timeout_s
        link.send(_Request(self._land, call, index, link, shape, deadline), opcode, body)
        return True

    def _execution(self, shape: _Shape, values: Sequence[bytes | None], page_rows: object) -> bytes:
        if page_rows is None or not shape.is_read:
            parts = [shape.opening]
            _add_values(parts, values)
            if shape.is_conditional:
                parts.append(self._serial)
            if not shape.is_read:
                parts.append(_pack_long(self._stamp()))
        else:
            flags = _pack_flags(_VALUES | _SKIP_METADATA | _PAGE_SIZE)
            parts = [shape.head, flags, _pack_short(shape.values)]
            _add_values(parts, values)
            rows = self._session.default_fetch_size if page_rows is FETCH_SIZE_UNSET else page_rows
            parts.append(_pack_int(rows))
        return b"".join(parts)

    def _batch(self, queries: Sequence[tuple[bool, bytes, Sequence[bytes | None]]]) -> bytes:
        parts = [b"\1", _pack_short(len(queries))]  # 1: unlogged
        for _, query_id, values in queries:
            head = self._batch_heads.get(query_id)
            if head is None:
                head = b"\1" + _pack_short(len(query_id)) + query_id + _pack_short(len(values))
                self._batch_heads[query_id] = head
            parts.append(head)
            _add_values(parts, values)
        parts += (self._batch_tail, _pack_long(self._stamp()))
        return b"".join(parts)

    def _link_for(self, statement: Any) -> LoopConnection | None:
        """Return the connection to take: of a replica; where requests need not wait, if there is one."""
        pools = tuple(self._session._pools.values())
        if len(pools) > 1:
            pools = self._replicas.of(statement.routing_key, self._session._pools) or pools
        busy = None
        for pool in pools:
            link: LoopConnection | None = pool._connection
            if link is not None and link.is_usable:
                if not link.is_busy:
                    return link
                busy = busy or link
        return busy

    def _note_lost(self, link: LoopConnection) -> None:
        """Let the driver know now, which would find out when it sends something itself."""
        for pool in tuple(self._session._pools.values()):
            if pool._connection is link:
                self._session.submit(pool.return_connection, link, stream_was_orphaned=True)


def _add_values(parts: list[bytes], values: Sequence[bytes | None]) -> None:
    add = parts.append
    if values.__class__ is Wire:
        add(values.packed)
        return
    for value in values:
        if value is None:
            add(_NULL)
        else:
            add(_pack_int(len(value)))
            add(value)


class _Replicas:
    """Which nodes hold a partition: the driver's map of tokens, as plain numbers, which are found faster."""

    def __init__(self, metadata: Any, keyspace: str) -> None:
        self._metadata = metadata
        self._keyspace = keyspace
        self._made_of: Any = None
        self._tokens: list[Any] = []
        self._hosts: list[tuple[Any, ...]] = []

    def of(self, routing_key: bytes | None, pools: Any) -> tuple[Any, ...]:
        """Return the pools of the replicas that have one, in any order; none: not known, or all are away."""
        tokens = self._metadata.token_map
        if routing_key is None or tokens is None:
            hosts = list(pools)
        else:
            found = tokens.tokens_to_hosts_by_ks.get(self._keyspace)
            if found is not self._made_of or found is None:
                self._build(tokens)
            point = bisect_left(self._tokens, tokens.token_class.hash_fn(routing_key))
            hosts = list(self._hosts[point if point < len(self._hosts) else 0]) if self._hosts else []
        shuffle(hosts)
        return tuple([pool for pool in map(pools.get, hosts) if pool is not None])

    def _build(self, tokens: Any) -> None:
        tokens.get_replicas(self._keyspace, tokens.ring[0])  # makes the map of the keyspace
        found = tokens.tokens_to_hosts_by_ks.get(self._keyspace) or {}
        self._tokens = [token.value for token in tokens.ring if token in found]
        self._hosts = [tuple(found[token]) for token in tokens.ring if token in found]
        self._made_of = found
