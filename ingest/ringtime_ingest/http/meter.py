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

Where no limit is set a request costs a look-up or two. What was used longest ago is forgotten first: see
`rates`. Headers follow
draft-ietf-httpapi-ratelimit-headers-10; `q` and `r` are those of this process.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, MutableMapping, Sequence
from math import ceil
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from ringtime_ingest.http.guard import CALLER
from ringtime_shared.access import Caller
from ringtime_shared.errors import RateLimited
from ringtime_shared.fairness.rates import Left, Rate, TokenBucket
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.settings import AppLimits

METERED = "ringtime.metered"  #: in the scope: the limits that were counted, for the headers
_MOST_ACCOUNTS = 100_000  #: of apps, and as many of keys; 30 MB
_SCHEDULES, _BYTES = ';qu="schedules"', ';qu="content-bytes"'
Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]


class _Limit(TokenBucket):
    """What is left of one limit, and how the headers call it."""

    __slots__ = ("policy", "told")

    def __init__(self, policy: str, rate: Rate, unit: str = "") -> None:
        """`unit`: a parameter of the policy; without one requests are counted."""
        super().__init__(rate)
        width_s = ceil(rate.most / rate.per_s)
        self.policy = policy
        self.told = f'"{policy}";q={int(rate.most)};w={width_s}{unit}'


class _Account(NamedTuple):
    """The limits of one app, or key; None: it has no such limit."""

    of: object  #: what says so: they hold while it is the same
    requests: _Limit | None
    creates: _Limit | None
    payload_bytes: _Limit | None


