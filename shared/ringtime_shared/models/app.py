"""An app: one tenant, its quota of partitions and its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


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
    http_attempts: int | None = None  #: HTTP attempts in all, the first included
    http_timeout_ms: int | None = None  #: total deadline of one HTTP attempt
    max_lateness_s: int | None = None  #: fire at most this late, else record MISS; None: always fire


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

    def instances(self) -> list[Instance]:
        """Return the poller instances dispatchers should run: none while the app is inactive."""
        return [Instance(self.app_id, partition) for partition in range(self.polled)] if self.active else []
