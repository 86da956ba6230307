"""Traces: a create's place in one is kept and told on, and with `tracing.enabled` both ends have spans.

`context` reads and writes the headers of W3C Trace Context, and needs nothing else; that a `traceparent` goes
from the create to its callbacks rests on it alone. `spans` makes spans through the API of OpenTelemetry, and
`export` is the only place that knows its SDK, which only an extra brings.

| span | made by | parent | link |
|---|---|---|---|
| `ringtime.create`: a create, or a batch of them | ingest | the request's `traceparent`, or none | |
| `ringtime.fire`: one attempt | the dispatcher | the create's span, or the request's | the same |

Whether there is to be a span is decided before any is made, once: by the flag of the `traceparent`, or where
there is none by `tracing.share`. What is stored says how it was decided, so a dispatcher does not ask again,
and nothing is stored of a create that is not sampled and came without a `traceparent`. Runs of recurring
schedules have nothing stored: whether one has spans is told from its id, so that all its attempts have them,
or none.
"""
