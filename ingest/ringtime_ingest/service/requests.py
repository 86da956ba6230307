"""What a client asks for, and the rules it must keep: the same for HTTP and library callers. Pure.

All that is wrong is told at once; violations name fields as the JSON of the API does.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.api.completions import MAX_TIMEOUT_S
from ringtime_shared.api.ids import check_app_id, check_key, check_name
from ringtime_shared.api.labels import Labels, check_labels
from ringtime_shared.api.recurring import MAX_MISFIRE_AGE_MS, MAX_MISFIRES
from ringtime_shared.apps.hook_rules import MAX_DETAILS_BYTES as MAX_DETAILS_BYTES
from ringtime_shared.apps.hook_rules import check_hooks
from ringtime_shared.apps.redaction import SHOWN_REDACTED
from ringtime_shared.apps.retry_rules import RetryBounds, check_retry
from ringtime_shared.apps.rules import check_app
from ringtime_shared.callbacks.credentials import CIPHERTEXT, CIPHERTEXT_RULE, MASK
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.recurring import Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.times import Times
from ringtime_shared.models.trace import Trace
from ringtime_shared.settings import AppLimits
from ringtime_shared.settings.rules import CLOCK_SKEW_MS

CallbackRule = Callable[[Mapping[str, object], str], list[Violation]]

_NO_TYPE = Violation("callback.type", "required: a non-empty string")
_HIDDEN_PAYLOAD = Violation("payload", "must be the payload itself; a part of this one is hidden")
_DAY_MS = 86_400_000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApp:
    """An app to register."""

    app_id: str
    partitions: int | None  #: None: the server's default
    active: bool
    configuration: AppConfiguration


@dataclass(slots=True, kw_only=True)
class Contents:
    """What is to be sent, and where to. Nobody changes it: see `ringtime_shared.models.schedule`."""

    app_id: str
    payload: str
    callback_type: str
    callback_details: dict[str, object] = field(repr=False)  #: as sent, unknown keys included
    retry: RetryRules | None = None  #: where it differs from the app's
    sending: Sending | None = None  #: where it is not sent as most are

    @property
    def hooks(self) -> Hooks | None:
        """Its own; None: its app's are asked."""
        return None if self.sending is None else self.sending.hooks


@dataclass(slots=True, kw_only=True)
class NewSchedule(Contents):
    """A one-time schedule to create; exactly one of `fire_ms` and `delay_ms` is given."""

    fire_ms: int | None = None  #: the instant asked for, UTC ms
    delay_ms: int | None = None  #: how long after the server's now
    name: str = ""  #: stands for one pending schedule of the app at a time; "": it has none
    labels: Labels = ()  #: to find it by
    idempotency_key: str = ""  #: what creates that are one have in common; "": it is one of its own
    trace: Trace | None = None  #: that the request is a part of; nothing that is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChange:
    """What is to be another way of a one-time schedule; None: it stays."""

    fire_ms: int | None = None  #: the instant asked for, UTC ms; or
    delay_ms: int | None = None  #: how long after the server's now
    payload: str | None = None
    is_base64: bool | None = None  #: goes with the payload
    timeout_ms: int | None = None
    priority: Priority | None = None
    hooks: Hooks | None = None
    callback_type: str | None = None
    callback_details: dict[str, object] | None = field(default=None, repr=False)  #: goes with its type
    retry: RetryRules | None = None
    labels: Labels | None = None
    is_whole: bool = False  #: what is None does not stay, but is as in a create that leaves it out
    taken: frozenset[str] = frozenset()  #: names of fields of which the same holds

    def sets(self, name: str) -> bool:
        """Whether a field is to be as it is here, be that None."""
        return self.is_whole or name in self.taken or getattr(self, name) is not None


NOW = ScheduleChange(delay_ms=0)  #: it is to be sent at once


@dataclass(slots=True, kw_only=True)
class NewRecurring(Contents):
    """A recurring schedule to create, or to put in place of one of the same name."""

    name: str
    times: Times
    misfire: Misfire = Misfire.ONCE
    misfire_most: int = 1  #: of ALL
    misfire_age_ms: int | None = None
    overlap: Overlap = Overlap.ALLOW
    keeps: bool = True  #: after its last run it is kept, ENDED; else it is deleted


@dataclass(frozen=True, slots=True)
class Kept:
    """What a create with an idempotency key came to."""

    row: Row  #: the home row, as it is now
    is_replay: bool  #: it was there already
    expires_ms: int  #: the key stands for it up to then


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


def check_new_app(new: NewApp, limits: AppLimits) -> list[Violation]:
    """Return everything that is wrong with a registration."""
    return check_app(new.app_id, new.partitions, new.configuration, limits)


def check_form(new: NewSchedule) -> list[Violation]:
    """Return what is wrong with a create whatever its app: fields that are missing or contradict."""
    return check_app_id(new.app_id) + _check_own_form(new)


