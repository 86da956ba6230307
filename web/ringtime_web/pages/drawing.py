"""Small drawings that need no script: what became of the last runs. SVG with attributes alone, no styles."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.models.schedule import Status

_WIDTH, _HEIGHT, _MOST = 120, 22, 20
_KINDS = {Status.SUCCESS: "good", Status.FAILURE: "bad", Status.MISS: "warn", Status.DELETED: "idle"}
_WORDS = {
    "good": "succeeded",
    "bad": "failed",
    "warn": "missed",
    "idle": "cancelled",
    "run": "to come or under way",
}


def spark(runs: Sequence[ScheduleView]) -> Markup:
    """Return the last runs as bars, oldest first: colour and height say how each ended."""
    shown = [_KINDS.get(run.status, "run") for run in runs[:_MOST]][::-1]
    if not shown:
        return Markup("")
    step = _WIDTH / _MOST
    heights = {"good": _HEIGHT * 0.55, "run": _HEIGHT * 0.3, "idle": _HEIGHT * 0.3}
    bars = Markup("").join(
        Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1"/>').format(
            kind,
            (_MOST - len(shown) + n) * step,
            _HEIGHT - heights.get(kind, _HEIGHT),
            step - 1.5,
            heights.get(kind, _HEIGHT),
        )
        for n, kind in enumerate(shown)
    )
    counts = ", ".join(f"{shown.count(kind)} {word}" for kind, word in _WORDS.items() if kind in shown)
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img"'
        ' aria-label="Last {}: {}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, _WIDTH, _HEIGHT, len(shown), counts, bars)
