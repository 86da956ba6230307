"""What a client asks for, after parsing and before the service acts on it.

The HTTP routes and the library mode make the same requests, so both meet the same validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from ringtime_ingest.service.dead_letter_requests import DeadLetters
from ringtime_ingest.service.signing import SigningSecrets
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import AppLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApp:
    """An app to register."""

    app_id: str
    partitions: int | None  #: None: the server's default
    active: bool
    configuration: AppConfiguration


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A one-time schedule to create; exactly one of `fire_ms` and `delay_ms` is given."""

    app_id: str
    payload: str
    fire_ms: int | None = None  #: the instant asked for, UTC ms
    delay_ms: int | None = None  #: how long after the server's now
    callback_type: str
    callback_details: dict[str, object] = field(repr=False)  #: as sent, unknown keys included
    retry: RetryRules | None = None  #: where it differs from the app's


@dataclass(frozen=True, slots=True)
class Cancellation:
    """An accepted cancel."""

    row: Row
    promised: bool  #: acknowledged more than 1 s before the slot; else best effort


@dataclass(frozen=True, slots=True)
class Offer:
    """What clients may ask of a service, for its reference."""

    limits: AppLimits
    callback_types: Sequence[str]


class Service(Protocol):
    """What the routes need done; every method may also raise StoreUnavailable."""

    @property
    def offer(self) -> Offer:
        """Return what the service offers."""
        ...

    @property
    def signing(self) -> SigningSecrets:
        """Return what keeps the signing secrets of apps."""
        ...

    @property
    def dead_letters(self) -> DeadLetters:
        """Return what lists and replays deliveries that were given up."""
        ...

    async def register_app(self, new: NewApp) -> App:
        """Register an app. Raises InvalidRequest, AppExists, OutcomeUnknown."""
        ...

    async def fetch_apps(self, app_id: str | None) -> list[App]:
        """Return all apps, or the one asked for; empty if there is none."""
        ...

    async def set_active(self, app_id: str, active: bool) -> App:
        """Activate or deactivate. Raises NotFound, AppActive, AppInactive, VersionConflict."""
        ...

    async def delete_app(self, app_id: str, *, cancel_schedules: bool) -> App:
        """Begin to delete an app. Raises NotFound, LiveSchedules, Conflict, OutcomeUnknown."""
        ...

    async def create_schedule(self, new: NewSchedule) -> Row:
        """Create a schedule. Raises InvalidRequest, NotFound, AppInactive, OutcomeUnknown."""
        ...

    async def fetch_schedule(self, schedule_id: UUID) -> Row:
        """Return the home row of a schedule. Raises NotFound."""
        ...

    async def cancel_schedule(self, schedule_id: UUID) -> Cancellation:
        """Cancel a schedule. Raises NotFound, AlreadyDone, OutcomeUnknown."""
        ...
