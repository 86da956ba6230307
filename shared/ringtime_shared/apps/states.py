"""What may become of a registered app: active, deactivated, on its way out. Pure.

Each function returns the next version, for `AppStore.replace_app`, which succeeds only on the version it was
made from. `now_ms` is None where nobody is sure of the time.
"""

from __future__ import annotations

from dataclasses import replace

from ringtime_shared.errors import AppActive, AppInactive, Conflict
from ringtime_shared.models.app import App, AppConfiguration, Deletion

APPS_TRUST_MS = 10_000  #: a dispatcher begins no attempt on apps that it read longer ago than this


def new_app(
    app_id: str, *, partitions: int, active: bool, configuration: AppConfiguration, now_ms: int
) -> App:
    """Return an app that is to be registered; `AppStore.create_app` gives it its number."""
    return App(
        app_id=app_id,
        number=0,
        writable=partitions,
        polled=partitions,
        active=active,
        version=1,
        created_ms=now_ms,
        configuration=configuration,
        halted_ms=None if active else now_ms,
    )


def configure(app: App, configuration: AppConfiguration, *, active: bool, now_ms: int | None) -> App:
    """Return the app with another configuration, in this state. Raises Conflict while it is being deleted."""
    require_staying(app)
    return replace(_switched(app, active, now_ms), configuration=configuration)


def activate(app: App) -> App:
    """Let the app create and fire. Raises AppActive, and Conflict while it is being deleted."""
    require_staying(app)
    if app.active:
        raise AppActive(f"app {app.app_id} is active already")
    return _switched(app, True, 0)


def deactivate(app: App, now_ms: int | None) -> App:
    """Let the app create and fire nothing. Raises AppInactive, and Conflict while it is being deleted."""
    require_staying(app)
    if not app.active:
        raise AppInactive(f"app {app.app_id} is deactivated already")
    return _switched(app, False, now_ms)


def begin_deletion(app: App, *, cancels: bool, now_ms: int) -> App:
    """Let the app create and fire nothing, and be deleted; or let a deletion under way cancel as well.

    Raises Conflict while it is being resized.
    """
    if app.resize is not None:
        raise Conflict(
            f"app {app.app_id} is being resized: `ringctl resize {app.app_id} --abort` or `--resume` first"
        )
    if app.shadow is not None and not app.shadow.is_over:
        raise Conflict(
            f"app {app.app_id} is in the shadow of goscheduler: `ringctl shadow end {app.app_id}` first"
        )
    if app.deletion is not None:
        return replace(app, deletion=replace(app.deletion, cancels=cancels), version=app.version + 1)
    halted = _switched(app, False, now_ms)
    note = Deletion(cancels=cancels, began_at=halted.version, begun_ms=now_ms, was_active=app.active)
    return replace(halted, deletion=note)


def give_up_deletion(app: App) -> App:
    """Return the app as it was before its deletion began."""
    was_active = app.deletion is not None and app.deletion.was_active
    return replace(_switched(app, was_active, 0), deletion=None)


def require_staying(app: App) -> None:
    """Raise Conflict while the app is being deleted."""
    if app.deletion is not None:
        raise Conflict(f"app {app.app_id} is being deleted; when it is gone, its id can be registered again")


def inactive(app: App) -> AppInactive:
    """Return the error for what an app that is not active cannot do."""
    return AppInactive(f"app {app.app_id} is {'deactivated' if app.deletion is None else 'being deleted'}")


def _switched(app: App, active: bool, now_ms: int | None) -> App:
    halted_ms = None if active else now_ms if app.active else app.halted_ms
    return replace(app, active=active, halted_ms=halted_ms, version=app.version + 1)
