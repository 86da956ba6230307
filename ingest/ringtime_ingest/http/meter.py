"""The limits of apps and API keys: what each has left, who is refused, and the headers that say so.

Each process counts for itself, without a word to anybody: it allows its share of each rate, which is the rate
divided by all processes that clients' requests are spread over (`limits.pods`, `ingest.workers`). A client
whose requests all go to one pod has that pod's share alone, so a load balancer should spread them.

| policy | counts | when |
|---|---|---|
| `key-requests` | requests with the key; a batch of cancels as its items | at the gate |
| `app-requests` | requests about the app; a batch of cancels as its items | once the caller may see the app |
| `key-creates`, `app-creates` | schedules; a batch as its items | before anything of it is filed |
| `app-payload-bytes` | bytes of their payloads | the same |

A create takes from all of its buckets or from none. What was refused takes nothing, so who sends ten times
what he may gets what he may. An app that is not known here (unknown, or registered a moment ago by another
pod) is not counted: it has no limits that could be known.

Where no limit is set nothing is kept, and a request costs a look-up or two. Headers follow
draft-ietf-httpapi-ratelimit-headers-10; `q` and `r` are those of this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from math import ceil
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from ringtime_ingest.http.guard import CALLER
from ringtime_shared.access import Caller
from ringtime_shared.errors import RateLimited
from ringtime_shared.fairness.rates import Rate, TokenBuckets
from ringtime_shared.ids import APP_BITS, COUNTER_BITS, NONCE_BITS, app_number_of
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


class Apps(Protocol):
    """The apps as this process knows them, and the time."""

    boot_ms: Callable[[], int]

    def known_app(self, app_id: str) -> App | None:
        """Return an app, without asking anybody; None: it is not known here."""
        ...

    def known_app_id(self, number: int) -> str | None:
        """Return the id of the app of this number in the same way."""
        ...


class Meter:
    """The buckets of one process."""

    def __init__(self, limits: AppLimits, processes: int, apps: Apps) -> None:
        """`processes`: that requests are spread over."""
        self._limits = limits
        self._processes = processes
        self._apps = apps
        self._rates: dict[int, Rate] = {}
        self._buckets = TokenBuckets(_MOST_BUCKETS)

    def with_key(self, scope: Scope, caller: Caller) -> None:
        """Count a request with an API key. Raises RateLimited."""
        per_s = caller.requests_per_second or self._limits.key_requests_per_second
        if per_s is not None:
            self._take(scope, _Charge(_KEY_REQUESTS, "", caller.key_id, self._share(per_s), 1))

    def about_path(self, scope: Scope, named: Mapping[str, str]) -> None:
        """Count a request about the app that its path names, or whose schedule it does. Raises
        RateLimited."""
        app_id = named.get("app_id")
        if app_id is None:
            number = _app_number_of(named.get("schedule_id", ""))
            app_id = None if number is None else self._apps.known_app_id(number)
        configuration = None if app_id is None else self._configuration(app_id)
        if app_id is not None and configuration is not None:
            charge = self._request(app_id, configuration)
            if charge is not None:
                self._take(scope, charge)

    def creates(
        self, scope: Scope, app_id: str, payloads: Sequence[str], *, is_counted: bool = False
    ) -> None:
        """Count schedules that are about to be created in an app, by their payloads. Raises RateLimited.

        Args:
            is_counted: the request itself is already, since its path names the app.
        """
        limits, charges, count = self._limits, list[_Charge](), len(payloads)
        configuration = self._configuration(app_id)
        if configuration is not None:
            request = None if is_counted else self._request(app_id, configuration)
            charges += [] if request is None else [request]
            per_s = configuration.creates_per_second or limits.creates_per_second
            if per_s is not None:
                charges.append(_Charge(_APP_CREATES, _SCHEDULES, app_id, self._share(per_s), count))
            per_s = configuration.payload_bytes_per_second or limits.payload_bytes_per_second
            if per_s is not None:
                size = sum(len(each.encode()) for each in payloads)
                charges.append(_Charge(_APP_BYTES, _BYTES, app_id, self._share(per_s), size))
        caller: Caller = scope[CALLER]
        per_s = caller.creates_per_second or limits.key_creates_per_second
        if per_s is not None and caller.key_id:
            charges.append(_Charge(_KEY_CREATES, _SCHEDULES, caller.key_id, self._share(per_s), count))
        if charges:
            self._take(scope, *charges)

    def cancels(self, scope: Scope, asked: Sequence[object]) -> None:
        """Count the ids of a batch, each as a request about its app; of what the key may do, one was counted.

        Raises RateLimited.
        """
        charges = list[_Charge]()
        for number, count in Counter(app_number_of(each) for each in asked if isinstance(each, UUID)).items():
            app_id = self._apps.known_app_id(number)
            configuration = None if app_id is None else self._configuration(app_id)
            if app_id is not None and configuration is not None:
                charge = self._request(app_id, configuration, count)
                charges += [] if charge is None else [charge]
        caller: Caller = scope[CALLER]
        per_s = caller.requests_per_second or self._limits.key_requests_per_second
        if per_s is not None and caller.key_id and len(asked) > 1:
            rate = self._share(per_s)
            charges.append(_Charge(_KEY_REQUESTS, "", caller.key_id, rate, len(asked) - 1))
        if charges:
            self._take(scope, *charges)

    def _request(self, app_id: str, configuration: AppConfiguration, count: int = 1) -> _Charge | None:
        per_s = configuration.requests_per_second or self._limits.requests_per_second
        return None if per_s is None else _Charge(_APP_REQUESTS, "", app_id, self._share(per_s), count)

    def _configuration(self, app_id: str) -> AppConfiguration | None:
        app = self._apps.known_app(app_id)
        return None if app is None else app.configuration

    def _share(self, per_s: int) -> Rate:
        rate = self._rates.get(per_s)
        if rate is None:
            if len(self._rates) > _MOST_BUCKETS:
                self._rates.clear()
            rate = self._rates[per_s] = Rate.share(per_s, self._processes, self._limits.at_once_s)
        return rate

    def _take(self, scope: Scope, *charges: _Charge) -> None:
        now_ms, buckets = self._apps.boot_ms(), self._buckets
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
        now_ms = self._apps.boot_ms()
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


def _app_number_of(schedule_id: str) -> int | None:
    """Return the app's number in the text of an id, as `ids.app_number_of` does, without a UUID; None: it is
    none."""
    try:
        low = int(schedule_id[-17:].replace("-", ""), 16)
    except ValueError:
        return None
    return low >> NONCE_BITS + COUNTER_BITS & (1 << APP_BITS) - 1
