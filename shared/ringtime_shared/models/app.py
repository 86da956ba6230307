"""An app: one tenant, its quota of partitions and its configuration."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NamedTuple

from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.setting import FieldPath, Setting
from ringtime_shared.models.shadow import Shadow

PRIVATE_PREFIX, PUBLIC_PREFIX = "whsk_", "whpk_"  #: of Ed25519 keys, as Standard Webhooks writes them
_PUBLIC_BYTES = 32
_TEN_YEARS_S = 316_224_000


class Instance(NamedTuple):
    """A poller instance: one partition of one app, the unit of ownership."""

    app_id: str
    partition: int

    def __str__(self) -> str:
        return f"{self.app_id}.{self.partition}"

    @classmethod
    def parse(cls, text: str) -> Instance:
        """Read `app.partition`; an app id holds no dot."""
        app_id, _, partition = text.rpartition(".")
        return cls(app_id, int(partition))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfiguration:
    """What an app may set for itself; None means the server's default.

    A bound that is a name is one of `ringtime_shared.settings.AppLimits`.
    """

    future_period_days: Annotated[
        int | None,
        Setting(
            "futureScheduleCreationPeriod",
            "How far ahead a schedule may lie.",
            unit="days",
            most="max_future_period_days",
            unset="limits.future_period_days",
        ),
    ] = None
    retention_days: Annotated[
        int | None,
        Setting(
            "firedScheduleRetentionPeriod",
            "How long a fired schedule can be read.",
            unit="days",
            most="max_retention_days",
            unset="limits.retention_days",
        ),
    ] = None
    payload_bytes: Annotated[
        int | None,
        Setting(
            "payloadSize",
            "Largest payload.",
            unit="bytes",
            most="max_payload_bytes",
            unset="limits.payload_bytes",
        ),
    ] = None
    http_attempts: Annotated[
        int | None,
        Setting(
            "httpRetries",
            "Attempts in all, the first included; `httpRetries` and `retryPolicy.attempts` are one number.",
            most="max_http_attempts",
            unset="limits.http_attempts",
        ),
    ] = None
    http_timeout_ms: Annotated[
        int | None,
        Setting(
            "httpTimeout",
            "Total deadline of one HTTP attempt.",
            unit="milliseconds",
            most="max_http_timeout_ms",
            unset="limits.http_timeout_ms",
        ),
    ] = None
    max_lateness_s: Annotated[
        int | None,
        Setting(
            "maxLatenessSeconds",
            "Later than this a callback is recorded MISS and not sent.",
            unit="seconds",
            most=_TEN_YEARS_S,
            unset="limits.max_lateness_s",
        ),
    ] = None
    retry: Annotated[RetryRules | None, Setting("retryPolicy", "When a failed callback is tried again.")] = (
        None  #: without `attempts`, which `http_attempts` says
    )
    max_in_flight: Annotated[
        int | None,
        Setting(
            "maxInFlight",
            "Callbacks under way at once on one dispatcher.",
            most=100_000,
            unset="dispatch.app_in_flight",
        ),
    ] = None
    max_per_second: Annotated[
        int | None,
        Setting(
            "maxPerSecond",
            "Callbacks begun in a second on one dispatcher.",
            most=1_000_000,
            unset="no limit",
        ),
    ] = None
    requests_per_second: Annotated[
        int | None,
        Setting(
            "requestsPerSecond",
            "Requests about the app in a second, over all pods; more are answered 429.",
            most="max_requests_per_second",
            unset="limits.requests_per_second",
        ),
    ] = None
    creates_per_second: Annotated[
        int | None,
        Setting(
            "createsPerSecond",
            "Schedules created in a second, over all pods, each item of a batch one; more are answered 429.",
            most="max_creates_per_second",
            unset="limits.creates_per_second",
        ),
    ] = None
    payload_bytes_per_second: Annotated[
        int | None,
        Setting(
            "payloadBytesPerSecond",
            "Bytes of payload created in a second, over all pods; more are answered 429.",
            unit="bytes",
            most="max_payload_bytes_per_second",
            unset="limits.payload_bytes_per_second",
        ),
    ] = None
    stored_schedules: Annotated[
        int | None,
        Setting(
            "storedSchedules",
            "One-time schedules in the store, until they cannot be read any more; another is answered 429.",
            most="max_stored_schedules",
            unset="limits.stored_schedules",
        ),
    ] = None
    weight: Annotated[
        int | None,
        Setting("weight", "Share of a busy dispatcher against other apps.", most=100, unset="1"),
    ] = None
    tls_profile: Annotated[
        str | None,
        Setting(
            "tlsProfile",
            "Certificates for https callbacks, by the name that the operator gave them.",
            pattern=r"[A-Za-z0-9._-]{1,64}",
            shape="1 to 64 letters, digits, ., _ and -",
            unset="none but the server's own",
        ),
    ] = None
    encrypt_payloads: Annotated[
        bool | None,
        Setting(
            "encryptPayloads",
            "Payloads are stored encrypted, and shown as `***` alone.",
            unset="no",
        ),
    ] = None
    redacted_fields: Annotated[
        tuple[FieldPath, ...] | None,
        Setting(
            "redactedFields",
            "Fields of payloads shown as `REDACTED:` and a hash; dots lead inwards, `*` is any name.",
            unset="none",
        ),
    ] = None
    hooks: Annotated[
        Hooks | None, Setting("hooks", "Callbacks with how a schedule ended that has no hooks of its own.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """A key that callbacks are signed with."""

    secret_id: str  #: names it where the secret itself is not shown
    #: `whsec_` and base64 of 24 to 64 bytes; or `whsk_` and base64 of an Ed25519 key's 32 bytes and those of
    #: its public key
    secret: str = field(repr=False)
    created_ms: int


class SigningKind(StrEnum):
    """How a key signs."""

    HMAC = "hmac"  #: HMAC-SHA256: who verifies knows the secret too
    ED25519 = "ed25519"  #: who verifies knows the public key alone


def kind_of(secret: SigningSecret) -> SigningKind:
    """Return how this key signs; the secret is the text itself, not what is stored encrypted."""
    return SigningKind.ED25519 if secret.secret.startswith(PRIVATE_PREFIX) else SigningKind.HMAC


def public_key_of(secret: SigningSecret) -> str:
    """Return the public key, `whpk_` and base64 of 32 bytes; "" if there is none."""
    if kind_of(secret) is SigningKind.HMAC:
        return ""
    both = b64decode(secret.secret.removeprefix(PRIVATE_PREFIX))
    return PUBLIC_PREFIX + b64encode(both[-_PUBLIC_BYTES:]).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """A change of the quota that is under way. Who finds one here may resume it, or give it up."""

    quota: int  #: partitions the app is to have
    before: int  #: partitions it had
    operator: str  #: who began it, or has taken it over since
    begun_ms: int
    term: int = 0  #: the highest its new partitions had before; an owner since has a higher one


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The end of an app, under way. Who asks again goes on with it; see `ringtime_shared.apps.deleting`."""

    cancels: bool  #: what has not fired is cancelled; else the deletion is given up if there is any
    began_at: int  #: the app's version that had this note first, which tells one deletion from the next
    begun_ms: int
    was_active: bool  #: so it is again if the deletion is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A registered tenant. `writable` and `polled` differ only while a resize is under way."""

    app_id: str
    number: int  #: given out once, part of every id of the app
    writable: int  #: new rows go to partitions 0..writable-1
    polled: int  #: dispatchers poll partitions 0..polled-1; never less than `writable`
    active: bool
    version: int  #: goes up by one with each change
    created_ms: int
    configuration: AppConfiguration = field(default_factory=AppConfiguration)
    secrets: tuple[SigningSecret, ...] = field(default=(), repr=False)  #: all live, newest first
    resize: Resize | None = None  #: None: the quota is not being changed
    halted_ms: int | None = None  #: since when it is deactivated; None: it is active, or nobody noted it
    deletion: Deletion | None = None  #: None: it is to stay. While there is one, the app is not active
    shadow: Shadow | None = None  #: how it moves from goscheduler; None: it does not
    damage: str = ""  #: why what is stored cannot be read; then the other fields say nothing. Never stored

    def instances(self) -> list[Instance]:
        """Return the poller instances dispatchers should run: none while the app is inactive, or cannot be
        read."""
        if not self.active or self.damage:
            return []
        return [Instance(self.app_id, partition) for partition in range(self.polled)]
