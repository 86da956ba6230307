"""W3C Trace Context (level 1, https://www.w3.org/TR/trace-context/): read, bound, told on. Pure.

What is not as the standard says is passed over without a word, as it wants: no request is refused for its
trace. What was read once, and came back from a store, is looked at again before it goes into a header.

| what a request has | what is kept |
|---|---|
| one good `traceparent` of version 00 | it, with the flags that are defined |
| one of a later version | the same parts of it, as version 00 |
| none, two, or one that breaks a rule | nothing, and no `tracestate` either |
| a good `tracestate`, in one header or several | it, at most 512 characters: long members go first |
| one that breaks a rule | `traceparent` alone |
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ringtime_shared.models.trace import Trace

PARENT, STATE = "traceparent", "tracestate"  #: the headers
MOST_STATE_CHARS = 512
_PARENT_HEADER, _STATE_HEADER = PARENT.encode(), STATE.encode()
_MOST_READ_BYTES = 4_096  #: of `tracestate`; what is longer is no `tracestate`
_MOST_MEMBERS = 32
_LONG_MEMBER_CHARS = 128
_SAMPLED, _DEFINED = 1, 3  #: flags; 2 says that the trace id is random
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_IS_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")
_IS_STATE = re.compile(rf"[\x20-\x7e]{{0,{MOST_STATE_CHARS}}}")


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """Return the trace that a request is part of; None: of none that can be told.

    Args:
        headers: names in lower case.
    """
    parents, states = [], []
    for name, value in headers:
        if name == _PARENT_HEADER:
            parents.append(value)
        elif name == _STATE_HEADER:
            states.append(value)
    return read_trace(parents[0], states) if len(parents) == 1 else None


def read_trace(parent: bytes, states: Iterable[bytes] = ()) -> Trace | None:
    """Return what the values of these headers say; None: nothing that may be used."""
    found = _PARENT.fullmatch(parent.strip(b" \t").decode("latin-1"))
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    is_other = version == "ff" or (version == "00" and rest is not None)
    if is_other or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(f"00-{trace_id}-{span_id}-{int(flags, 16) & _DEFINED:02x}", _read_state(states))


def trace_of(trace_id: int, span_id: int, state: str = "") -> Trace:
    """Return the trace of a span of ours, which is sampled."""
    return Trace(f"00-{trace_id:032x}-{span_id:016x}-{_SAMPLED:02x}", state)


def is_sampled(trace: Trace) -> bool:
    """Whether whoever began the trace has it recorded."""
    return trace.parent[-1:] in ("1", "3")


def ids_of(trace: Trace) -> tuple[int, int]:
    """Return the ids of the trace and of the span it comes from. Raises ValueError for what is none."""
    _, trace_id, span_id, _ = trace.parent.split("-")
    return int(trace_id, 16), int(span_id, 16)


def headers_of(trace: Trace | None, given: Iterable[object]) -> list[tuple[str, str]]:
    """Return the headers that tell a receiver of the trace: none where the client has given its own.

    Args:
        given: names of headers that are sent, in any case.
    """
    if trace is None or not _IS_PARENT.fullmatch(trace.parent):
        return []
    if any(isinstance(name, str) and name.lower() in (PARENT, STATE) for name in given):
        return []
    state = [(STATE, trace.state)] if trace.state and _IS_STATE.fullmatch(trace.state) else []
    return [(PARENT, trace.parent), *state]


def _read_state(states: Iterable[bytes]) -> str:
    text = b",".join(states)
    if not text or len(text) > _MOST_READ_BYTES:
        return ""
    members = [member for each in text.decode("latin-1").split(",") if (member := each.strip(" \t"))]
    keys = [found[1] for each in members if (found := _MEMBER.fullmatch(each))]
    if len(keys) != len(members) or len(set(keys)) != len(keys) or len(keys) > _MOST_MEMBERS:
        return ""
    if len(",".join(members)) > MOST_STATE_CHARS:
        members = [each for each in members if len(each) <= _LONG_MEMBER_CHARS]
    while len(",".join(members)) > MOST_STATE_CHARS:
        members.pop()
    return ",".join(members)
