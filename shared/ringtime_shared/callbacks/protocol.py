"""The interface of a callback type (the seed's plug-in interface).

A type is known by its name, the `callback.type` of a schedule. It is asked twice: when a schedule is
created, whether the details make sense (everything that can fail at send time should fail here), and
when the schedule is due, to carry out one attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ringtime_shared.errors import Violation
from ringtime_shared.models.schedule import Schedule

_MOST_CODE = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to make."""

    schedule: Schedule
    attempt: int  #: 1 for the first
    term: int  #: fencing number of the ownership term it is made under; a receiver may refuse older ones
    timeout_ms: int  #: total deadline of the attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one attempt ended."""

    ok: bool
    code: int | None = None  #: HTTP status, if the type has such a thing and there was an answer
    error: str = ""
    is_final: bool = False  #: trying again would be of no use
    retry_after_ms: int | None = None  #: the receiver asked to be left alone for so long

    def __post_init__(self) -> None:
        """Refuse what no store could record, while the plug-in that made it can still be blamed."""
        if not isinstance(self.error, str):
            raise TypeError("error must be text")
        for name, number, most in (
            ("code", self.code, _MOST_CODE),
            ("retry_after_ms", self.retry_after_ms, None),
        ):
            if number is None:
                continue
            if not isinstance(number, int):
                raise TypeError(f"{name} must be a whole number")
            if number < 0 or (most is not None and number > most):
                raise ValueError(f"{name} is out of range: {number}")


class CallbackRules(Protocol):
    """What ingest needs to know of a callback type."""

    @property
    def name(self) -> str:
        """Return the `callback.type` this serves."""
        ...

    def validate(self, details: Mapping[str, object]) -> list[Violation]:
        """Return what is wrong with `callback.details`, fields named from `callback.details.` on."""
        ...


class CallbackType(CallbackRules, Protocol):
    """One way to call back. `invoke` runs many times at once."""

    async def invoke(self, delivery: Delivery) -> Reply:
        """Make one attempt. Must end within the delivery's timeout; an exception counts as a failure."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
