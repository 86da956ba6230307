"""What an operator may say of an app's move, and when. Pure: each returns the next version of the app, for
`AppStore.replace_app`."""

from __future__ import annotations

from dataclasses import replace

from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.models.app import App
from ringtime_shared.models.shadow import Handover, Shadow, Side

WRITE_MS = 60_000  #: a change of an app is written in this time, or not at all
STALE_MS = 120_000  #: no decision is made on a reading of the app that is older
EARLY_MS = 60_000  #: goscheduler fires a whole minute at once
CLOCKS_MS = 60_000  #: clocks of two machines differ by less
LEAD_MS = WRITE_MS + STALE_MS + EARLY_MS + CLOCKS_MS  #: from now to the earliest handover


def begin(app: App, now_ms: int) -> App:
    """Let what is created from now on be goscheduler's to deliver. Raises Conflict."""
    if app.shadow is not None and app.shadow.is_over:
        raise Conflict(f"the shadow of app {app.app_id} is over; there is no second one")
    if app.shadow is not None:
        raise Conflict(f"app {app.app_id} is in shadow already")
    if app.deletion is not None:
        raise Conflict(f"app {app.app_id} is being deleted")
    return _with(app, Shadow(begun_ms=now_ms))


def hand_over(app: App, to: Side, at_ms: int, now_ms: int) -> App:
    """Let this side deliver what is due from `at_ms` on. One that was asked for and is further ahead than
    `LEAD_MS` is put off, or taken back by another one. Raises Conflict, InvalidRequest."""
    shadow = under_way(app)
    if at_ms < now_ms + LEAD_MS:
        seconds = LEAD_MS // 1_000
        raise InvalidRequest.of(
            "at", f"must be at least {seconds} s ahead, so that everybody knows it by then"
        )
    made = tuple(each for each in shadow.handovers if each.at_ms < now_ms + LEAD_MS)
    before = made[-1] if made else None
    if (Side.GOSCHEDULER if before is None else before.to) is to:
        if len(made) < len(shadow.handovers):  # back to how it was: nobody has acted on what is taken back
            return _with(app, replace(shadow, handovers=made))
        raise Conflict(f"{to} delivers for app {app.app_id} already")
    return _with(app, replace(shadow, handovers=(*made, Handover(at_ms=at_ms, to=to))))


def end(app: App, now_ms: int) -> App:
    """Forward nothing any more; there is no way back then. Raises Conflict unless Ringtime delivers what is
    due from now on."""
    shadow = under_way(app)
    is_settled = not shadow.handovers or shadow.handovers[-1].at_ms <= now_ms - EARLY_MS - CLOCKS_MS
    if shadow.side_at(now_ms) is not Side.RINGTIME or not is_settled:
        raise Conflict(
            f"Ringtime must have delivered for app {app.app_id} for two minutes, with no handover to come"
        )
    return _with(app, replace(shadow, is_over=True))


def is_forwarding(app: App) -> bool:
    """Whether what is created for an app is made at goscheduler, too."""
    return app.shadow is not None and not app.shadow.is_over


def under_way(app: App) -> Shadow:
    """Return the shadow of an app that has one. Raises Conflict."""
    if app.shadow is None:
        raise Conflict(f"app {app.app_id} is not in shadow")
    if app.shadow.is_over:
        raise Conflict(f"the shadow of app {app.app_id} is over")
    return app.shadow


def shadow_to_json(shadow: Shadow) -> dict[str, object]:
    """Return what an operator has said, for programs and the audit log."""
    return {
        "begun": to_iso(shadow.begun_ms),
        "over": shadow.is_over,
        "handovers": [{"at": to_iso(each.at_ms), "to": each.to.value} for each in shadow.handovers],
    }


def _with(app: App, shadow: Shadow) -> App:
    return replace(app, shadow=shadow, version=app.version + 1)
