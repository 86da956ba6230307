"""Why a schedule is in the state that it is in, in sentences. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from ringtime_shared.api.apps import AppView
from ringtime_shared.api.recurring import RecurringView
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER
from ringtime_web.rendering import to_length, to_utc, to_utc_ms

_USUAL = timedelta(seconds=5)  #: after its time, in which a callback is under way and its outcome written
_REPLAYABLE = "It is a dead letter, and can be sent again: replay."
_OVERLAPS = {
    "allow": "A run is sent even while the one before it has not ended.",
    "skip": "A run that comes due before the one before it has ended is missed.",
    "buffer_one": "A run that comes due before the one before it has ended waits for it;"
    " further ones are missed.",
}
_MISFIRES = {
    "skip": "What comes due while nothing can be sent is not made up for.",
    "once": "Of what comes due while nothing can be sent, the last run is sent afterwards.",
    "all": "Of what comes due while nothing can be sent, the last runs are sent afterwards.",
}


class Condition(NamedTuple):
    """How a schedule is: a word that pages have an icon and a colour for, and why."""

    word: str
    sentences: tuple[str, ...]


def explain_schedule(view: ScheduleView, app: AppView | None, now: datetime) -> Condition:
    """Say why a one-time schedule, or a run, is as it is.

    Args:
        app: whose it is; None: it is not known, as the caller may not read it.
    """
    match view.status:
        case Status.SUCCESS:
            return Condition("SUCCESS", tuple(_succeeded(view)))
        case Status.FAILURE:
            return Condition("FAILURE", tuple(_failed(view)))
        case Status.MISS if view.error == LEFT_TO_GOSCHEDULER:
            told = ["goscheduler delivers it: it came due, and was sent to nobody from here."]
            return Condition("MISS", tuple(told))
        case Status.MISS:
            told = ["It came due later than is allowed, so it was not sent."]
            if app is not None and app.configuration.max_lateness_s is not None:
                told.append(f"The app allows {app.configuration.max_lateness_s:,} s of lateness.")
            if view.parent_schedule_id is not None:
                told.append(
                    "Or the policy of its recurring schedule for overlaps or misfires passed it over."
                )
            return Condition("MISS", (*told, *_error(view)))
        case Status.DELETED:
            return Condition("DELETED", ("It was cancelled, so it is not sent.",))
    return _waiting(view, app, now)


def _waiting(view: ScheduleView, app: AppView | None, now: datetime) -> Condition:
    if app is not None and not app.active:
        return Condition(
            "INACTIVE",
            (f"The app {app.app_id} is deactivated: nothing of it is sent until it is activated again.",),
        )
    if view.accepted_at is not None and view.completes_by is not None:
        told = f"Its receiver answered 202 at {to_utc(view.accepted_at)} and works on it."
        return Condition(
            "WORKING", (told, f"It has until {to_utc(view.completes_by)} to say that it is done.")
        )
    if view.attempts:
        when = "soon" if view.next_attempt_at is None else f"at {to_utc_ms(view.next_attempt_at)}"
        made = "One attempt was" if view.attempts == 1 else f"{view.attempts} attempts were"
        return Condition(
            "RETRYING", (f"{made} made without success; the next one is due {when}.", *_last_error(view))
        )
    if view.next_attempt_at is not None and view.next_attempt_at > view.fire_time:
        return Condition(
            "RETRYING",
            (
                "It was filed for later without an attempt, and is due at"
                f" {to_utc_ms(view.next_attempt_at)}.",
                "That happens when its destination is in trouble or has as much under way as it may.",
            ),
        )
    late = now - view.fire_time
    if late <= timedelta(0):
        return Condition(
            "SCHEDULED", (f"It is sent at {to_utc_ms(view.fire_time)}, in {to_length(-late / _MS)}.",)
        )
    if late <= _USUAL:
        return Condition("SCHEDULED", ("It has just come due; its outcome is about to be recorded.",))
    return Condition(
        "LATE",
        (
            f"It has been due for {to_length(late / _MS)} and has no outcome.",
            "It waits for its turn at a destination that is slow or in trouble, or nobody owns its partition:"
            " see Destinations and Ring.",
        ),
    )


def _succeeded(view: ScheduleView) -> list[str]:
    tries = "at the first attempt" if view.attempts <= 1 else f"at attempt {view.attempts}"
    code = "" if view.http_code is None else f" with {view.http_code}"
    told = [f"Its receiver answered{code} {tries}, at {to_utc_ms(view.fired_at)}."]
    if view.lag_ms is not None:
        told.append(f"That was {to_length(view.lag_ms)} after its time.")
    if view.completed_at is not None:
        told.append(f"The receiver said at {to_utc(view.completed_at)} that it is done.")
    return told


def _failed(view: ScheduleView) -> list[str]:
    made = "one attempt" if view.attempts == 1 else f"{view.attempts} attempts"
    told = [f"It was given up after {made}; the last one was sent at {to_utc_ms(view.fired_at)}."]
    if view.http_code is not None:
        told.append(f"The receiver answered {view.http_code}.")
        if view.error == f"answered {view.http_code}":
            return [*told, _REPLAYABLE]
    return [*told, *_error(view), _REPLAYABLE]


def _error(view: ScheduleView) -> list[str]:
    return [f"The reason that was recorded: {view.error}."] if view.error else []


def _last_error(view: ScheduleView) -> list[str]:
    last = view.attempt_log[-1] if view.attempt_log else None
    if last is None:
        return []
    what = last.error or (f"the receiver answered {last.http_code}" if last.http_code else "")
    return [f"The last one failed: {what}."] if what else []


def explain_recurring(view: RecurringView, app: AppView | None, now: datetime) -> Condition:
    """Say why a recurring schedule makes runs, or makes none."""
    if view.damage:
        return Condition("DAMAGED", (f"What is stored of it cannot be read: {view.damage}.",))
    policies = (
        _OVERLAPS.get(view.overlap_policy, ""),
        _MISFIRES.get(view.misfire_policy, ""),
    )
    told = tuple(each for each in policies if each)
    if app is not None and not app.active:
        return Condition(
            "INACTIVE",
            (f"The app {app.app_id} is deactivated: no runs are sent until it is activated again.",),
        )
    match view.state:
        case DefinitionState.PAUSED:
            why = f": {view.pause_reason}" if view.pause_reason else ""
            return Condition(
                "PAUSED",
                (
                    f"It was paused{why}.",
                    "It makes no runs until somebody resumes it, and those of meanwhile are not made up for.",
                ),
            )
        case DefinitionState.ENDED:
            return Condition(
                "ENDED", (_end_of(view), "It makes no more runs; it can be triggered or put anew.")
            )
        case DefinitionState.DELETED:
            return Condition("DELETED", ("It was deleted. What was filed already is not sent.",))
    if view.paused_until is not None and view.paused_until > now:
        why = f": {view.pause_reason}" if view.pause_reason else ""
        return Condition("PAUSED", (f"It is paused until {to_utc(view.paused_until)}{why}.", *told))
    if view.next_nominal_time is None:
        return Condition("ACTIVE", ("No next run is known just now.", *told))
    ahead = view.next_nominal_time - now
    when = f"in {to_length(ahead / _MS)}" if ahead > timedelta(0) else "just now"
    next_run = f"Its next run is planned for {to_utc(view.next_nominal_time)}, {when}."
    if view.next_effective_until is not None:
        next_run += (
            f" It is sent up to {to_utc(view.next_effective_until)}, in the second in which least is due."
        )
    elif view.next_effective_time is not None and view.next_effective_time != view.next_nominal_time:
        next_run += f" Within its window it is sent at {to_utc_ms(view.next_effective_time)}."
    return Condition("ACTIVE", (next_run, *told))


def _end_of(view: RecurringView) -> str:
    if view.end_time is not None:
        return f"Its last run was before {to_utc(view.end_time)}, where its time ends."
    if view.max_runs is not None:
        return f"It has made its {view.max_runs:,} runs."
    return "Its times have no more runs."


_MS = timedelta(milliseconds=1)
