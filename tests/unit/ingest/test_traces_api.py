"""`traceparent` of creates: kept with the schedule, and a span where it asks for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.unit.ingest.rig import NOW_S, Client, Rig, make_rig, schedule_body
from tests.unit.shared.test_traces import PARENT, SPAN, TRACE, recorded

from ringtime_ingest.http import create_app
from ringtime_shared.models.trace import Trace
from ringtime_shared.settings import ServerSettings
from ringtime_shared.traces.context import ids_of
from ringtime_shared.traces.names import APP, ITEMS, SCHEDULE
from ringtime_shared.traces.spans import Spans

NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"
TOLD = [("traceparent", PARENT), ("tracestate", "a=1")]


@pytest.fixture
def rig() -> Rig:
    return make_rig()


def with_spans(rig: Rig, spans: Spans) -> Rig:
    async def ready() -> None:
        return

    return replace(rig, client=Client(create_app(rig.service, ServerSettings(), ready, spans=spans)))


async def create(rig: Rig, headers: list[tuple[str, str]], **changes: Any) -> tuple[UUID, Trace | None]:
    """Create a schedule; return its id and what is kept with it."""
    body = schedule_body(**changes)
    reply = await rig.client.call("POST", "/goscheduler/schedules", body, headers=headers)
    assert reply.status == 200, reply.body
    schedule_id = UUID(reply.json["data"]["schedule"]["scheduleId"])
    return schedule_id, rig.rows[schedule_id].schedule.trace


async def test_it_is_kept_and_bad_ones_are_passed_over(rig: Rig) -> None:
    assert (await create(rig, TOLD))[1] == Trace(PARENT, "a=1")
    assert (await create(rig, []))[1] is None
    assert (await create(rig, [("traceparent", "00-xyz")]))[1] is None
    assert (await create(rig, [*TOLD, TOLD[0]]))[1] is None
    assert (await create(rig, [("tracestate", "a=1")]))[1] is None
    unusual = {"timeoutMs": 900}  # which the fast reader leaves to the other
    assert (await create(rig, TOLD, **unusual))[1] == Trace(PARENT, "a=1")


async def test_every_item_of_a_batch_has_that_of_its_request(rig: Rig) -> None:
    body = {"schedules": [schedule_body(), schedule_body(appId="nobody"), schedule_body(timeoutMs=900)]}
    reply = await rig.client.call("POST", "/goscheduler/schedules/batch", body, headers=TOLD)
    assert reply.status == 207
    assert [row.schedule.trace for row in rig.rows.values()] == [Trace(PARENT, "a=1")] * 2


async def test_it_is_no_part_of_what_is_asked_for(rig: Rig) -> None:
    keyed = [("idempotency-key", "k-1")]
    first, trace = await create(rig, [*keyed, *TOLD])
    assert await create(rig, [*keyed, ("traceparent", NOT_SAMPLED)]) == (first, trace)
    assert trace == Trace(PARENT, "a=1")

    path, body = "/goscheduler/apps/test/schedules/nightly", schedule_body(appId=...)
    made = await rig.client.call("PUT", path, body, headers=TOLD)
    again = await rig.client.call("PUT", path, body, headers=[("traceparent", NOT_SAMPLED)])
    plain = await rig.client.call("PUT", path, body)
    told = [reply.json["data"] for reply in (made, again, plain)]
    assert [each["created"] for each in told] == [True, False, False]
    assert len({each["schedule"]["scheduleId"] for each in told}) == 1
    assert rig.rows[UUID(told[0]["schedule"]["scheduleId"])].schedule.trace == Trace(PARENT, "a=1")
    changed = await rig.client.call(
        "PATCH", f"/goscheduler/schedules/{first}", {"scheduleTime": NOW_S + 90}, headers=[]
    )
    assert changed.status == 200
    filings = [row for rows in rig.store.real._rows.values() for key, row in rows.items() if key == first]
    assert [row.schedule.trace for row in filings] == [Trace(PARENT, "a=1")] * 2, "a change keeps it"


def _ids(found: InMemorySpanExporter) -> list[tuple[int, int]]:
    return [(span.context.trace_id, span.context.span_id) for span in found.get_finished_spans()]


async def test_a_sampled_create_has_a_span_which_is_what_is_kept(rig: Rig) -> None:
    spans, found = recorded()
    rig = with_spans(rig, spans)
    schedule_id, trace = await create(rig, TOLD)
    assert trace is not None
    assert ([ids_of(trace)], trace.state) == (_ids(found), "a=1")
    (span,) = found.get_finished_spans()
    assert span.attributes == {APP: "test", SCHEDULE: str(schedule_id)}

    assert (await create(rig, [("traceparent", NOT_SAMPLED)]))[1] == Trace(NOT_SAMPLED)
    assert (await create(rig, []))[1] is None
    assert len(found.get_finished_spans()) == 1

    found.clear()
    named, path = schedule_body(appId=...), "/goscheduler/apps/test/schedules/nightly"
    reply = await rig.client.call("PUT", path, named, headers=TOLD)
    kept = rig.rows[UUID(reply.json["data"]["schedule"]["scheduleId"])].schedule.trace
    assert kept is not None
    assert [ids_of(kept)] == _ids(found)


async def test_a_batch_has_one_span_and_only_if_it_is_asked_for(rig: Rig) -> None:
    spans, found = recorded(share=1.0)
    rig = with_spans(rig, spans)
    body = {"schedules": [schedule_body(), schedule_body()]}
    await rig.client.call("POST", "/goscheduler/schedules/batch", body)
    assert (_ids(found), {row.schedule.trace for row in rig.rows.values()}) == ([], {None})
    await rig.client.call("POST", "/goscheduler/schedules/batch", body, headers=TOLD)
    (span,) = found.get_finished_spans()
    assert span.attributes == {ITEMS: 2}
    kept = [row.schedule.trace for row in rig.rows.values() if row.schedule.trace is not None]
    assert [ids_of(each) for each in kept] == _ids(found) * 2


async def test_a_refused_create_has_a_span_that_says_so(rig: Rig) -> None:
    spans, found = recorded()
    rig = with_spans(rig, spans)
    body = schedule_body(payload="kanarie-7", scheduleTime=NOW_S - 60)
    reply = await rig.client.call("POST", "/goscheduler/schedules", body, headers=TOLD)
    assert reply.status == 400
    (span,) = found.get_finished_spans()
    assert span.attributes == {APP: "test", "error.type": "InvalidRequest"}
    assert "kanarie" not in span.to_json()
