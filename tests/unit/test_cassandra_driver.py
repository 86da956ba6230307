"""What `stores.cassandra.direct` and `loop_connection` use of the driver that is not its public interface.

The driver is pinned to a minor version. If a test fails after an update of it, compare the named part with
the use that is made of it, then mend one or the other. Until then, `cassandra.io` = driver works without.
"""

from __future__ import annotations

import inspect
import io
import random
import struct
from importlib import metadata
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cassandra import ConsistencyLevel, connection, protocol, segment
from cassandra.cluster import Cluster, Session
from cassandra.cqltypes import BytesType, Int32Type
from cassandra.metadata import Murmur3Token, TokenMap
from cassandra.policies import HostDistance
from cassandra.pool import HostConnection
from cassandra.query import (
    FETCH_SIZE_UNSET,
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
    SimpleStatement,
)
from tests.contract.builders import make_app, make_row

from ringtime_shared.stores.cassandra.cluster import PLAIN
from ringtime_shared.stores.cassandra.direct import Direct, _Request, _Shape
from ringtime_shared.stores.cassandra.loop_connection import MOST_PAYLOAD, crc24, to_segments
from ringtime_shared.stores.cassandra.rows import pack_int, pack_minute, receipt_wire, row_wire, to_values
from ringtime_shared.stores.cassandra.wire import Wire

VERSION = "3.30."
OF_CONNECTION = (
    "_connect_socket _wrap_socket_from_context _send_options_message _is_checksumming_enabled process_msg"
    " defunct error_all_requests msg_received is_closed is_defunct last_error create_timer close ssl_context"
)
USED: list[tuple[Any, str]] = [
    *((connection.Connection, name) for name in OF_CONNECTION.split()),
    (HostConnection, "_connection"),
    (HostConnection, "return_connection"),
    (Session, "_pools"),
    (Session, "submit"),
    (TokenMap, "tokens_to_hosts_by_ks"),
    (TokenMap, "ring"),
    (Murmur3Token, "hash_fn"),
    (PreparedStatement, "result_metadata"),
    (PreparedStatement, "result_metadata_id"),
]
TAKEN = [
    (connection.Connection.process_msg, "self header body"),
    (connection._Frame.__init__, "self version flags stream opcode body_offset end_pos"),
    (HostConnection.return_connection, "self connection stream_was_orphaned"),
    (
        protocol.ProtocolHandler.decode_message,
        "protocol_version user_type_map stream_id flags opcode body decompressor result_metadata",
    ),
]


def test_the_installed_driver_is_the_one_that_was_looked_at() -> None:
    installed = metadata.version("cassandra-driver")
    assert installed.startswith(VERSION), (
        f"cassandra-driver {installed}: compare what this file names, then write its version here"
    )


@pytest.mark.parametrize(("owner", "name"), USED)
def test_the_driver_still_has(owner: Any, name: str) -> None:
    assert hasattr(owner, name), (
        f"the driver's {owner.__name__} has no {name} any more: see `loop_connection`"
    )


@pytest.mark.parametrize(("function", "parameters"), TAKEN)
def test_the_driver_still_takes(function: Any, parameters: str) -> None:
    found = list(inspect.signature(function).parameters)
    assert found == parameters.split(), f"the driver's {function.__qualname__} takes something else now"


def test_a_new_connection_has_what_the_loop_needs() -> None:
    made = connection.Connection("127.0.0.1", 9, protocol_version=5)
    for name in ("lock", "connected_event", "user_type_map", "_socket_writable", "decompressor", "endpoint"):
        assert hasattr(made, name), f"a connection of the driver has no {name} any more"
    assert made.max_request_id == 2**15 - 1, "the streams are divided in two halves"
    assert HostDistance.LOCAL == 0
    assert "connection_class" in inspect.signature(Cluster.__init__).parameters


def test_segments_are_what_the_driver_reads() -> None:
    frames = [
        random.Random(n).randbytes(size) for n, size in enumerate((9, 70_000, 70_000, 300_000, 1, 131_071))
    ]
    data = io.BytesIO(to_segments(frames))
    codec, payloads = segment.SegmentCodec(), []
    while data.tell() < len(data.getbuffer()):
        header = codec.decode_header(data)
        payloads.append((header.is_self_contained, codec.decode(data, header).payload))
    assert b"".join(payload for _, payload in payloads) == b"".join(frames)
    assert [(alone, len(payload)) for alone, payload in payloads] == [
        (True, 70_009),
        (True, 70_000),
        (False, MOST_PAYLOAD), (False, MOST_PAYLOAD), (False, 300_000 - 2 * MOST_PAYLOAD),
        (True, 1),
        (True, 131_071),
    ]  # fmt: skip
    for number in (0, 1, 0x12345, 1 << 17 | MOST_PAYLOAD):
        assert crc24(number) == segment.compute_crc24(number, 3)


