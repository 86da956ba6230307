"""What an error of the driver means: was anything sent, and is it worth another try?

The driver reports NoHostAvailable only when no connection took the request. A coordinator says
Unavailable or Overloaded before it writes, but it looks at one partition after the other: of a batch over
several partitions the first may be written by then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cassandra import (
    AuthenticationFailed,
    RequestValidationException,
    Unavailable,
    UnsupportedOperation,
    protocol,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy
from cassandra.pool import NoConnectionsAvailable

_REFUSED = (
    RequestValidationException,
    protocol.RequestValidationException,
    AuthenticationFailed,
    UnsupportedOperation,
)
_NOT_SENT = (NoHostAvailable, NoConnectionsAvailable, ConnectionBusy)
_NOT_BEGUN = (Unavailable, protocol.OverloadedErrorMessage, protocol.IsBootstrappingErrorMessage)


class Failure(NamedTuple):
    """Why a statement has no answer."""

    text: str
    may_be_written: bool
    is_retryable: bool

    def after(self, earlier: Failure) -> Failure:
        """Return what both tries of one statement together mean."""
        return self._replace(may_be_written=self.may_be_written or earlier.may_be_written)


def from_driver(error: BaseException, *, spans_partitions: bool = False) -> Failure:
    """Return what `error` means for the statement that got it."""
    text = f"Cassandra: {_describe(error)}"
    if isinstance(error, _REFUSED):
        return Failure(text, may_be_written=False, is_retryable=False)
    if isinstance(error, _NOT_SENT):
        return Failure(text, may_be_written=False, is_retryable=True)
    if isinstance(error, _NOT_BEGUN):
        return Failure(text, may_be_written=spans_partitions, is_retryable=True)
    return Failure(text, may_be_written=True, is_retryable=True)


def _describe(error: BaseException) -> str:
    if isinstance(error, NoHostAvailable):
        reasons: dict[Any, Any] = error.errors
        hosts = ", ".join(f"{host}: {_describe(reason)}" for host, reason in reasons.items())
        return f"no host available ({hosts or 'all are marked down'})"
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:500]
