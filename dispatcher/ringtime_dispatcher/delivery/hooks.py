"""The row that a hook is: a callback with how a schedule ended, filed before that end is recorded. Pure.

Invariant. When an outcome with a hook is durable, so is a row of that hook, and it will be read. For the row
is a filing of the outcome's own record: `recording` files it, looks at `sealed`, files it again above that
where need be, and only then writes the outcome. From there on it is a row of the app like any other, with its
retries, an outcome of its own, and a dead letter if it is given up. It is never missed: how late a callback
may be is said of what a schedule sends, not of word that it failed.

| crash | what the next owner does |
|---|---|
| before the row is durable | there is no outcome: it sends the schedule again, and files its hook |
| between row and outcome | the same; so two hooks are sent, as the schedule was, and both have one key |
| after the outcome | it reads the row, and sends it |

Proof. One record has both, and of a record the home row is written last: after its filings were durable, and
`sealed`, read later, was below their slots. The publish that covers such a slot came after the filing, and so
did the final read behind it, which found it. The row of a hook has no hooks, so hooks end.

Bound. Each delivery has one hook at most, and so has each step that passes runs over, be they a hundred: it
tells of the last of them and how many others there are. The step's record has its row, and the run that the
step was taken of goes on after that record; so a step that was cut short is taken again, and tells again.

Why its slot is a second from now, and not one that is the same for all who file it: what is filed in the past
is found by the next final read, a minute or two later, or needs a second filing and a pointer. So a hook is
prompt and costs one write, and a crash at that moment a second row, which the receiver tells by its key.
Should the two say different things, the later one says what the schedule shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from ringtime_dispatcher.delivery.recording import FILING_MARGIN_MS
from ringtime_shared.api.schedules import ENCRYPTED, schedule_to_json
from ringtime_shared.models.hooks import HookEvent, HookOf, Hooks, hook_id
from ringtime_shared.models.schedule import Outcome, Place, Row, Schedule, Status
from ringtime_shared.models.sending import Sending

_EVENTS: Mapping[Status, HookEvent] = {
    Status.SUCCESS: HookEvent.SUCCESS,
    Status.FAILURE: HookEvent.FAILURE,
    Status.MISS: HookEvent.MISSED,
}
_NEVER_TOLD = ("callback", "hooks")
_PAYLOAD = ("payload", "payloadEncoding")


def hook_row(
    row: Row, outcome: Outcome, app_hooks: Hooks | None, *, now_ms: int, retention_ms: int, others: int = 0
) -> Row | None:
    """Return the row of the hook that a delivery which ended like this has; None: it has none.

    Args:
        row: the filing that ended.
        app_hooks: those of its app, for a schedule that has none of its own.
        others: how many more runs of the same recurring schedule were passed over with it.
    """
    sending = row.schedule.sending
    hooks = app_hooks if sending is None or sending.hooks is None else sending.hooks
    event = _EVENTS.get(outcome.status)
    if hooks is None or event is None or (sending is not None and sending.hook_of is not None):
        return None
    hook = hooks.given().get(event)
    if hook is None:
        return None
    hook_of = HookOf(schedule_id=row.schedule.schedule_id, event=event, replay=outcome.replay)
    told = _shown(row, outcome, has_payload=hooks.has_payload)
    body: dict[str, object] = {"hook": event.value, "key": hook_of.key, "schedule": told}
    if others:
        body["othersMissed"] = others
    place = Place(row.place.app_id, row.place.partition, now_ms + FILING_MARGIN_MS)
    schedule = Schedule(
        schedule_id=hook_id(hook_of, slot_ms=place.slot_ms, partition=place.partition),
        app_id=place.app_id,
        fire_ms=outcome.ended_ms,
        payload=orjson.dumps(body).decode(),
        callback_type=hook.callback_type,
        callback_details=hook.callback_details.encode(),
        created_ms=now_ms,
        expires_ms=place.slot_ms + retention_ms,
        sending=Sending(hook_of=hook_of, is_private=sending is not None and sending.is_private),
        trace=row.schedule.trace,
    )
    return Row(schedule=schedule, place=place)


def _shown(row: Row, outcome: Outcome, *, has_payload: bool) -> dict[str, object]:
    """Return a schedule that ended like this as the API shows it, without where it was sent to."""
    place = Place.of_home(row.place.app_id, row.schedule.schedule_id)
    shown = schedule_to_json(Row(schedule=row.schedule, place=place, change=row.change, outcome=outcome))
    for name in _NEVER_TOLD if has_payload else (*_NEVER_TOLD, *_PAYLOAD):
        shown.pop(name, None)
    sending = row.schedule.sending
    if has_payload and sending is not None and sending.is_private and not sending.is_encrypted:
        shown["payload"] = row.schedule.payload  # an answer of the API would hide it
        del shown[ENCRYPTED]
    return shown
