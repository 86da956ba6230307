"""What a page says of a schedule, in sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tests.contract.builders import make_app, make_outcome, make_row

from ringtime_shared.api.schedules import ScheduleView, schedule_to_json
from ringtime_shared.api.views import read
from ringtime_shared.models.schedule import Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER
from ringtime_web.pages.explaining import explain_schedule


def test_what_was_left_to_goscheduler_is_not_said_to_be_late() -> None:
    outcome = make_outcome(status=Status.MISS, error=LEFT_TO_GOSCHEDULER, fired_ms=None)
    shown = schedule_to_json(replace(make_row(make_app()), outcome=outcome))
    told = explain_schedule(read(ScheduleView, shown), None, datetime(2030, 1, 1, tzinfo=UTC))
    assert told.sentences == ("goscheduler delivers it: it came due, and was sent to nobody from here.",)
