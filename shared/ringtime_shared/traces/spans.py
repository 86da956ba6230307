"""Spans of creates and attempts, through the API of OpenTelemetry, which does nothing without an SDK.

Behind it may be a provider of the program around the library, with samplers and processors of its own.
Whatever these raise is said once in the log and costs the span: no create or callback fails for its trace.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from uuid import UUID
from zlib import crc32

from opentelemetry import trace as otel
from opentelemetry.context import Context

from ringtime_shared.models.trace import Trace
from ringtime_shared.once import OnceLog
from ringtime_shared.settings import TracingSettings
from ringtime_shared.traces.context import ids_of, is_sampled, trace_of
from ringtime_shared.traces.names import APP, CREATE, ERROR_TYPE, FIRE, ITEMS, RECURRING, SCHEDULE

Attributes = Mapping[str, str | int]
_WHOLE = 1 << 32
_FAILED = otel.Status(otel.StatusCode.ERROR)
_log = logging.getLogger(__name__)
_said = OnceLog(_log)


@contextmanager
def _spared() -> Iterator[None]:
    """Keep from who is traced what the provider raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it is somebody else's code
        name = type(error).__name__  # its text may have anything in it
        _said.warn(name, "a span is lost: the tracer provider raised %s", name)


class Span:
    """A span under way; what is done in its block is what it tells of."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: otel.Span, trace: Trace) -> None:
        self._span = span
        self.trace = trace  #: for those who go on from here

    def tell(self, attributes: Attributes) -> None:
        """Add what is known by now."""
        with _spared():
            self._span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        """Say that it came to nothing; `why`: without secrets."""
        with _spared():
            self._span.set_status(otel.Status(otel.StatusCode.ERROR, why))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _spared():
            if kind is not None:  # its text may have what a client sent
                self._span.set_attribute(ERROR_TYPE, kind.__name__)
                self._span.set_status(_FAILED)
            self._span.end()


class Spans:
    """Begins the spans of a process, of what is to have one."""

    def __init__(
        self,
        tracer: otel.Tracer,
        settings: TracingSettings,
        *,
        close: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            close: sends what is left, in at most some seconds.
            now_s: the second in which a span counts.
            draw: returns a number from 0 to 1, of which none is likelier.
        """
        self._tracer = tracer
        self._share = settings.share
        self._most = settings.max_per_second
        self.close = close
        self._now_s = now_s
        self._draw = draw
        self._second, self._made = 0, 0

    def of_create(self, told: Trace | None, app_id: str) -> Span | None:
        """Begin the span of a create; None: it has none, and what it was told is kept as it is."""
        if not (self._draw() < self._share if told is None else is_sampled(told)) or not self._has_room():
            return None
        return self._begin(CREATE, otel.SpanKind.SERVER, told, {APP: app_id})

    def of_batch(self, told: Trace | None, items: int) -> Span | None:
        """Begin the one span of many creates, which all go on from it: only of a request that is sampled, or
        a draw would decide on a thousand callbacks."""
        if told is None or not is_sampled(told) or not self._has_room():
            return None
        return self._begin(CREATE, otel.SpanKind.SERVER, told, {ITEMS: items})

    def of_fire(
        self, kept: Trace | None, schedule_id: UUID, recurring_id: UUID | None, attributes: Attributes
    ) -> Span | None:
        """Begin the span of an attempt; None: it has none.

        Args:
            kept: what is stored with the schedule.
            recurring_id: of which it is a run; None: it is a one-time schedule.
        """
        if kept is not None:
            is_wanted = is_sampled(kept)
        else:
            is_wanted = recurring_id is not None and crc32(schedule_id.bytes) < self._share * _WHOLE
        if not is_wanted or not self._has_room():
            return None
        about: dict[str, str | int] = {SCHEDULE: str(schedule_id), **attributes}
        if recurring_id is not None:
            about[RECURRING] = str(recurring_id)
        return self._begin(FIRE, otel.SpanKind.CLIENT, kept, about, is_linked=True)

    def _begin(
        self,
        name: str,
        kind: otel.SpanKind,
        told: Trace | None,
        about: Attributes,
        *,
        is_linked: bool = False,
    ) -> Span | None:
        parent = None
        if told is not None:
            try:
                trace_id, span_id = ids_of(told)
                state = otel.TraceState.from_header([told.state]) if told.state else None
            except ValueError:  # somebody has written into the store
                return None
            flags = otel.TraceFlags(otel.TraceFlags.SAMPLED)
            parent = otel.SpanContext(trace_id, span_id, True, flags, state)
        with _spared():
            span = self._tracer.start_span(
                name,
                Context()
                if parent is None
                else otel.set_span_in_context(otel.NonRecordingSpan(parent), Context()),
                kind=kind,
                attributes=about,
                links=[otel.Link(parent)] if is_linked and parent is not None else (),
            )
            if not span.is_recording():  # no provider is set up, or the program's own has another mind
                return None
            own = span.get_span_context()
            return Span(span, trace_of(own.trace_id, own.span_id, "" if told is None else told.state))
        return None

    def _has_room(self) -> bool:
        second = int(self._now_s())
        if second != self._second:
            self._second, self._made = second, 0
        self._made += 1
        return self._made <= self._most
