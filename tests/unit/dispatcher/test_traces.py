"""Traces on their way out: what callbacks are told, and the spans of attempts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

from tests.contract.builders import NOW_MS, make_app, make_row
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_rig
from tests.unit.dispatcher.test_signing import delivery
from tests.unit.shared.test_traces import PARENT, recorded

from ringtime_dispatcher.callbacks.http.callback import parse_route, request_bytes
from ringtime_dispatcher.callbacks.kafka.callback import KafkaRecord
from ringtime_dispatcher.delivery.hooks import hook_row
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.recurring import RunOf
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.models.trace import Trace
from ringtime_shared.traces.context import ids_of
from ringtime_shared.traces.names import APP, ATTEMPT, LAG_MS, REPLAY, SCHEDULE, STATUS, TYPE

KEPT = Trace(PARENT, "a=1")
URL = "http://127.0.0.1/x"


def head_of(trace: Trace | None, **headers: str) -> str:
    details = {"url": URL, "method": "POST", "headers": headers}
    route = parse_route(URL)
    assert route is not None
    request = request_bytes(route, replace(delivery(), details=details, trace=trace), 7)
    return request.partition(b"\r\n\r\n")[0].decode().lower()


def test_an_http_callback_has_both_headers() -> None:
    head = head_of(KEPT).split("\r\n")
    assert f"traceparent: {PARENT}" in head
    assert "tracestate: a=1" in head
    assert "trace" not in head_of(None)


def test_headers_of_the_clients_own_win() -> None:
    own = head_of(KEPT, TraceParent="mine")
    assert (own.count("trace"), "traceparent: mine" in own) == (1, True)


def test_a_kafka_record_has_both_headers_unless_the_client_gave_its_own() -> None:
    given = replace(delivery(), details={"topic": "t"}, trace=KEPT)
    headers = KafkaRecord.of(given).headers
    assert headers[-2:] == [("traceparent", PARENT.encode()), ("tracestate", b"a=1")]
    own = replace(given, details={"topic": "t", "headers": {"traceparent": "mine"}})
    told = [each for each in KafkaRecord.of(own).headers if each[0].startswith("trace")]
    assert told == [("traceparent", b"mine")]


def traced(rig: Rig, trace: Trace | None = KEPT, in_ms: int = 0) -> Row:
    row = rig.row(rig.clock.now_ms() + in_ms)
    return replace(row, schedule=replace(row.schedule, trace=trace))


@on_virtual_time
async def test_without_spans_what_was_kept_is_told_by_each_attempt() -> None:
    rig = make_rig()
    row = traced(rig)
    rig.receiver.answers = [Reply(ok=False, code=500, error="answered 500")]
    await rig.put(row, traced(rig, None))
    await asyncio.sleep(0.1)
    assert [each.trace for _, each in rig.receiver.sent] == [KEPT, None]
    place = (await rig.stored(row)).moved_to
    assert place is not None
    assert (await rig.stored(replace(row, place=place))).schedule.trace == KEPT, "the retry has it, too"


@on_virtual_time
async def test_each_attempt_of_a_sampled_create_has_a_span_which_its_receiver_goes_on_from() -> None:
    spans, found = recorded(share=1.0)
    rig = make_rig(spans=spans)
    row = traced(rig)
    rig.receiver.answers = [Reply(ok=True, code=200)]
    await rig.put(row, traced(rig, None), traced(rig, Trace(f"{PARENT[:-1]}0")))
    await asyncio.sleep(0.1)
    (span,) = found.get_finished_spans()
    sent = {each.schedule.schedule_id: each.trace for _, each in rig.receiver.sent}
    told = sent[row.schedule.schedule_id]
    assert told is not None
    assert (ids_of(told), told.state) == ((span.context.trace_id, span.context.span_id), "a=1")
    assert [(each.context.trace_id, each.context.span_id) for each in span.links] == [ids_of(KEPT)]
    assert span.attributes == {
        APP: rig.app.app_id,
        SCHEDULE: str(row.schedule.schedule_id),
        TYPE: "sim",
        ATTEMPT: 1,
        REPLAY: 0,
        LAG_MS: 250,
        STATUS: 200,
    }
    assert {None, Trace(f"{PARENT[:-1]}0")} < set(sent.values())


@on_virtual_time
async def test_a_failed_attempt_tells_why_without_what_is_secret() -> None:
    spans, found = recorded()
    rig = make_rig(spans=spans)
    row = traced(rig)
    details = b'{"url":"https://example.com/","secretHeaders":{"X-Vault":"kanarie-77"}}'
    row = replace(row, schedule=replace(row.schedule, callback_details=details))
    rig.receiver.answers = [ValueError("kanarie-77 is no good")]
    await rig.put(row)
    await asyncio.sleep(0.1)
    (span,) = found.get_finished_spans()
    assert span.status.description is not None
    assert span.status.description.endswith("*** is no good")


@on_virtual_time
async def test_runs_have_spans_by_share_though_nothing_is_kept_with_them() -> None:
    for share, made in ((0.0, 0), (1.0, 1)):
        spans, found = recorded(share=share)
        rig = make_rig(spans=spans)
        row = traced(rig, None)
        run = RunOf(recurring_id=UUID(int=5), version=1, nominal_ms=row.place.slot_ms)
        item = replace(row, schedule=replace(row.schedule, run=run))
        delivered = replace(delivery(), schedule=item.schedule)
        span = rig.deliverer._attempts._span_of(delivered, rig.clock.now_ms())
        if span is not None:
            with span:
                pass
        assert len(found.get_finished_spans()) == made


def test_a_hook_goes_on_from_what_it_tells_of() -> None:
    row = make_row(make_app(), trace=KEPT)
    hooks = Hooks(on_success=Hook(callback_type="http", callback_details="{}"))
    outcome = Outcome(status=Status.SUCCESS, ended_ms=NOW_MS)
    hook = hook_row(row, outcome, hooks, now_ms=NOW_MS, retention_ms=9)
    assert hook is not None
    assert hook.schedule.trace == KEPT
