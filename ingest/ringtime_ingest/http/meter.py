"""The limits of apps and API keys: what each has left, who is refused, and the headers that say so.

Each process counts for itself, without a word to anybody: it allows its share of each rate, which is the rate
divided by all processes that clients' requests are spread over (`limits.pods`, `ingest.workers`). A client
whose requests all go to one pod has that pod's share alone, so a load balancer should spread them.

| policy | counts | for |
|---|---|---|
| `key-requests` | requests with the key | the gate, before anything of the request is done |
| `app-requests` | requests about the app | where the app is known and may be known to the caller |
| `key-creates`, `app-creates` | schedules; a batch as its items | a create, before anything is filed |
| `app-payload-bytes` | bytes of their payloads | the same |

A create takes from all of its buckets or from none. What was refused takes nothing, so who sends ten times
what he may gets what he may. An app that is not known here (unknown, or registered a moment ago by another
pod) is not counted: it has no limits that could be known.

Where no limit is set nothing is kept, and a request costs a look-up or two. Headers follow
draft-ietf-httpapi-ratelimit-headers-10; `q` and `r` are those of this process.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from ringtime_shared.errors import RateLimited
from ringtime_shared.fairness.rates import Buckets, Rate
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.settings import AppLimits

METERED = "ringtime.metered"  #: in the scope: what was counted, for the headers
_KEY_REQUESTS, _APP_REQUESTS = '"key-requests"', '"app-requests"'
_KEY_CREATES, _APP_CREATES, _APP_BYTES = '"key-creates"', '"app-creates"', '"app-payload-bytes"'
_SCHEDULES, _BYTES = ';qu="schedules"', ';qu="content-bytes"'
_MOST_BUCKETS = 100_000  #: 20 MB; an app has three, a key two
Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]


class _Charge(NamedTuple):
    """So much from one bucket."""

    policy: str  #: its name, in quotes, as the headers have it
    unit: str  #: a parameter of the policy; without one requests are counted
    who: str
    rate: Rate
    tokens: int


class Meter:
    """The buckets of one process."""

    def __init__(
        self, limits: AppLimits, processes: int, known: Callable[[str], App | None], now_ms: Callable[[], int]
    ) -> None:
        """
        Args:
            processes: that requests are spread over.
            known: returns an app without asking anybody; None: it is not known here.
            now_ms: the boot clock.
        """
        self._limits = limits
        self._processes = processes
        self._known = known
        self._now_ms = now_ms
        self._rates: dict[int, Rate] = {}
        self._buckets = Buckets(_MOST_BUCKETS)

    def request(self, scope: Scope, key_id: str, per_s: int | None) -> None:
        """Count a request with a key, whose own rate is given. Raises RateLimited."""
        per_s = per_s or self._limits.key_requests_per_second
        if per_s is not None:
            self._take(scope, _Charge(_KEY_REQUESTS, "", key_id, self._share(per_s), 1))

    def about(self, scope: Scope, app_id: str) -> None:
        """Count a request about an app. Raises RateLimited."""
        configuration = self._configuration(app_id)
        if configuration is not None:
            per_s = configuration.requests_per_second or self._limits.requests_per_second
            if per_s is not None:
                self._take(scope, _Charge(_APP_REQUESTS, "", app_id, self._share(per_s), 1))

    def creates(self, scope: Scope, app_id: str, payloads: Sequence[str]) -> None:
        """Count schedules that are about to be created in an app, by their payloads. Raises RateLimited."""
        limits, charges, count = self._limits, list[_Charge](), len(payloads)
        configuration = self._configuration(app_id)
        if configuration is not None:
            per_s = configuration.creates_per_second or limits.creates_per_second
            if per_s is not None:
                charges.append(_Charge(_APP_CREATES, _SCHEDULES, app_id, self._share(per_s), count))
            per_s = configuration.payload_bytes_per_second or limits.payload_bytes_per_second
            if per_s is not None:
                size = sum(len(each.encode()) for each in payloads)
                charges.append(_Charge(_APP_BYTES, _BYTES, app_id, self._share(per_s), size))
        if charges:
            self._take(scope, *charges)

    def _configuration(self, app_id: str) -> AppConfiguration | None:
        app = self._known(app_id)
        return None if app is None else app.configuration

    def _share(self, per_s: int) -> Rate:
        rate = self._rates.get(per_s)
        if rate is None:
            if len(self._rates) > _MOST_BUCKETS:
                self._rates.clear()
            rate = self._rates[per_s] = Rate.share(per_s, self._processes, self._limits.at_once_s)
        return rate

    def _take(self, scope: Scope, *charges: _Charge) -> None:
        now_ms, buckets = self._now_ms(), self._buckets
        scope.setdefault(METERED, []).extend(charges)
        wait_ms, limit = 0.0, ""
        for policy, _, who, rate, count in charges:
            missing_ms = buckets.wait_ms((policy, who), count, rate, now_ms)
            if missing_ms > wait_ms:
                wait_ms, limit = missing_ms, policy
        if limit:
            raise RateLimited(limit.strip('"'), wait_ms / 1_000)
        for policy, _, who, rate, count in charges:
            buckets.take((policy, who), count, rate, now_ms)

    def headers(self, scope: Scope) -> list[Header]:
        """Return what the answer to a request says of the limits that it was counted for, which must be
        some."""
        now_ms = self._now_ms()
        told: dict[str, tuple[int, bytes, bytes]] = {}
        for policy, unit, who, rate, _ in scope[METERED]:
            left = self._buckets.left((policy, who), rate, now_ms)
            if policy in told and told[policy][0] <= left.tokens:
                continue  # a batch over several apps tells of the one that has least
            width = f"{policy};q={int(rate.most)};w={ceil(rate.whole_ms / 1_000)}{unit}"
            told[policy] = left.tokens, width.encode(), f"{policy};r={left.tokens};t={left.full_s}".encode()
        return [
            (b"ratelimit-policy", b", ".join(each for _, each, _ in told.values())),
            (b"ratelimit", b", ".join(each for _, _, each in told.values())),
        ]
