"""The changes of an app's map that make up a resize. Pure: from one state of the app to the next.

    begin       growing: polled = quota. Shrinking: writable = quota. Notes the resize either way
    open_new    growing, once the new partitions are owned: writable = quota; done
    release     shrinking, once the old ones are empty: polled = quota; done
    abort       back to the quota before

Each is stored by one `AppStore.replace_app`, which succeeds only on the version it was made from.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from ringtime_shared.api.instants import to_iso
from ringtime_shared.apps.states import require_staying
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.models.app import App, Instance, Resize
from ringtime_shared.settings import AppLimits


class Step(StrEnum):
    """What a resize that is under way waits for."""

    OPEN_NEW = "open"  #: owners of the new partitions
    RELEASE = "release"  #: the old partitions to be empty
    NONE = "none"  #: nothing: no resize is under way


def next_step(app: App) -> Step:
    """Return what the app's resize comes to next."""
    if app.resize is None:
        return Step.NONE
    return Step.OPEN_NEW if app.writable < app.resize.quota else Step.RELEASE


def check_quota(quota: int, limits: AppLimits) -> None:
    """Raise InvalidRequest unless an app may have so many partitions."""
    if not 1 <= quota <= limits.max_partitions:
        rule = f"must be from 1 to {limits.max_partitions:,}, which is limits.max_partitions"
        raise InvalidRequest.of("partitions", rule)


def is_quota(app: App, quota: int) -> bool:
    """Whether the app has this quota, and nothing is left to do about it."""
    return app.resize is None and app.writable == app.polled == quota


def begin(app: App, quota: int, *, operator: str, now_ms: int, term: int) -> App:
    """Return the app with a resize under way.

    Args:
        term: the highest ownership term that the partitions it gains had before.

    Raises Conflict when one is under way already, or an earlier one lost its note half way.
    """
    require_staying(app)
    if app.resize is not None:
        raise Conflict(f"{describe(app)}; `--resume` goes on with it, `--abort` gives it up")
    if app.writable != app.polled and quota != app.writable:
        raise Conflict(
            f"app {app.app_id} has {app.writable} partitions and {app.polled} that are polled:"
            f" resize it to {app.writable} first, which releases the others"
        )
    return replace(
        app,
        polled=max(app.polled, quota),
        writable=min(app.writable, quota),
        version=app.version + 1,
        resize=Resize(quota=quota, before=app.writable, operator=operator, begun_ms=now_ms, term=term),
    )


def open_new(app: App) -> App:
    """Return the app with its new partitions open to creates."""
    return replace(app, writable=noted(app).quota, resize=None, version=app.version + 1)


def release(app: App) -> App:
    """Return the app without its old partitions."""
    return replace(app, polled=noted(app).quota, resize=None, version=app.version + 1)


def take_over(app: App, operator: str) -> App:
    """Return the app with its resize noted as that of another operator."""
    note = replace(noted(app), operator=operator)
    return replace(app, resize=note, version=app.version + 1)


def abort(app: App) -> App:
    """Return the app with the quota it had before.

    New partitions are let go at once: nothing was ever filed in them. Old ones take creates again.
    """
    note = noted(app)
    polled = note.before if note.quota > note.before else app.polled
    return replace(app, writable=note.before, polled=polled, resize=None, version=app.version + 1)


def is_same(app: App, note: Resize) -> bool:
    """Whether the resize under way is this one, by the same operator."""
    current = app.resize
    return current is not None and (current.operator, current.begun_ms, current.quota) == (
        note.operator,
        note.begun_ms,
        note.quota,
    )


def added(app: App) -> list[Instance]:
    """Return the poller instances that are polled and not yet open."""
    return [Instance(app.app_id, partition) for partition in range(app.writable, noted(app).quota)]


def retired(app: App) -> list[Instance]:
    """Return the poller instances that are to be released."""
    return [Instance(app.app_id, partition) for partition in range(noted(app).quota, app.polled)]


def noted(app: App) -> Resize:
    """Return the resize under way. Raises Conflict."""
    if app.resize is None:
        raise Conflict(f"no resize of app {app.app_id} is under way")
    return app.resize


def describe(app: App) -> str:
    """Return one line on the resize under way."""
    note = noted(app)
    return (
        f"app {app.app_id} is being resized {note.before} -> {note.quota} by {note.operator}"
        f" since {to_iso(note.begun_ms)}"
    )
