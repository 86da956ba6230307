"""What the API writes is what its views declare: no key more, and with everything filled none less."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
from msgspec import ValidationError
from tests.contract.builders import make_app, make_definition

from ringtime_shared.api.apps import (
    AppView,
    NewSigningSecret,
    SigningSecretView,
    app_to_json,
    read_app,
    secret_to_json,
)
from ringtime_shared.api.audit import AuditEntryView, entry_to_json
from ringtime_shared.api.completions import CompletionView, completion_to_json
from ringtime_shared.api.dead_letters import (
    DeadLetterView,
    ReplayResult,
    ReplayView,
    SkippedReplay,
    letter_to_json,
    replay_to_json,
    replays_to_json,
)
from ringtime_shared.api.fires import (
    CompletenessView,
    FindingView,
    FireAuditPage,
    audit_to_json,
    completeness_to_json,
    finding_to_json,
)
from ringtime_shared.api.recurring import (
    BackfillEffect,
    BackfillReport,
    BackfillRun,
    Preview,
    RecurringView,
    RunPage,
    backfill_to_json,
    preview_to_json,
    recurring_to_json,
    runs_to_json,
)
from ringtime_shared.api.schedules import AttemptView, ScheduleView, attempt_to_json, schedule_to_json
from ringtime_shared.api.times import (
    IntervalView,
    PlannedView,
    TimesView,
    planned_to_json,
    times_to_json,
)
from ringtime_shared.api.views import keys_of, read
from ringtime_shared.encryption.ed25519 import make_private_key
from ringtime_shared.models.app import App, AppConfiguration, Deletion, Instance, SigningSecret
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.fires import Completeness, Finding, FireCounts, Reason, Waits
from ringtime_shared.models.hooks import Hook, HookEvent, HookOf, Hooks
from ringtime_shared.models.recurring import DefinitionState, Misfire, RunOf, Work
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Attempt, Change, Outcome, Place, Row, Schedule, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.times import Effect, Interval, Omitted, Run, Spread, Times, Unit, Window

WALL = datetime(2030, 1, 31, 9, 0)  # noqa: DTZ001
RUN = Run(1, 2, 1, 5, WALL, Effect.SHIFTED, 6)
TIMES = Times(cron="@daily", start_ms=1, end_ms=2, count=3, calendars=("x",), window=Window(share=0.5))
EVERY_DAY = Times(interval=Interval(1, Unit.DAYS, 0), window=Window(ms=5, spread=Spread.LEAST_LOADED))
ID = UUID("83b0d6a4-3f80-8001-8000-000028000001")
AT = datetime(2030, 1, 31, 8, 0, 0, 5_000, tzinfo=UTC)
AT_MS = 1_896_076_800_005

HOOKS = Hooks(on_success=Hook(callback_type="http", callback_details="{}"))
SENDING = Sending(
    is_base64=True,
    timeout_ms=5,
    priority=Priority.LOW,
    hooks=HOOKS,
    completion_ms=5_000,
    is_private=True,
)
HOOK = Sending(hook_of=HookOf(schedule_id=ID, event=HookEvent.MISSED))
RULES = RetryRules(attempts=2, factor=1.5, statuses=("5xx",))
SCHEDULE = Schedule(
    schedule_id=ID,
    app_id="a",
    fire_ms=AT_MS,
    payload="p",
    callback_type="http",
    callback_details=b'{"url":"http://127.0.0.1/"}',
    created_ms=AT_MS - 9,
    expires_ms=AT_MS + 9,
    retry=RULES,
    run=RunOf(recurring_id=ID, version=1, nominal_ms=AT_MS),
    name="n",
    labels=(("team", "a"),),
    sending=SENDING,
)
DEFINITION = replace(
    make_definition(make_app()),
    times=TIMES,
    retry=RULES,
    sending=SENDING,
    state=DefinitionState.PAUSED,
    reason="why",
    paused_until_ms=AT_MS + 1,
    misfire=Misfire.ALL,
    misfire_age_ms=5_000,
    damage="cell",
)
BACKFILL: dict[str, Any] = backfill_to_json([(AT_MS, BackfillEffect.FAILED, ID, "no")], AT_MS)
ATTEMPT = Attempt(at_ms=AT_MS, took_ms=7, code=503, error="no")
OUTCOME = Outcome(
    status=Status.FAILURE,
    ended_ms=AT_MS + 8,
    fired_ms=AT_MS,
    attempts=2,
    code=503,
    error="no",
    took_ms=7,
    accepted_ms=AT_MS + 7,
)
BARE = replace(SCHEDULE, run=None, name="", labels=(), sending=None)
ROW = Row(schedule=SCHEDULE, place=Place("a", 1, AT_MS), outcome=replace(OUTCOME, log=(ATTEMPT,)))
WAITING = replace(
    ROW, outcome=None, attempts=1, log=(ATTEMPT,), moved_to=Place("a", 1, AT_MS), change=Change(AT_MS, 7)
)
WORK = Work(sent_ms=AT_MS, attempt=1, accepted_ms=AT_MS + 7, until_ms=AT_MS + 8)
WORKED_ON = replace(
    WAITING, schedule=replace(SCHEDULE, run=RunOf(recurring_id=ID, version=1, nominal_ms=AT_MS, work=WORK))
)
TELLING = replace(ROW, schedule=replace(SCHEDULE, sending=HOOK))
SECRET = SigningSecret(secret_id="0123456789abcdef", secret="whsec_x", created_ms=AT_MS)
PAIR = replace(SECRET, secret=make_private_key())
APP = App(
    app_id="a",
    number=1,
    writable=2,
    polled=2,
    active=False,
    version=1,
    created_ms=0,
    configuration=AppConfiguration(http_attempts=3, retry=RetryRules(factor=2.0)),
    deletion=Deletion(cancels=True, began_at=1, begun_ms=0, was_active=True),
    damage="cell",
)
LETTER = DeadLetter(
    app_id="a",
    schedule_id=ID,
    slot_ms=AT_MS,
    fire_ms=AT_MS,
    failed_ms=AT_MS,
    attempts=2,
    code=503,
    error="no",
    callback_type="http",
    expires_ms=AT_MS,
    replayed_ms=AT_MS,
)
ENTRY = AuditEntry(
    entry_id=ID,
    at_ms=AT_MS,
    operator="ana",
    action="drain failed",
    subject="n",
    app_id="a",
    source="here",
    reason="why",
    request_id="r",
    about=ID,
)
MARK = Completeness(
    from_ms=5,
    through_ms=AT_MS,
    at_ms=AT_MS + 9,
    instance=Instance("a", 3),
    schedule_id=ID,
    waits=Waits.TRIED_AGAIN,
)
FOUND = FireCounts()
FOUND.find(Finding(ID, Reason.REMOVED, AT_MS, "gone"))
REPLAYS = replays_to_json(3, [(ID, "why")], "t")
#: keys for clients of goscheduler alone
THEIRS = {"scheduleTime", "scheduleGroup"}


@pytest.mark.parametrize(
    ("view", "written"),
    [
        (
            ScheduleView,
            schedule_to_json(ROW)
            | schedule_to_json(WAITING)
            | schedule_to_json(WORKED_ON)
            | schedule_to_json(TELLING),
        ),
        (CompletionView, completion_to_json(ID, AT_MS, is_success=True)),
        (AttemptView, attempt_to_json(ATTEMPT, AT_MS)),
        (
            RecurringView,
            recurring_to_json(DEFINITION, AT_MS, RUN)
            | recurring_to_json(replace(DEFINITION, times=EVERY_DAY), AT_MS),
        ),
        (RunPage, runs_to_json([ROW], "t")),
        (Preview, preview_to_json([RUN])),
        (BackfillReport, BACKFILL),
        (BackfillRun, BACKFILL["runs"][0]),
        (AppView, app_to_json(APP)),
        (SigningSecretView, secret_to_json(SECRET) | secret_to_json(PAIR)),
        (NewSigningSecret, secret_to_json(SECRET, is_new=True) | secret_to_json(PAIR, is_new=True)),
        (DeadLetterView, letter_to_json(LETTER)),
        (AuditEntryView, entry_to_json(ENTRY)),
        (ReplayView, replay_to_json(ID, 1, AT_MS)),
        (ReplayResult, REPLAYS),
        (SkippedReplay, orjson.loads(orjson.dumps(REPLAYS))["skipped"][0]),
        (TimesView, times_to_json(TIMES) | times_to_json(EVERY_DAY)),
        (IntervalView, cast(dict[str, object], times_to_json(EVERY_DAY)["interval"])),
        (PlannedView, planned_to_json(RUN)),
        (CompletenessView, completeness_to_json(MARK)),
        (FireAuditPage, audit_to_json(FOUND, "t")),
        (FindingView, finding_to_json(FOUND.findings[0])),
    ],
)
def test_a_view_has_the_keys_that_are_written(view: type, written: dict[str, object]) -> None:
    assert {key.name for key in keys_of(view)} == written.keys() - THEIRS
    assert all(key.doc for key in keys_of(view))


@pytest.mark.parametrize(
    ("view", "written"),
    [
        (ScheduleView, schedule_to_json(replace(ROW, schedule=BARE, outcome=None))),
        (AttemptView, attempt_to_json(Attempt(at_ms=1, took_ms=1), 0)),
        (AppView, app_to_json(replace(APP, deletion=None, damage=""))),
        (DeadLetterView, letter_to_json(replace(LETTER, code=None, error="", replayed_ms=None))),
        (
            AuditEntryView,
            entry_to_json(replace(ENTRY, app_id="", source="", reason="", request_id="", about=None)),
        ),
        (TimesView, times_to_json(Times()).keys() - {"cronExpression"}),
        (PlannedView, planned_to_json(Omitted(WALL, Effect.SKIPPED)).keys() - {"effect"}),
        (CompletenessView, completeness_to_json(replace(MARK, instance=None, schedule_id=None))),
    ],
)
def test_what_a_view_needs_is_always_written(view: type, written: Iterable[str]) -> None:
    needed = {key.name for key in keys_of(view) if not key.is_optional}
    assert needed == set(written) - THEIRS - {"retryPolicy"}


def test_a_schedule_is_read_as_it_was_written() -> None:
    view = read(ScheduleView, orjson.loads(orjson.dumps(schedule_to_json(ROW))))
    assert (view.schedule_id, view.fire_time, view.partition, view.status) == (ID, AT, 1, Status.FAILURE)
    assert (view.retry, view.error, view.http_code, view.lag_ms) == (RULES, "no", 503, 0)
    attempt = AttemptView(at=AT, lag_ms=0, duration_ms=7, http_code=503, error="no")
    assert view.attempt_log == (attempt, attempt)


def test_an_app_and_a_letter_are_read_as_they_were_written() -> None:
    app = read_app(orjson.loads(orjson.dumps(app_to_json(APP))))
    assert (app.configuration, app.deleting, app.damage) == (APP.configuration, True, "cell")
    letter = read(DeadLetterView, letter_to_json(LETTER))
    assert (letter.failed_at, letter.error, letter.replayed_at) == (AT, "no", AT)


def test_a_secret_is_in_no_repr() -> None:
    made = read(NewSigningSecret, secret_to_json(SECRET, is_new=True))
    assert made.secret == "whsec_x"
    assert "whsec_" not in repr(made)


def test_unknown_keys_are_passed_over_and_wrong_types_are_not() -> None:
    good = attempt_to_json(ATTEMPT, AT_MS)
    assert read(AttemptView, good | {"colour": "red", "lag_ms": 5}).lag_ms == 0
    bad: list[Any] = [None, [], "x", {}, good | {"lagMs": "1"}, good | {"at": 5}]
    for shown in bad:
        with pytest.raises(ValidationError):
            read(AttemptView, shown)


def test_times_are_read_as_they_were_written() -> None:
    view = read(TimesView, times_to_json(EVERY_DAY))
    assert view.interval == IntervalView(
        every=1, unit=Unit.DAYS, anchor_time=datetime(1970, 1, 1, tzinfo=UTC)
    )
    assert (view.cron_expression, view.window_ms, view.dialect) == (None, 5, 1)
    assert read(PlannedView, planned_to_json(RUN)).effect is Effect.SHIFTED
