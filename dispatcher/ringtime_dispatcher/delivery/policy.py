"""What app, schedule and server together say about one delivery, and when it is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.encryption.records import decrypt_secrets
from ringtime_shared.errors import SecretUnreadable
from ringtime_shared.fairness.fair_queue import Share
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings

_NOTHING_SAID = AppConfiguration()
_NO_RULES = RetryRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a delivery is tried again; see `RetryRules`."""

    max_attempts: int
    first_delay_ms: int
    factor: float
    max_delay_ms: int
    max_age_ms: int
    statuses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How an app's schedules are delivered."""

    timeout_ms: int
    max_lateness_ms: int | None  #: None: fire however late
    retry: RetryPolicy
    share: Share
    secrets: tuple[str, ...] = field(repr=False)
    tls_profile: str = ""  #: "": none
    secrets_fault: str = ""  #: why its signing secrets cannot be read here; then nothing is sent


class Policies:
    """Makes policies, and keeps the one of each app until the app changes."""

    def __init__(
        self,
        dispatch: DispatchSettings,
        retry: RetrySettings,
        limits: AppLimits,
        ring: KeyRing | None = None,
    ) -> None:
        """`ring`: decrypts signing secrets."""
        self._ring = ring
        self._dispatch = dispatch
        self._retry = retry
        self._limits = limits
        self._kept: dict[str, tuple[App | None, DeliveryPolicy]] = {}

    def of_app(self, app_id: str, app: App | None) -> DeliveryPolicy:
        """Return the policy of an app; of one that is not known any more, the server's defaults."""
        kept = self._kept.get(app_id)
        if kept is not None and kept[1].secrets_fault:
            kept = None  # its key may be in the ring by now
        if kept is None or kept[0] is not app:  # which is made anew at each read, whether it changed or not
            is_same = kept is not None and kept[0] == app
            kept = self._kept[app_id] = (app, kept[1] if kept and is_same else self._make(app))
        return kept[1]

    def of_schedule(self, schedule: Schedule, policy: DeliveryPolicy) -> RetryPolicy:
        """Return what holds for one schedule of the app with this policy.

        A row is forgotten when it expires, and its outcome with it, so no attempt is made after that.
        """
        retry = policy.retry if schedule.retry is None else _merge(schedule.retry, policy.retry)
        left_ms = max(schedule.expires_ms - schedule.fire_ms, 0)
        if left_ms < retry.max_age_ms:
            return _merge(RetryRules(max_age_s=left_ms // 1_000), retry)
        return retry

    def _make(self, app: App | None) -> DeliveryPolicy:
        said = app.configuration if app is not None else _NOTHING_SAID
        limits, dispatch = self._limits, self._dispatch
        lateness_s = limits.max_lateness_s if said.max_lateness_s is None else said.max_lateness_s
        default = RetryPolicy(
            max_attempts=said.http_attempts or limits.http_attempts,
            first_delay_ms=self._retry.first_delay_ms,
            factor=self._retry.factor,
            max_delay_ms=self._retry.max_delay_ms,
            max_age_ms=self._retry.max_age_s * 1_000,
            statuses=frozenset(self._retry.statuses),
        )
        secrets: tuple[str, ...] = ()
        fault = ""
        try:
            secrets = decrypt_secrets(self._ring, app) if app is not None else ()
        except SecretUnreadable as error:
            fault = str(error)
        return DeliveryPolicy(
            timeout_ms=said.http_timeout_ms or limits.http_timeout_ms,
            max_lateness_ms=None if lateness_s is None else lateness_s * 1_000,
            retry=_merge(said.retry or _NO_RULES, default),
            share=Share(
                in_flight=min(
                    said.max_in_flight or dispatch.app_in_flight,
                    dispatch.app_in_flight,
                    dispatch.max_in_flight,
                ),
                per_s=said.max_per_second,
                weight=said.weight or 1,
            ),
            tls_profile=said.tls_profile or "",
            secrets=secrets,
            secrets_fault=fault,
        )


def _merge(rules: RetryRules, rest: RetryPolicy) -> RetryPolicy:
    """Return what `rules` say, and `rest` where they say nothing."""
    return RetryPolicy(
        max_attempts=rest.max_attempts if rules.attempts is None else rules.attempts,
        first_delay_ms=rest.first_delay_ms if rules.first_delay_ms is None else rules.first_delay_ms,
        factor=rest.factor if rules.factor is None else rules.factor,
        max_delay_ms=rest.max_delay_ms if rules.max_delay_ms is None else rules.max_delay_ms,
        max_age_ms=rest.max_age_ms if rules.max_age_s is None else rules.max_age_s * 1_000,
        statuses=rest.statuses if rules.statuses is None else frozenset(rules.statuses),
    )


def is_missed(policy: DeliveryPolicy, *, slot_ms: int, now_ms: int) -> bool:
    """Return whether a row of this slot comes too late to be sent.

    Lateness counts from the slot, not the fire time: a retry is not late by its earlier attempts.
    """
    return policy.max_lateness_ms is not None and now_ms - slot_ms > policy.max_lateness_ms


def plan_retry(reply: Reply, *, attempts: int, age_ms: int, policy: RetryPolicy, rng: Random) -> int | None:
    """Return the wait in ms before the next attempt, or None to give up.

    The wait is uniform in [0, min(max_delay, first_delay * factor ** (attempts - 1))], so a burst of
    failures does not come back as a burst; never shorter than what the receiver asked for.

    Args:
        reply: how the last attempt ended; not a success.
        attempts: attempts made so far, at least 1.
        age_ms: how long ago the delivery should have been made.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    if attempts >= policy.max_attempts or not is_worth_another(reply, policy):
        return None
    growth = policy.factor ** min(attempts - 1, 100)  # bounded, so the float cannot overflow
    wait_ms = int(rng.uniform(0, min(policy.max_delay_ms, policy.first_delay_ms * growth)))
    wait_ms = max(wait_ms, min(reply.retry_after_ms or 0, policy.max_delay_ms))
    return None if age_ms + wait_ms > policy.max_age_ms else wait_ms


def is_worth_another(reply: Reply, policy: RetryPolicy) -> bool:
    """Whether the policy wants another attempt after this answer.

    A status that the policy names itself is tried again even where the callback type calls it final, as
    `http` does with 410; one that only its class (`4xx`) covers is not.
    """
    if reply.code is not None and str(reply.code) in policy.statuses:
        return True
    if reply.is_final:
        return False
    return reply.code is None or f"{reply.code // 100}xx" in policy.statuses
