"""The one way to change an app: read it, decide, write on the version that was read.

Whoever else changes apps at the same time (other pods, `ringctl`, a deletion) does the same, so nothing is
undone that was not seen. An operator's tool shows its change before it makes it: it reads and decides by
itself and writes once, so that what is stored is what was shown. A write without an answer is looked for by
the store's driver (`AppStore.replace_app`), and by nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from ringtime_shared.errors import NotFound, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.stores.protocol import AppStore

Decision = Callable[[App], Awaitable[App]]
Noted = Callable[[App, App], AbstractAsyncContextManager[None]]
"""What stands around the write that makes one app of another: `auditing`."""

TRIES = 10  #: each lost one is a change of somebody else's


def unnoted(before: App, after: App) -> AbstractAsyncContextManager[None]:  # noqa: ARG001
    """Note nothing."""
    return nullcontext()


async def change_app(store: AppStore, app_id: str, decide: Decision, noted: Noted = unnoted) -> App:
    """Store what `decide` makes of the app as it is now, and return that.

    Args:
        decide: returns the next version, or the app it was given if nothing is to change. Asked again when
            somebody else came first.
        noted: notes each write before it is made, and which one was refused.

    Raises what `decide` raises, NotFound, VersionConflict when others came first ten times, StoreUnavailable,
    OutcomeUnknown.
    """
    for _ in range(TRIES):
        app = await store.fetch_app(app_id)
        if app is None:
            raise NotFound("app", app_id)
        changed = await decide(app)
        if changed == app:
            return app
        try:
            async with noted(app, changed):
                await store.replace_app(changed)
        except VersionConflict:
            continue
        return changed
    raise always_changed(app_id)


def always_changed(app_id: str) -> VersionConflict:
    """Return the error for an app that others have changed `TRIES` times in between."""
    return VersionConflict(f"app {app_id} is changed by others all the time; try again")
