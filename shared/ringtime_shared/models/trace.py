"""Where in a trace a create stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """The two headers of W3C Trace Context, as `ringtime_shared.traces.context` has read them."""

    parent: str  #: `traceparent`
    state: str = ""  #: `tracestate`; "": there is none
