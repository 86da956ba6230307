"""How many file descriptors this process may open, and who gets how many of them.

Most systems start a process with a soft limit of 1,024 and let it raise that to the hard one itself. Whatever
is there is shared out, so that neither the clients of the API nor the callbacks can use up what the store
and its files need, nor each other's:

| share | of 1,024 | is for |
|---|---|---|
| `own` | 128 | the store, its files, coordination, name lookups, brokers, the log |
| `clients` | 448 | connections of clients to the API |
| `callbacks` | 448 | connections to receivers, idle ones included |
"""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from dataclasses import dataclass, replace
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

from ringtime_shared.settings import DispatchSettings

_log = logging.getLogger(__name__)
_OWN = 128
_SHORTAGES = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
_PLENTY = 1 << 20  #: asked for where the hard limit is none
_MAC = 10_240  #: what macOS grants although its hard limit is none


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Shares of one process, in file descriptors."""

    own: int
    clients: int
    callbacks: int


def share_out(limit: int) -> Descriptors:
    """Return who gets how many of `limit` descriptors; each share is at least 1."""
    own = min(_OWN, limit // 4)
    half = max((limit - own) // 2, 1)
    return Descriptors(own=own, clients=half, callbacks=half)


def fit_attempts(dispatch: DispatchSettings, limit: int) -> DispatchSettings:
    """Return the settings with no more attempts under way than there are descriptors for."""
    most = share_out(limit).callbacks
    if most >= dispatch.max_in_flight:
        return dispatch
    _log.warning(
        "dispatch.max_in_flight is %d, not %d: the process may open %d files only",
        most,
        dispatch.max_in_flight,
        limit,
    )
    return replace(dispatch, max_in_flight=most)


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _PLENTY if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> int:
    """Raise the soft limit as far as the system lets a process do by itself; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wishes = (_PLENTY, _MAC) if hard == resource.RLIM_INFINITY else (hard,)
    if soft != resource.RLIM_INFINITY:
        for wish in wishes:
            if wish <= soft:
                break
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wish, hard))
                break
    limit = descriptor_limit()
    shares = share_out(limit)
    _log.info(
        "%d file descriptors: %d for the store and files, %d for clients, %d for callbacks",
        limit,
        shares.own,
        shares.clients,
        shares.callbacks,
    )
    return limit


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that this machine or process ran out of something, whatever was asked of it."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES)
