"""From a rate in callbacks a minute to a quota, and why. Pure; see `ringtime_shared.schedules.forecast`."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ringtime_shared.errors import InvalidRequest
from ringtime_shared.schedules.forecast import HEADROOM, PER_PARTITION, quota_for
from ringtime_shared.settings import AppLimits


@dataclass(frozen=True, slots=True)
class Advice:
    """A quota for a rate."""

    rpm: int  #: callbacks a minute
    least: int  #: partitions that carry just that
    spare: int  #: partitions beyond

    @property
    def quota(self) -> int:
        return self.least + self.spare

    def why(self) -> str:
        """Return two sentences."""
        return (
            f"{self.rpm:,} callbacks a minute: {self.quota:,} partitions, {self.least:,} + {self.spare:,}."
            f" One counts as {PER_PARTITION:,} a minute, as in goscheduler, where each reads so many once a"
            f" minute; {HEADROOM - 1:.0%} more are for minutes fuller than the average, and because the"
            " partitions of one minute do not fill exactly alike."
        )


def advise(rpm: int, limits: AppLimits) -> Advice:
    """Return the quota for a rate in callbacks a minute.

    Raises InvalidRequest when it is below 1, or would take more partitions than an app may have.

    Source: goscheduler, "if a client requires a callback requirement of 50000 RPM, they might be assigned
    50 (50+x, where x is a buffer for safety) poller instances". It does not say how large x is: a fifth here.
    """
    if rpm < 1:
        raise InvalidRequest.of("rpm", "must be at least 1 callback a minute")
    least = ceil(rpm / PER_PARTITION)
    advice = Advice(rpm, least, quota_for(rpm) - least)
    if advice.quota > limits.max_partitions:
        most = limits.max_partitions
        rule = f"takes {advice.quota:,} partitions; limits.max_partitions allows {most:,}: use several apps"
        raise InvalidRequest.of("rpm", rule)
    return advice
