"""Ringtime: call me back then. The public library; see `Ringtime` and `ringtime_client`."""

from ringtime.library import Ringtime
from ringtime_client import HttpCallbackDetails, NewSchedule
from ringtime_ingest.service import Cancellation
from ringtime_ingest.service.dead_letters import LetterPage, ReplayReport, Skipped
from ringtime_ingest.service.listing import SchedulePage
from ringtime_ingest.service.replay import Replay
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Outcome, Row, Schedule, Status
from ringtime_shared.settings import Settings

__all__ = [
    "App",
    "AppConfiguration",
    "CallbackType",
    "Cancellation",
    "DeadLetter",
    "Delivery",
    "HttpCallbackDetails",
    "LetterPage",
    "NewSchedule",
    "Outcome",
    "Replay",
    "ReplayReport",
    "Reply",
    "RetryRules",
    "Ringtime",
    "Row",
    "Schedule",
    "SchedulePage",
    "Settings",
    "SigningSecret",
    "Skipped",
    "Status",
    "Violation",
]
