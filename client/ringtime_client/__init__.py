"""Talk to a Ringtime server over HTTP: `AsyncRingtimeClient`, and `RingtimeClient` for code without asyncio.

Everything but the sending is pure and shared by the two clients:

    verb --calls--> Call --transport--> Answer | Broken --answers--> result or error
                      ^                        |
                      +------ tries: again? ---+

What a caller may conclude from an error:

| error | was it done? | again? |
|---|---|---|
| InvalidRequest, NotFound, Conflict and below | no | not as it is |
| StoreUnavailable | no | yes, later |
| RateLimited | no; more than a limit allows | yes, after its `wait_s` |
| OutcomeUnknown | maybe | only what may happen twice: cancel, put, replay, a create with an idempotency key |
| InFlight | not known yet | yes, in a moment |
| UnexpectedAnswer | no; what answered is not a Ringtime server, or has a bug | after a look at it |

Creates that are made at once travel as a batch (`coalescing`), each with its own result or error.

A batch is one call: what is raised is about all of it. The results of its items are in what it returns, those
that failed as these errors.

Reads, creates with an idempotency key, and whatever a limit refused are tried again by the client itself
while the call's deadline leaves time for it, other writes never.
"""

from ringtime_client.clients import AsyncRingtimeClient, RingtimeClient
from ringtime_client.exchange import UnexpectedAnswer
from ringtime_client.forms import make_hooks
from ringtime_client.receiving import NotGenuine, verify
from ringtime_client.recurring import Interval, RecurringTimes
from ringtime_client.views import Callback, CancelResult, HttpCallbackDetails, NewSchedule
from ringtime_shared.api.apps import AppView, NewSigningSecret, SigningSecretView
from ringtime_shared.api.audit import AuditEntryView, AuditPage
from ringtime_shared.api.calendars import CalendarSummary, CalendarView, SpanView
from ringtime_shared.api.dead_letters import (
    DeadLetterPage,
    DeadLetterView,
    ReplayResult,
    ReplayView,
    SkippedReplay,
)
from ringtime_shared.api.fires import CompletenessView, FindingView, FireAuditPage
from ringtime_shared.api.jobs import JobPage, JobView
from ringtime_shared.api.recurring import (
    BackfillEffect,
    BackfillReport,
    BackfillRun,
    RecurringPage,
    RecurringView,
    RunPage,
)
from ringtime_shared.api.schedules import AttemptView, SchedulePage, ScheduleView
from ringtime_shared.api.times import PlannedView
from ringtime_shared.models.app import AppConfiguration, SigningKind
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.job import JobAction, JobState
from ringtime_shared.models.recurring import DefinitionState, Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Status
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import DstGap, DstOverlap, Effect, Spread, Unit

__all__ = [
    "AppConfiguration",
    "AppView",
    "AsyncRingtimeClient",
    "AttemptView",
    "AuditEntryView",
    "AuditPage",
    "BackfillEffect",
    "BackfillReport",
    "BackfillRun",
    "CalendarSummary",
    "CalendarView",
    "Callback",
    "CancelResult",
    "CompletenessView",
    "DeadLetterPage",
    "DeadLetterView",
    "DefinitionState",
    "DstGap",
    "DstOverlap",
    "Effect",
    "FindingView",
    "FireAuditPage",
    "Hooks",
    "HttpCallbackDetails",
    "Interval",
    "JobAction",
    "JobPage",
    "JobState",
    "JobView",
    "Misfire",
    "NewSchedule",
    "NewSigningSecret",
    "NotGenuine",
    "Overlap",
    "PlannedView",
    "Priority",
    "RecurringPage",
    "RecurringTimes",
    "RecurringView",
    "ReplayResult",
    "ReplayView",
    "RetryRules",
    "RingtimeClient",
    "RunPage",
    "SchedulePage",
    "ScheduleView",
    "SigningKind",
    "SigningSecretView",
    "SkippedReplay",
    "SpanView",
    "Spread",
    "Status",
    "UnexpectedAnswer",
    "Unit",
    "make_hooks",
    "verify",
]