class Link:
    """A connection that notes what it is to send."""

    is_usable = True
    is_busy = False

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def send(self, request: Any, opcode: int, body: bytes) -> None:
        self.sent.append((opcode, body))


def make_direct() -> tuple[Direct, Link]:
    link = Link()
    profile = SimpleNamespace(
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=1.0,
    )
    cluster = SimpleNamespace(
        profile_manager=SimpleNamespace(profiles={PLAIN: profile}),
        timestamp_generator=lambda: 1_234_567,
        metadata=SimpleNamespace(token_map=None),
    )
    session = SimpleNamespace(_pools={"host": SimpleNamespace(_connection=link)}, default_fetch_size=5_000)
    io = SimpleNamespace(lost=None)
    return Direct(cluster, session, "ks", cast(Any, io), lambda *_: None), link


def prepare(text: str, columns: int) -> Any:
    place = [("ks", "t", f"c{n}", Int32Type) for n in range(columns)]
    bound = [protocol.ColumnMetadata("ks", "t", name, BytesType) for name in ("a", "b")]
    return PreparedStatement(bound, b"id-of-it", None, text, "ks", 5, place, b"id-of-columns", None)


def encoded(message: Any) -> tuple[int, bytes]:
    body = io.BytesIO()
    message.send_body(body, 5)
    return message.opcode, body.getvalue()


@pytest.mark.parametrize("values", [(b"x", None), (b"", b"y" * 300)])
def test_frames_are_the_drivers_own_but_for_what_is_left_out(values: tuple[bytes | None, ...]) -> None:
    direct, link = make_direct()
    quorum = ConsistencyLevel.LOCAL_QUORUM
    read, write = prepare("SELECT * FROM t WHERE a = ? AND b = ?", 2), prepare("INSERT ...", 0)
    lwt = prepare("UPDATE t SET b = ? WHERE a = 1 if b = ?", 0)
    ids = {"result_metadata_id": b"id-of-columns"}
    serial = {"serial_consistency_level": ConsistencyLevel.LOCAL_SERIAL}
    for prepared, fetch_size, message in (
        (read, None, protocol.ExecuteMessage(b"id-of-it", values, quorum, **ids)),
        (read, FETCH_SIZE_UNSET, protocol.ExecuteMessage(b"id-of-it", values, quorum, None, 5_000, **ids)),
        (write, None, protocol.ExecuteMessage(b"id-of-it", values, quorum, timestamp=1_234_567, **ids)),
        (
            lwt,
            None,
            protocol.ExecuteMessage(b"id-of-it", values, quorum, timestamp=1_234_567, **serial, **ids),
        ),
    ):
        statement = BoundStatement(prepared, fetch_size=fetch_size)
        statement.values = values
        assert direct.send(statement, None, 0)
        opcode, body = encoded(message)
        if prepared is read:  # the driver never says that it needs no description of the columns
            place = 2 + len(b"id-of-it") + 2 + len(b"id-of-columns") + 2 + 3
            body = body[:place] + bytes([body[place] | 2]) + body[place + 1 :]
        assert link.sent.pop() == (opcode, body)
    batch = BatchStatement(BatchType.UNLOGGED)
    batch._statements_and_parameters = [(True, b"id-of-it", values), (True, b"another", (None,))]
    assert direct.send(batch, None, 0)
    queries = batch._statements_and_parameters
    message = protocol.BatchMessage(BatchType.UNLOGGED, queries, quorum, timestamp=1_234_567)
    assert link.sent.pop() == encoded(message)


@pytest.mark.parametrize("extras", [None, b'{"name":"n"}'])
def test_values_that_are_packed_at_one_go_are_those_that_were_packed_one_by_one(extras: bytes | None) -> None:
    row = make_row(make_app(app_id="app"), 1_800_000_000_123, 7)
    key = (b"app", pack_int(7), pack_int(30_000_000))
    wire = row_wire(pack_minute(b"app", 7, 30_000_000), row, extras, 99)
    values = (*key, *to_values(row), *([] if extras is None else [extras]), pack_int(99))
    assert (len(wire), tuple(wire), wire[3], wire[:3]) == (len(values), values, values[3], key)
    receipt = receipt_wire(pack_minute(b"app", 7, 30_000_000), b"i" * 32, 98)
    assert tuple(receipt) == (*key, b"i" * 32, pack_int(98))
    assert tuple(Wire(2, b"\xff\xff\xff\xff\0\0\0\0")) == (None, b"")
    batch, sent = BatchStatement(BatchType.UNLOGGED), []
    direct, link = make_direct()
    for each in (values, wire):
        batch._statements_and_parameters = [(True, b"id-of-it", each), (True, b"another", (None,))]
        assert direct.send(batch, None, 0)
        sent.append(link.sent.pop())
        queries = batch._statements_and_parameters
        message = protocol.BatchMessage(BatchType.UNLOGGED, queries, direct._consistency, timestamp=1_234_567)
        assert sent[-1] == encoded(message), "the driver's own way takes them, too"
    assert sent[0] == sent[1]


