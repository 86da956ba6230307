"""What an app's configuration means for one delivery; the server's defaults fill what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from ringtime_shared.models.app import App
from ringtime_shared.settings import AppLimits


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How one app's schedules are delivered."""

    max_attempts: int
    timeout_ms: int
    max_lateness_ms: int | None  #: None: fire however late


def policy_of(app: App | None, limits: AppLimits) -> DeliveryPolicy:
    """Return the policy of `app`; of an app that is not known any more, the defaults."""
    configuration = app.configuration if app is not None else None
    attempts = configuration.http_attempts if configuration else None
    timeout_ms = configuration.http_timeout_ms if configuration else None
    lateness_s = configuration.max_lateness_s if configuration else None
    lateness_s = limits.max_lateness_s if lateness_s is None else lateness_s
    return DeliveryPolicy(
        attempts or limits.http_attempts,
        timeout_ms or limits.http_timeout_ms,
        None if lateness_s is None else lateness_s * 1_000,
    )


def is_missed(policy: DeliveryPolicy, *, slot_ms: int, now_ms: int) -> bool:
    """Return whether a row of this slot comes too late to be sent.

    Lateness counts from the slot, not the fire time: a retry is not late by its earlier attempts.
    """
    return policy.max_lateness_ms is not None and now_ms - slot_ms > policy.max_lateness_ms