def _check_own_form(new: NewSchedule) -> list[Violation]:
    violations = [] if new.callback_type else [_NO_TYPE]
    if (new.fire_ms is None) == (new.delay_ms is None):
        violations.append(
            Violation("scheduleTime", "required: either scheduleTime or delaySeconds, not both")
        )
    if new.idempotency_key:
        violations += check_key(new.idempotency_key)
    if new.name:
        violations += check_name(new.name)
    if new.labels:
        violations += check_labels(new.labels, "labels")
    return violations


def check_contents_form(new: Contents) -> list[Violation]:
    """Return what is wrong with contents whatever their app."""
    return check_app_id(new.app_id) + ([] if new.callback_type else [_NO_TYPE])


def check_new_schedule(
    new: NewSchedule,
    app: App,
    limits: AppLimits,
    now_ms: int,
    callback_rules: Mapping[str, CallbackRule],
) -> list[Violation]:
    """Return everything that is wrong with a create for `app`."""
    violations = check_values(new, app, limits, now_ms) + check_callback(new, callback_rules)
    return (
        violations if new.hooks is None else violations + check_hooks(new.hooks, new.app_id, callback_rules)
    )


def check_values(
    new: NewSchedule, app: App, limits: AppLimits, now_ms: int, *, may_be_past: bool = False
) -> list[Violation]:
    """Return everything that is wrong with a create for `app`, but for what `check_callback` tells.

    Args:
        may_be_past: of an import; but not as long as what was sent is kept, since it may have been.
    """
    days = app.configuration.future_period_days or limits.future_period_days
    told = _check_own_form(new)  # its app is known, so the id has the form of one
    told += _check_contents(new, app, limits) + _check_time(new, now_ms, days, may_be_past)
    kept_days = app.configuration.retention_days or limits.retention_days
    known_ms = now_ms - kept_days * _DAY_MS + CLOCK_SKEW_MS
    if may_be_past and new.fire_ms is not None and new.fire_ms < known_ms:
        rule = f"must be less than {kept_days} days ago: of what is older it is forgotten here"
        told.append(Violation("scheduleTime", f"{rule} whether it was sent"))
    return told


def check_change(
    asked: ScheduleChange, contents: Contents, app: App, limits: AppLimits, now_ms: int
) -> list[Violation]:
    """Return everything that is wrong with a change, but for what `check_callback` tells. What stays is not
    judged anew: the limits may be others than when it was created.

    Args:
        contents: the schedule as it is to be.
    """
    if asked == ScheduleChange():
        return [Violation("body", "must change something")]
    stays = {"payload": asked.payload is None, "timeoutMs": asked.timeout_ms is None}
    violations = [each for each in _check_contents(contents, app, limits) if not stays.get(each.field)]
    violations += check_labels(asked.labels or (), "labels")
    if asked.is_base64 is not None and asked.payload is None:
        violations.append(Violation("payloadEncoding", "goes with a payload"))
    if asked.fire_ms is not None and asked.delay_ms is not None:
        violations.append(Violation("scheduleTime", "either scheduleTime or delaySeconds, not both"))
        return violations
    days = app.configuration.future_period_days or limits.future_period_days
    return violations + _check_time(asked, now_ms, days)


def check_new_recurring(
    new: NewRecurring,
    app: App,
    limits: AppLimits,
    callback_rules: Mapping[str, CallbackRule],
    *,
    has_completions: bool,
) -> list[Violation]:
    """Return everything that is wrong with a recurring schedule for `app`, but for its times, which
    `parse_times` has checked.

    Args:
        has_completions: this server can be told that a run is done.
    """
    violations = check_contents_form(new) + check_name(new.name)
    if not 1 <= new.misfire_most <= MAX_MISFIRES:
        violations.append(Violation("misfireMost", f"must be from 1 to {MAX_MISFIRES}"))
    if new.misfire_age_ms is not None and not 1 <= new.misfire_age_ms <= MAX_MISFIRE_AGE_MS:
        violations.append(Violation("misfireAgeSeconds", f"must be from 1 to {MAX_MISFIRE_AGE_MS // 1_000}"))
    violations += _check_completion(new, has_completions=has_completions)
    violations += _check_contents(new, app, limits)
    violations += check_callback(new, callback_rules)
    return violations + check_hooks(new.hooks, new.app_id, callback_rules)


def _check_completion(new: NewRecurring, *, has_completions: bool) -> list[Violation]:
    asked_ms = None if new.sending is None else new.sending.completion_ms
    if asked_ms is None:
        return []
    if not has_completions:
        return [
            Violation(COMPLETION, "needs completion.base_url and completion.secret, which are not set here")
        ]
    if not 1_000 <= asked_ms <= 1_000 * MAX_TIMEOUT_S:
        return [Violation(COMPLETION, f"must be from 1 to {MAX_TIMEOUT_S}")]
    if new.callback_type != "http":
        return [Violation(COMPLETION, "goes with a callback of type http, which has an answer")]
    return []


