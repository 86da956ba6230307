"""The interface of a callback type (goscheduler's plug-in interface).

A type is known by its name, the `callback.type` of a schedule. It is asked twice: when a schedule is
created, whether the details make sense (everything that can fail at send time should fail here), and
when the schedule is due, to carry out one attempt.

A type of your own is a class that names `CallbackType` as its base and has a `name`, `validate` and
`invoke`; the other methods then come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, runtime_checkable

from ringtime_shared.errors import Violation
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.models.trace import Trace

_MOST_CODE = (1 << 31) - 1
_SERVER_ERROR = 500
_GONE = 410
_TOO_MANY = 429


@dataclass(slots=True, kw_only=True)  # not frozen, which would make it three times as dear
class Delivery:
    """One attempt to make. Nobody changes it."""

    schedule: Schedule
    #: the schedule's `callback.details`, as `validate` passed them; not in the repr, which gets logged
    details: Mapping[str, object] = field(repr=False)
    attempt: int  #: 1 for the first
    replay: int = 0  #: of the schedule itself; n: of its n-th replay
    term: int  #: fencing number of the ownership term it is made under; a receiver may refuse older ones
    timeout_ms: int  #: total deadline of the attempt
    #: the app's live signing secrets, newest first: `whsec_` and base64, of Ed25519 `whsk_` and base64; not
    #: in the repr, which gets logged
    secrets: tuple[str, ...] = field(default=(), repr=False)
    tls_profile: str = ""  #: the app's, of `callbacks.tls_profiles`; "": it has none
    trace: Trace | None = None  #: what the receiver is told that this attempt is a part of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one attempt ended."""

    ok: bool
    code: int | None = None  #: HTTP status, if the type has such a thing and there was an answer
    error: str = ""
    is_final: bool = False  #: trying again would be of no use
    retry_after_ms: int | None = None  #: the receiver asked to be left alone for so long
    #: this node was short of something: not the destination's doing, and no attempt
    is_shortage: bool = False

    def __post_init__(self) -> None:
        """Refuse what no store could record, while the plug-in that made it can still be blamed."""
        if not isinstance(self.error, str):
            raise TypeError("error must be text")
        if self.code is not None:
            _check_number("code", self.code, _MOST_CODE)
        if self.retry_after_ms is not None:
            _check_number("retry_after_ms", self.retry_after_ms, None)

    @property
    def says_gone(self) -> bool:
        """Whether the receiver said that there is nobody any more."""
        return self.code == _GONE and not self.ok

    @property
    def blames_destination(self) -> bool:
        """Whether this failure says that the destination, rather than this one request, is in trouble:
        no answer at all, a server error, or "too many requests"."""
        if self.ok or self.is_shortage:
            return False
        if self.code is None:
            return not self.is_final
        return self.code >= _SERVER_ERROR or self.code == _TOO_MANY


def _check_number(name: str, number: object, most: int | None) -> None:
    if not isinstance(number, int):
        raise TypeError(f"{name} must be a whole number")
    if number < 0 or (most is not None and number > most):
        raise ValueError(f"{name} is out of range: {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageRules:
    """How a destination in trouble is treated."""

    open_ms: int  #: how long it is left alone before one row is sent to see
    park_per_s: int  #: rows a second that are filed for later, and come back when it has healed


class CallbackRules(Protocol):
    """What ingest needs to know of a callback type."""

    name: str  #: the `callback.type` this serves

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Return what is wrong with `callback.details`, fields named from `callback.details.` on.

        Quick and without I/O; `app_id` is the app whose schedule it is.
        """
        ...

    async def screen(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Return what is wrong with details that `validate` passed and that takes I/O to find out.

        Must end within about a second; what cannot be found out is no violation.
        """
        return []

    def screened(self, details: Mapping[str, object]) -> str | None:
        """Return what `screen` goes by: of details with the same, one app's are screened once for a whole
        batch. None: all that is in them. Quick."""
        return None


@runtime_checkable
class CallbackType(CallbackRules, Protocol):
    """One way to call back. `invoke` runs many times at once."""

    outage: OutageRules | None = None  #: None: as the `dispatch` settings say
    #: the key of details that names one receiver at a destination: nothing more is sent to it for a while
    #: after a 410 that was final. None: there is no such thing
    receiver_key: str | None = None

    def destination(self, details: Mapping[str, object]) -> str:
        """Return what these details have in common with others that fail when they fail: one cap on
        attempts in flight and one circuit breaker for each app and destination. Quick."""
        return self.name

    def deadline_ms(self, timeout_ms: int) -> int:
        """Return the longest an attempt may take, in ms; `timeout_ms` is the app's HTTP timeout."""
        return timeout_ms

    async def invoke(self, delivery: Delivery) -> Reply:
        """Make one attempt. Must end within the delivery's timeout; an exception counts as a failure."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        return


class PromptType(CallbackType):
    """A type some of whose attempts have nothing to wait for before they are sent: these need no task of
    their own, which is a fifth of what an attempt costs."""

    def begin(self, delivery: Delivery, on_end: Callable[[Reply], None]) -> Callable[[], None] | None:
        """Send at once, and call `on_end` once the attempt has ended: within the delivery's timeout, and not
        before this returns.

        Return what ends it early, without `on_end`; None: nothing was done, for `invoke` to do it.
        """
        raise NotImplementedError


def instant(epoch_ms: int) -> str:
    """Return an instant as callbacks tell it, in a form that every receiver reads: RFC 3339, UTC, to the
    millisecond. What is due at about the same time shares most of it."""
    seconds, rest_ms = divmod(epoch_ms, 1_000)
    return f"{_second(seconds)}.{rest_ms:03}Z"


@lru_cache(maxsize=256)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
