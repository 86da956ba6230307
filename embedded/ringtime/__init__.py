"""Ringtime: call me back then. The public library; see `Ringtime` and `ringtime_client`."""

from ringtime.library import Ringtime
from ringtime.stepped_clock import TestClock
from ringtime_client import HttpCallbackDetails, Interval, NewSchedule, RecurringTimes, make_hooks
from ringtime_ingest.service import Cancellation
from ringtime_ingest.service.backfill import BackfillReport, BackfillRun
from ringtime_ingest.service.dead_letters import LetterPage, ReplayReport, Skipped
from ringtime_ingest.service.fires import FireAuditPart
from ringtime_ingest.service.jobs import JobPage
from ringtime_ingest.service.listing import SchedulePage
from ringtime_ingest.service.recurring import DefinitionPage
from ringtime_ingest.service.replay import Replay
from ringtime_ingest.service.runs import RunPage
from ringtime_shared.api.recurring import BackfillEffect
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.job import Job, JobAction, JobState
from ringtime_shared.models.recurring import Definition, DefinitionState, Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Outcome, Row, Schedule, Status
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import DstGap, DstOverlap, Omitted, Run, Spread, Unit
from ringtime_shared.settings import Settings

__all__ = [
    "App",
    "AppConfiguration",
    "BackfillEffect",
    "BackfillReport",
    "BackfillRun",
    "Calendar",
    "CallbackType",
    "Cancellation",
    "DeadLetter",
    "Definition",
    "DefinitionPage",
    "DefinitionState",
    "Delivery",
    "DstGap",
    "DstOverlap",
    "FireAuditPart",
    "Hooks",
    "HttpCallbackDetails",
    "Interval",
    "Job",
    "JobAction",
    "JobPage",
    "JobState",
    "LetterPage",
    "Misfire",
    "NewSchedule",
    "Omitted",
    "Outcome",
    "Overlap",
    "Priority",
    "RecurringTimes",
    "Replay",
    "ReplayReport",
    "Reply",
    "RetryRules",
    "Ringtime",
    "Row",
    "Run",
    "RunPage",
    "Schedule",
    "SchedulePage",
    "Settings",
    "SigningSecret",
    "Skipped",
    "Spread",
    "Status",
    "TestClock",
    "Unit",
    "Violation",
    "make_hooks",
]
