"""What the details of an HTTP callback must look like, and where it may lead.

Everything that could fail at send time because of its form is refused here, when the schedule is
created. Keys that are not known are kept and not read, as goscheduler does. Where the URL leads is checked
here too, so that a mistake is seen early, and again at each connect, which is what protects: a name may
mean something else by then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from ringtime_shared.callbacks.credentials import HEADERS, MASK, SECRET_HEADERS, mask_fault
from ringtime_shared.callbacks.egress_policy import NOT_ALLOWED, EgressPolicy
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.callbacks.url_rules import MAX_URL_CHARS, Target, parse_target, url_fault
from ringtime_shared.errors import Violation

NAME = "http"  #: the `callback.type`
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEYS = frozenset({"url", "method", HEADERS, SECRET_HEADERS})  #: the details this type reads
MAX_HEADERS = 30
MAX_NAME_CHARS = 256
MAX_HEADER_BYTES = 8_192  #: all names and values together

CONTROLLED_NAMES = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "cookie2",
        "schedule-id",
        "parent-schedule-id",
    ]
)
CONTROLLED_PREFIXES = ("proxy-", "webhook-", "ringtime-")

_SCREEN_S = 1.0  #: a create waits no longer for a name
_NOT_ALLOWED = Violation("callback.details.url", NOT_ALLOWED)
_ORIGINS = 4_096  #: targets whose judgement is remembered
NAME_PATTERN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
VALUE_PATTERN = r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?"
_TOKEN = re.compile(NAME_PATTERN)
_VALUE = re.compile(VALUE_PATTERN)


def check_http_details(details: Mapping[str, object]) -> list[Violation]:
    """Return what is wrong with `callback.details` of an HTTP callback, all of it."""
    violations: list[Violation] = []
    fault, _ = _url_in(details)
    if fault:
        violations.append(Violation("callback.details.url", fault))
    if details.get("method") not in METHODS:
        rule = "required: one of " + ", ".join(METHODS)
        violations.append(Violation("callback.details.method", rule))
    violations += _check_headers(details, HEADERS, sizes := dict[str, int]())
    if SECRET_HEADERS in details:
        violations += _check_headers(details, SECRET_HEADERS, sizes)
    return violations


def _url_in(details: Mapping[str, object]) -> tuple[str | None, Target | None]:
    """Return the rule that the URL breaks, and where it leads; None: none, or nowhere."""
    url = details.get("url")
    if not isinstance(url, str) or not url:
        return "required: a non-empty string", None
    return _read_url(url) if len(url) <= MAX_URL_CHARS else _read_url.__wrapped__(url)


@lru_cache(maxsize=1_024)  # an app's schedules often call one URL
def _read_url(url: str) -> tuple[str | None, Target | None]:
    return url_fault(url), parse_target(url)


def _check_headers(details: Mapping[str, object], group: str, sizes: dict[str, int]) -> list[Violation]:
    """Return what is wrong with one group of headers; `sizes`: of those of both, by name in lower case."""
    headers, field = details.get(group), f"callback.details.{group}"
    if headers is None:
        return []
    if not isinstance(headers, dict):
        return [Violation(field, "must be an object of strings")]
    if len(headers) + len(sizes) > MAX_HEADERS:
        return [Violation(field, f"must be at most {MAX_HEADERS}")]
    violations = []
    for name, value in headers.items():
        fault = header_fault(name, value)
        if isinstance(name, str) and name.lower() in sizes:
            fault = "given twice; header names do not tell upper from lower case"
        elif fault is None and value == MASK:
            fault = mask_fault(name, value, is_secret=group == SECRET_HEADERS)
        if fault is None:
            sizes[name.lower()] = len(name) + len(value)
        else:
            violations.append(Violation(f"{field}.{shown(name)}".rstrip("."), fault))
    if sum(sizes.values()) > MAX_HEADER_BYTES:
        rule = f"names and values together must be at most {MAX_HEADER_BYTES} bytes"
        violations.append(Violation(field, rule))
    return violations


def header_fault(name: object, value: object) -> str | None:
    """Return the rule that one header breaks, or None."""
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
        return f"the name must be a string of at most {MAX_NAME_CHARS} characters"
    fault = _name_fault(name)
    if fault is not None:
        return fault
    if not isinstance(value, str):
        return "must be a string"
    if not _VALUE.fullmatch(value):
        return "must be printable ASCII, spaces and tabs, with none of these at an end"
    return None


@lru_cache(maxsize=1_024)
def _name_fault(name: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "the name must be one or more letters, digits or !#$%&'*+-.^_`|~"
    lower = name.lower()
    if lower in CONTROLLED_NAMES or lower.startswith(CONTROLLED_PREFIXES):
        return "set by Ringtime or by the connection; it cannot be chosen"
    return None


class HttpRules:
    """The rules of the `http` callback type, for whoever creates but does not send.

    Args:
        resolver: asks what names mean; None leaves that to the attempt.
    """

    name = NAME

    def __init__(self, policy: EgressPolicy, resolver: Resolver | None) -> None:
        self._policy = policy
        self._resolver = resolver
        # Creates and attempts of one app go to few origins; judging an address costs more than parsing JSON.
        self._is_refused = lru_cache(maxsize=_ORIGINS)(policy.refuses)

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Return what is wrong with url, method and headers, and whether the URL's own words lead where
        no callback may go."""
        violations = check_http_details(details)
        _, target = _url_in(details)
        if target is not None and self._is_refused(target):
            violations.append(_NOT_ALLOWED)
        return violations

    async def screen(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        """Look the host up and refuse it if any of its addresses is one that callbacks must not reach.

        A name without an address now is no violation: it may get one before the callback is due.
        """
        _, target = _url_in(details)
        if target is None or target.address is not None or self._resolver is None:
            return []
        answer = await self._resolver.screen(target.host, app_id=app_id, timeout_s=_SCREEN_S)
        if not answer or self._policy.allows(target, answer):
            return []
        return [_NOT_ALLOWED]

    def screened(self, details: Mapping[str, object]) -> str | None:
        """Return the origin of the URL."""
        _, target = _url_in(details)
        return None if target is None else target.origin


def shown(name: object) -> str:
    """Return a name a client sent, short and printable enough for an error message."""
    return ascii(name)[1:-1][:64] if isinstance(name, str) else type(name).__name__