def _check_contents(new: Contents, app: App, limits: AppLimits) -> list[Violation]:
    most_bytes, sending = app.configuration.payload_bytes or limits.payload_bytes, new.sending
    if sending is not None and sending.is_encrypted:  # it stays, and this process cannot look into it
        violations = []
    elif sending is not None and sending.is_base64:
        violations = _check_base64(new.payload, most_bytes)
    else:
        violations = _check_payload(new.payload, most_bytes)
    if sending is not None and sending.timeout_ms is not None:
        most_ms = limits.max_http_timeout_ms
        if not 1 <= sending.timeout_ms <= most_ms:
            violations.append(Violation("timeoutMs", f"must be from 1 to {most_ms}"))
    if new.retry is not None:
        violations += check_retry(new.retry, "retryPolicy", _bounds_of(app, limits))
    said = app.configuration
    if (said.encrypt_payloads and new.payload == MASK) or (
        said.redacted_fields and SHOWN_REDACTED.search(new.payload)
    ):
        violations.append(_HIDDEN_PAYLOAD)
    return violations


def check_shown(payload: str | None, before: Sending | None) -> None:
    """Raise InvalidRequest if a payload is what was shown in place of one that was stored encrypted, which
    its app may have said no more since.

    Args:
        before: how the one was sent that this is to take the place of.
    """
    if payload == MASK and before is not None and before.is_private:
        raise InvalidRequest([_HIDDEN_PAYLOAD])


def check_callback(new: Contents, callback_rules: Mapping[str, CallbackRule]) -> list[Violation]:
    """Return what the rules of its callback type say of contents."""
    if not new.callback_type:
        return []  # `check_contents_form` has told it
    rule = callback_rules.get(new.callback_type)
    if rule is None:
        known = ", ".join(sorted(callback_rules))
        return [Violation("callback.type", f"must be a type this server knows: {known}")]
    return rule(new.callback_details, new.app_id)


def encode_details(details: dict[str, object]) -> bytes:
    """Return `callback.details` as they will be kept, unknown keys included.

    Raises InvalidRequest for too many bytes, for a key that is Ringtime's own, and for what is no JSON, which
    only the library can be given.
    """
    if CIPHERTEXT in details:
        raise InvalidRequest.of(f"callback.details.{CIPHERTEXT}", CIPHERTEXT_RULE)
    try:
        encoded = orjson.dumps(details)
    except TypeError as error:
        raise InvalidRequest.of("callback.details", f"must be JSON: {error}") from None
    if len(encoded) > MAX_DETAILS_BYTES:
        raise InvalidRequest.of("callback.details", f"must be at most {MAX_DETAILS_BYTES:,} bytes of JSON")
    return encoded


def _bounds_of(app: App, limits: AppLimits) -> RetryBounds:
    """A schedule may ask for no more attempts and no longer time than its app."""
    said = app.configuration
    most_s = said.retry.max_age_s if said.retry is not None else None
    return RetryBounds(
        max_http_attempts=said.http_attempts or limits.http_attempts,
        max_age_s=most_s or (said.retention_days or limits.retention_days) * _DAY_S,
    )


def _check_base64(payload: str, most_bytes: int) -> list[Violation]:
    try:
        size = len(b64decode(payload, validate=True))
    except ValueError:
        return [
            Violation("payload", "must be base64, padded and of the usual alphabet, as payloadEncoding says")
        ]
    return [Violation("payload", f"must be at most {most_bytes} bytes, decoded")] if size > most_bytes else []


def _check_payload(payload: str, most_bytes: int) -> list[Violation]:
    try:
        size = len(payload) if payload.isascii() else len(payload.encode())
    except UnicodeEncodeError:
        return [Violation("payload", "must be text: it holds half of a surrogate pair")]
    return [Violation("payload", f"must be at most {most_bytes} bytes")] if size > most_bytes else []


def _check_time(
    new: NewSchedule | ScheduleChange, now_ms: int, days: int, may_be_past: bool = False
) -> list[Violation]:
    """The current second is not past: clients that send whole seconds mean "now" by it."""
    field, fire_ms = "scheduleTime", new.fire_ms
    if fire_ms is None:
        if new.delay_ms is None:
            return []
        if new.delay_ms < 0:
            return [Violation("delaySeconds", "must be 0 or more seconds")]
        field, fire_ms = "delaySeconds", now_ms + new.delay_ms
    if fire_ms < now_ms - now_ms % 1_000 and not may_be_past:
        return [Violation(field, "must not be in the past")]
    if fire_ms > now_ms + days * _DAY_MS:
        return [Violation(field, f"must be at most {days} days ahead")]
    return []
