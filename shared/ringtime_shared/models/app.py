"""An app: one tenant, its quota of partitions and its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ringtime_shared.models.retry import RetryRules


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
    """What an app may set for itself; None means the server's default."""

    future_period_days: int | None = None  #: how far ahead a schedule may lie
    retention_days: int | None = None  #: how long a fired schedule can be read
    payload_bytes: int | None = None  #: largest payload
    http_attempts: int | None = None  #: attempts in all, the first included
    http_timeout_ms: int | None = None  #: total deadline of one HTTP attempt
    max_lateness_s: int | None = None  #: fire at most this late, else record MISS; None: always fire
    retry: RetryRules | None = None  #: without `attempts`, which `http_attempts` says
    max_in_flight: int | None = None  #: attempts under way at once on one node
    max_per_second: int | None = None  #: attempts begun in a second on one node; None: no limit
    weight: int | None = None  #: share of a busy node against other apps'; None: 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """A key that callbacks are signed with."""

    secret_id: str  #: names it where the secret itself is not shown
    secret: str = field(repr=False)  #: `whsec_` and base64 of 24 to 64 bytes
    created_ms: int


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
    """The end of an app, under way. Who asks for it again goes on with it; see `ringtime_shared.deleting`."""

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
    damage: str = ""  #: why what is stored cannot be read; then the other fields say nothing. Never stored

    def instances(self) -> list[Instance]:
        """Return the poller instances dispatchers should run: none while the app is inactive, or cannot be
        read."""
        if not self.active or self.damage:
            return []
        return [Instance(self.app_id, partition) for partition in range(self.polled)]
