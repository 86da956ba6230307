"""Traces: what of the headers of W3C Trace Context is kept and told on, and who has spans."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ringtime_shared.models.trace import Trace
from ringtime_shared.settings import TracingSettings
from ringtime_shared.traces.context import headers_of, ids_of, is_sampled, read_headers, read_trace, trace_of
from ringtime_shared.traces.export import open_spans
from ringtime_shared.traces.names import APP, RECURRING, SCHEDULE
from ringtime_shared.traces.spans import Spans

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
ID = UUID("01990000-0000-7000-8000-000000000007")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (PARENT, PARENT),
        (f" {PARENT}\t", PARENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", PARENT),
        (f"cc-{TRACE}-{SPAN}-01.what", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-01\r\nx: y", None),
        ("", None),
        ("\xff" * 9_000, None),
    ],
)
def test_a_traceparent_is_kept_as_the_standard_says(given: str, kept: str | None) -> None:
    assert read_trace(given.encode("latin-1")) == (None if kept is None else Trace(kept))


LONG = [f"k{n}={'v' * 200}" for n in range(2)]
SHORT = [f"s{n}={'v' * 60}" for n in range(8)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1", "b=2 3"], "a=1,b=2 3"),
        (["fw529a3039@dt=FfAyMDEwMjYwMDI, ,x/*-_=1"], "fw529a3039@dt=FfAyMDEwMjYwMDI,x/*-_=1"),
        (["A=1"], ""),
        (["a=1,a=2"], ""),
        (["a=1,b"], ""),
        (["a=1,b=\xe4"], ""),
        (["a=1\r\nx: y"], ""),
        ([",".join(f"k{n}=1" for n in range(33))], ""),
        (["a=" + "v" * 5_000], ""),
        ([",".join([*LONG, *SHORT[:3]])], ",".join(SHORT[:3])),
        ([",".join(SHORT)], ",".join(SHORT)),
        ([",".join([*SHORT, "last=12345"])], ",".join(SHORT)),
    ],
)
def test_a_tracestate_is_kept_by_whole_members(given: list[str], kept: str) -> None:
    assert read_trace(PARENT.encode(), [each.encode("latin-1") for each in given]) == Trace(PARENT, kept)


def test_one_traceparent_counts_and_two_do_not() -> None:
    one, state = (b"traceparent", PARENT.encode()), (b"tracestate", b"a=1")
    assert read_headers([(b"host", b"x"), state, one]) == Trace(PARENT, "a=1")
    assert read_headers([one, one]) is None
    assert read_headers([state]) is None


def test_what_the_client_gave_wins_and_what_was_written_into_the_store_stays_there() -> None:
    trace = Trace(PARENT, "a=1")
    assert headers_of(trace, ["X-A"]) == [("traceparent", PARENT), ("tracestate", "a=1")]
    assert headers_of(Trace(PARENT), []) == [("traceparent", PARENT)]
    for given in ("TraceParent", "tracestate"):
        assert headers_of(trace, ["X-A", given]) == []
    assert headers_of(None, []) == []
    assert headers_of(Trace(f"{PARENT}\r\nX: y"), []) == []
    assert headers_of(Trace(PARENT, "a=1\r\nX: y"), []) == [("traceparent", PARENT)]


def recorded(share: float = 0.0, most: int = 100, draw: float = 0.5) -> tuple[Spans, InMemorySpanExporter]:
    """Return spans, and where they are to be found once they have ended."""
    found, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    settings = TracingSettings(enabled=True, share=share, max_per_second=most)
    spans = Spans(provider.get_tracer("t"), settings, now_s=lambda: 7.0, draw=lambda: draw)
    return spans, found


def _only(found: InMemorySpanExporter) -> ReadableSpan:
    (span,) = found.get_finished_spans()
    return span


def test_a_create_goes_on_from_the_request_and_its_fire_is_linked_to_it() -> None:
    spans, found = recorded()
    create = spans.of_create(Trace(PARENT, "a=1"), "shop")
    assert create is not None
    with create:
        create.tell({SCHEDULE: str(ID)})
    made = _only(found)
    assert (made.name, made.kind) == ("ringtime.create", SpanKind.SERVER)
    assert made.attributes == {APP: "shop", SCHEDULE: str(ID)}
    assert (made.context.trace_id, made.parent and made.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert create.trace == trace_of(made.context.trace_id, made.context.span_id, "a=1")

    found.clear()
    fire = spans.of_fire(create.trace, ID, None, {APP: "shop"})
    assert fire is not None
    with fire:
        fire.fail("answered 500")
    fired = _only(found)
    assert (fired.name, fired.kind, fired.status.status_code) == (
        "ringtime.fire",
        SpanKind.CLIENT,
        StatusCode.ERROR,
    )
    assert [(link.context.trace_id, link.context.span_id) for link in fired.links] == [ids_of(create.trace)]
    assert (fired.context.trace_id, fired.parent and fired.parent.span_id) == ids_of(create.trace)
    assert fire.trace.state == "a=1"


def test_what_is_not_sampled_has_no_span() -> None:
    spans, found = recorded(share=0.4)
    told = Trace(f"00-{TRACE}-{SPAN}-00")
    assert spans.of_create(told, "shop") is None
    assert spans.of_create(None, "shop") is None, "the draw was 0.5"
    assert spans.of_batch(None, 5) is None
    assert spans.of_batch(told, 5) is None
    assert spans.of_fire(told, ID, None, {}) is None
    assert spans.of_fire(None, ID, None, {}) is None
    assert spans.of_fire(Trace("nonsense-1"), ID, None, {}) is None
    assert found.get_finished_spans() == ()


def test_a_share_of_what_has_no_traceparent_begins_a_trace() -> None:
    spans, found = recorded(share=0.6)
    create = spans.of_create(None, "shop")
    assert create is not None
    with create:
        pass
    assert _only(found).parent is None
    assert is_sampled(create.trace)


def test_all_attempts_of_a_run_have_spans_or_none() -> None:
    spans, _ = recorded(share=0.25, most=10**6)
    ids = [UUID(int=ID.int + n) for n in range(1_000)]
    made = [spans.of_fire(None, each, ID, {}) is not None for each in ids]
    assert 200 < sum(made) < 300
    assert made == [spans.of_fire(None, each, ID, {}) is not None for each in ids]


def test_a_run_names_its_recurring_schedule() -> None:
    spans, found = recorded(share=1.0)
    fire = spans.of_fire(None, ID, UUID(int=5), {})
    assert fire is not None
    with fire:
        pass
    assert _only(found).attributes == {SCHEDULE: str(ID), RECURRING: str(UUID(int=5))}
    assert _only(found).links == ()


def test_clients_cannot_ask_for_more_spans_than_the_setting_allows() -> None:
    spans, _ = recorded(most=3)
    assert [spans.of_create(Trace(PARENT), "shop") is not None for _ in range(5)] == [True] * 3 + [False] * 2


def test_an_error_is_told_by_its_name_alone() -> None:
    spans, found = recorded(share=1.0)
    create = spans.of_create(None, "shop")
    assert create is not None
    with pytest.raises(ValueError, match="kanarie"), create:
        raise ValueError("kanarie-7")
    span = _only(found)
    assert (span.status.status_code, span.attributes) == (
        StatusCode.ERROR,
        {APP: "shop", "error.type": "ValueError"},
    )
    assert "kanarie" not in span.to_json()


class Raising(SpanProcessor):
    """Of a program around the library: it raises whatever it is told."""

    def __init__(self, at: str) -> None:
        self._at = at

    def on_start(self, span: object, parent_context: object = None) -> None:
        if self._at == "start":
            raise ValueError("kanarie-8")

    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError("kanarie-9")


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_provider_that_raises_costs_a_span_and_nothing_else(
    at: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising(at))
    spans = Spans(provider.get_tracer("t"), TracingSettings(enabled=True, share=1.0))
    fire = spans.of_fire(Trace(PARENT), ID, None, {APP: "shop"})
    assert (fire is None) == (at == "start")
    if fire is not None:
        with fire:
            fire.tell({SCHEDULE: str(ID)})
    assert "kanarie" not in caplog.text


def test_without_a_provider_or_the_setting_there_are_no_spans() -> None:
    assert open_spans(TracingSettings(), "ringtime") is None
    spans = open_spans(TracingSettings(enabled=True, endpoint=""), "ringtime")
    assert spans is not None
    assert spans.of_create(Trace(PARENT), "shop") is None, "nobody has set up a provider"


@pytest.mark.slow
def test_a_process_that_makes_no_spans_imports_nothing_of_opentelemetry() -> None:
    script = "import ringtime.main, sys; print([name for name in sys.modules if 'opentelemetry' in name])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