def test_a_connection_is_taken_where_nothing_has_to_wait() -> None:
    direct, link = make_direct()
    busy, broken = Link(), Link()
    busy.is_busy, broken.is_usable = True, False
    pools = direct._session._pools
    pools |= {
        name: SimpleNamespace(_connection=each) for name, each in (("1", busy), ("2", broken), ("3", None))
    }
    statement = BoundStatement(prepare("INSERT ...", 0))
    statement.values = (b"x", b"y")
    for _ in range(20):
        assert direct.send(statement, None, 0)
    assert len(link.sent) == 20
    link.is_usable = False
    assert direct.send(statement, None, 0)
    assert len(busy.sent) == 1, "better to wait than to ask nobody"
    busy.is_usable = False
    assert not direct.send(statement, None, 0), "the driver knows what to say"


def test_what_is_not_everyday_is_left_to_the_driver() -> None:
    direct, link = make_direct()
    short = BoundStatement(prepare("INSERT ...", 0))
    short.values = (b"x",)
    for statement in (short, BatchStatement(BatchType.LOGGED), SimpleStatement("SELECT 1")):
        assert not direct.send(statement, None, 0)
    assert link.sent == []


@pytest.mark.parametrize("is_applied", [True, False])
def test_an_lwt_says_what_came_of_it_in_columns_of_its_own(is_applied: bool) -> None:
    """One that was applied answers with one column, one that was not with what is stored beside it."""
    told: list[Any] = []
    direct, link = make_direct()
    direct._land = lambda *answer: told.append(answer)
    sent: list[Any] = []
    link.send = lambda request, opcode, body: sent.append(request)  # type: ignore[method-assign]
    link.user_type_map, link.decompressor = {}, None  # type: ignore[attr-defined]
    prepared = prepare("UPDATE t SET b = ? WHERE a = 1 IF b = ?", 0)
    columns = [("[applied]", 0x0004), *([] if is_applied else [("b", 0x0009)])]
    for _ in range(2):  # what one answer has is nothing to the next
        statement = BoundStatement(prepared)
        statement.values = (b"x", b"y")
        assert direct.send(statement, "call", 7)
        text = b"".join(
            struct.pack(">H", len(name)) + name.encode() + struct.pack(">H", kind) for name, kind in columns
        )
        tables = struct.pack(">H", 2) + b"ks" + struct.pack(">H", 1) + b"t"
        cells = (
            struct.pack(">i", 1) + bytes([is_applied]) + (b"" if is_applied else struct.pack(">ii", 4, 41))
        )
        head = struct.pack(">iii", 2, 1, len(columns))
        sent.pop().answered(0, 8, head + tables + text + struct.pack(">i", 1) + cells)
    assert told == [("call", 7, [(True,) if is_applied else (False, 41)], None)] * 2
    assert not prepared.result_metadata


def test_a_page_says_where_the_next_one_begins() -> None:
    told: list[Any] = []
    link = SimpleNamespace(user_type_map={}, decompressor=None)
    shape = _Shape(prepare("SELECT * FROM t WHERE a = ? AND b = ?", 1), ConsistencyLevel.LOCAL_QUORUM)
    request = _Request(lambda *answer: told.append(answer), "call", 7, cast(Any, link), shape, 0.0)
    has_more, no_metadata, columns, rows = 2, 4, 1, 2
    head = struct.pack(">iii", 2, has_more | no_metadata, columns) + struct.pack(">i", 4) + b"next"
    request.answered(0, 8, head + struct.pack(">i", rows) + struct.pack(">iiii", 4, 41, 4, 42))
    assert told == [("call", 7, [(41,), (42,)], b"next")]


def test_a_statement_that_the_node_does_not_know_is_left_to_the_driver() -> None:
    told: list[Any] = []
    link = SimpleNamespace(user_type_map={}, decompressor=None)
    request = _Request(lambda *answer: told.append(answer), "call", 7, cast(Any, link), None, 0.0)
    request.answered(0, 0, b"\0\0\x25\0" + b"\0\7unknown" + b"\0\2id")  # an error: UNPREPARED
    assert told == [("call", 7, None, None)]


def test_the_usual_warnings_are_passed_over_and_others_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    link = SimpleNamespace(user_type_map={}, decompressor=None)
    usual = "Unlogged batch covering 12 partitions detected against table [ringtime.schedules]."
    for warnings in ([usual], [usual, "the disk is nearly full"]):
        request = _Request(lambda *answer: told.append(answer), "call", 7, cast(Any, link), None, 0.0)
        texts = b"".join(struct.pack(">H", len(text)) + text.encode() for text in warnings)
        request.answered(8, 8, struct.pack(">H", len(warnings)) + texts + struct.pack(">i", 1))
    assert told == [("call", 7, [], None)] * 2
    assert "the disk is nearly full" in caplog.text