_Charge = tuple[_Limit, int]
_NO_LIMITS = None, None, None


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
    """What is left to each app and key, as far as this process is concerned."""

    def __init__(self, limits: AppLimits, processes: int, apps: Apps) -> None:
        """`processes`: that requests are spread over."""
        self._limits = limits
        self._processes = processes
        self._apps = apps
        self._of_apps: OrderedDict[str, _Account] = OrderedDict()  # used longest ago first
        self._of_keys: OrderedDict[str, _Account] = OrderedDict()
        #: by id, the configuration of apps with which they have no limit: nothing of them need be asked here
        self.free: OrderedDict[str, AppConfiguration] = OrderedDict()

    def with_key(self, scope: Scope, caller: Caller) -> None:
        """Count a request with an API key. Raises RateLimited."""
        requests = self._of_key(caller).requests
        if requests is not None:
            self._take(scope, (requests, 1))

    def about(self, scope: Scope, app_id: str) -> None:
        """Count a request about an app, or a schedule of it. Raises RateLimited."""
        account = self._of_app(app_id)
        if account is not None and account.requests is not None:
            self._take(scope, (account.requests, 1))

    def creates(
        self, scope: Scope, app_id: str, payloads: Sequence[str], *, is_counted: bool = False
    ) -> None:
        """Count schedules that are about to be created in an app, by their payloads. Raises RateLimited.

        Args:
            is_counted: the request itself is already, since its path names the app.
        """
        charges: list[_Charge] = []
        account = self._of_app(app_id)
        if account is not None:
            _, requests, creates, payload_bytes = account
            if requests is not None and not is_counted:
                charges.append((requests, 1))
            if creates is not None:
                charges.append((creates, len(payloads)))
            if payload_bytes is not None:
                charges.append((payload_bytes, sum(len(each.encode()) for each in payloads)))
        caller: Caller = scope[CALLER]
        if caller.key_id:
            of_key = self._of_key(caller).creates
            if of_key is not None:
                charges.append((of_key, len(payloads)))
        if charges:
            self._take(scope, *charges)

    def cancels(self, scope: Scope, asked: Sequence[UUID | Exception]) -> Sequence[UUID | Exception]:
        """Count the ids of a batch, each as a request about its app; of what the key may do, one was counted.
        Return them with the refusal in place of each whose app has not enough left for its own.

        Raises RateLimited if all are of that app.
        """
        counts = Counter(app_number_of(each) for each in asked if isinstance(each, UUID))
        caller: Caller = scope[CALLER]
        of_key = self._of_key(caller).requests if caller.key_id else None
        more = len(asked) - counts.total() - 1  # for the key, beside the ids
        refused = dict[int, RateLimited]()
        for number, count in counts.items():
            app_id = self._apps.known_app_id(number)
            account = None if app_id is None else self._of_app(app_id)
            charges: list[_Charge] = []
            if account is not None and account.requests is not None:
                charges.append((account.requests, count))
            if of_key is not None and count + more > 0:
                charges.append((of_key, count + more))
            try:
                if charges:
                    self._take(scope, *charges)
            except RateLimited as error:
                if len(counts) == 1:
                    raise
                refused[number] = error
            else:
                more = 0
        if not refused:
            return asked
        return [refused.get(app_number_of(x), x) if isinstance(x, UUID) else x for x in asked]

    def headers(self, scope: Scope) -> list[Header]:
        """Return what the answer to a request says of the limits that it was counted for, which must be some.
        A batch over several apps tells of the one that has least."""
        now_ms = self._apps.boot_ms()
        told: dict[str, tuple[Left, str]] = {}
        for limit in scope[METERED]:
            left = limit.left(now_ms)
            if limit.policy not in told or left < told[limit.policy][0]:
                told[limit.policy] = left, limit.told
        lefts = ", ".join(f'"{policy}";r={left.tokens};t={left.full_s}' for policy, (left, _) in told.items())
        return [
            (b"ratelimit-policy", ", ".join(text for _, text in told.values()).encode()),
            (b"ratelimit", lefts.encode()),
        ]

    def _of_app(self, app_id: str) -> _Account | None:
        """Return the account of an app; None: it is not known here, or has no limits."""
        app = self._apps.known_app(app_id)
        if app is None or self.free.get(app_id) is app.configuration:
            return None
        account = self._of_apps.get(app_id)
        if account is None or account.of is not app.configuration:
            own, limits = app.configuration, self._limits
            account = self._opened(
                self._of_apps,
                app_id,
                account,
                own,
                ("app-requests", own.requests_per_second or limits.requests_per_second, ""),
                ("app-creates", own.creates_per_second or limits.creates_per_second, _SCHEDULES),
                (
                    "app-payload-bytes",
                    own.payload_bytes_per_second or limits.payload_bytes_per_second,
                    _BYTES,
                ),
            )
            self.free.pop(app_id, None)
            if account[1:] == _NO_LIMITS:
                del self._of_apps[app_id]
                self.free[app_id] = app.configuration
                if len(self.free) > _MOST_ACCOUNTS:
                    self.free.popitem(last=False)
        else:
            self._of_apps.move_to_end(app_id)
        return account

    def _of_key(self, caller: Caller) -> _Account:
        account = self._of_keys.get(caller.key_id)
        if account is None:  # a key never changes
            limits = self._limits
            return self._opened(
                self._of_keys,
                caller.key_id,
                None,
                None,
                ("key-requests", caller.requests_per_second or limits.key_requests_per_second, ""),
                ("key-creates", caller.creates_per_second or limits.key_creates_per_second, _SCHEDULES),
                ("", None, ""),
            )
        self._of_keys.move_to_end(caller.key_id)
        return account

    def _opened(
        self,
        accounts: OrderedDict[str, _Account],
        who: str,
        before: _Account | None,
        of: object,
        *wanted: tuple[str, int | None, str],
    ) -> _Account:
        """Return the account by new rates, with what was taken by the old ones, and keep it."""
        now_ms, limits = self._apps.boot_ms(), list[_Limit | None]()
        for at, (policy, per_s, unit) in enumerate(wanted, 1):
            limit = None
            if per_s is not None:
                limit = _Limit(policy, Rate.share(per_s, self._processes, self._limits.at_once_s), unit)
                old: _Limit | None = None if before is None else before[at]  # type: ignore[assignment]
                if old is not None:
                    limit.follow(old, now_ms)
            limits.append(limit)
        account = accounts[who] = _Account(of, *limits)
        accounts.move_to_end(who)
        if len(accounts) > _MOST_ACCOUNTS:
            accounts.popitem(last=False)
        return account

    def _take(self, scope: Scope, *charges: _Charge) -> None:
        """Take from all of these limits, or from none. Raises RateLimited."""
        now_ms = self._apps.boot_ms()
        metered = scope.get(METERED)
        if metered is None:
            metered = scope[METERED] = []
        longest_ms, refusing = 0.0, None
        for limit, count in charges:
            metered.append(limit)
            wait_ms = limit.wait_ms(count, now_ms)
            if wait_ms > longest_ms:
                longest_ms, refusing = wait_ms, limit
        if refusing is not None:
            raise RateLimited(refusing.policy, longest_ms / 1_000)
        for limit, count in charges:
            limit.take(count, now_ms)
