"""How a change gets into the audit log.

An entry is written before the change that it tells of, with the values that are about to be written: what is
not in the log was not done. When the change is refused, or gets no answer, a second entry says so and names
the first. So an entry without a second one was carried out, unless the process died, or the store went away,
in between: then it may have been. Both are in the log for good; nothing is taken back.

Who asks is known where a request comes in, and the change is made some calls further down, of which others
are made by jobs and loops that nobody has asked for anything. Hence `CAUSE`: whoever takes a request that is
to be noted sets it, and where there is none nothing is noted. A task that is begun for a request has the
same cause.

Before and after hold what differs, in the words of the API, which has no secrets in it; a payload is told by
its length alone. Both are bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar

import orjson

from ringtime_shared.errors import RingtimeError
from ringtime_shared.models.audit import FAILED, AuditEntry, Cause, new_entry_id
from ringtime_shared.settings import AuditSettings
from ringtime_shared.stores.protocol import AuditStore

MOST_VALUE_BYTES = 16_384  #: of `before`, and of `after`; of a longer one its length is told
MOST_ERROR_CHARS = 500
_DAY_MS = 86_400_000

P = ParamSpec("P")
R = TypeVar("R")

CAUSE: ContextVar[Cause | None] = ContextVar("ringtime.cause", default=None)
"""Who has asked for what is done now; None: nobody, and nothing is noted."""


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Note changes that are made inside as asked for by `cause`."""
    before = CAUSE.get()
    CAUSE.set(cause)
    try:
        yield
    finally:
        CAUSE.set(before)  # a token would have to be given back where it was taken, also by who ends a task


def asked_of_library(action: str) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Decorate a verb of the library: what it changes is noted as the program's own doing."""
    cause = Cause(action=action, operator="library")

    def decorate(verb: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @wraps(verb)
        async def noted(*args: P.args, **kwargs: P.kwargs) -> R:
            with caused_by(cause):
                return await verb(*args, **kwargs)

        return noted

    return decorate


class AuditTrail:
    """Writes the entries of one process."""

    def __init__(self, store: AuditStore, now_ms: Callable[[], int], settings: AuditSettings) -> None:
        self._store = store
        self._now_ms = now_ms
        self._kept_ms = settings.keep_days * _DAY_MS

    def change(
        self, app_id: str, subject: str, before: object, after: object
    ) -> AbstractAsyncContextManager[None]:
        """Do as `note` does for whoever has asked; nothing if nobody has."""
        cause = CAUSE.get()
        return nullcontext() if cause is None else self.note(cause, app_id, subject, before, after)

    @asynccontextmanager
    async def note(
        self, cause: Cause, app_id: str, subject: str, before: object, after: object
    ) -> AsyncIterator[None]:
        """Write an entry, then let the body make the change.

        Args:
            app_id: whose it is; "": no app's.
            subject: what is changed: an app, a node, an id, `app/name`.
            before: how it is, anything that JSON can hold; None: it is not there.
            after: how it is to be.

        Raises StoreUnavailable, OutcomeUnknown when the entry cannot be written: nothing is changed then.
        """
        old, new = difference(_plain(before), _plain(after))
        at_ms = self._now_ms()
        entry = AuditEntry(
            entry_id=new_entry_id(at_ms),
            at_ms=at_ms,
            operator=cause.operator,
            action=cause.action,
            subject=subject,
            app_id=app_id,
            source=cause.source,
            before=_bounded(old),
            after=_bounded(new),
            reason=cause.reason,
            request_id=cause.request_id,
        )
        await self._put(entry)
        try:
            yield
        except Exception as error:
            told = str(error) if isinstance(error, RingtimeError) else f"a bug: {type(error).__name__}"
            at_ms = max(self._now_ms(), entry.at_ms)
            failed = replace(
                entry,
                entry_id=new_entry_id(at_ms),
                at_ms=at_ms,
                action=entry.action + FAILED,
                after=_bounded({"error": told[:MOST_ERROR_CHARS]}),
                about=entry.entry_id,
            )
            with suppress(RingtimeError):  # what the caller is to hear of is the first error
                await self._put(failed)
            raise

    async def _put(self, entry: AuditEntry) -> None:
        expires_ms = entry.at_ms + self._kept_ms if self._kept_ms else 0
        await self._store.put_audit(replace(entry, expires_ms=expires_ms))


def difference(before: object, after: object) -> tuple[object, object]:
    """Return both without the keys whose values are the same, at any depth."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return before, after
    old: dict[str, object] = {}
    new: dict[str, object] = {}
    for name in (*before, *(name for name in after if name not in before)):
        if name not in after:
            old[name] = before[name]
        elif name not in before:
            new[name] = after[name]
        elif before[name] != after[name]:
            old[name], new[name] = difference(before[name], after[name])
    return old, new


def _plain(value: object) -> object:
    """Return what JSON makes of a value, of which parts may be JSON already."""
    plain: object = orjson.loads(orjson.dumps(value))
    return plain


def _bounded(value: object) -> str:
    text = orjson.dumps(value)
    if len(text) > MOST_VALUE_BYTES:
        text = orjson.dumps({"bytes": len(text)})
    return text.decode()
