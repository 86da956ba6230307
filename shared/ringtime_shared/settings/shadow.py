"""goscheduler, behind Ringtime: for apps that move from it, or back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

# As `completion.base_url`: printable ASCII, without a query or a fragment.
_PATH = r'[!"$->@-~]'
_HOST = r'[!"$-.0->@-~]'
_URL = rf"^(https?://{_HOST}+(/{_PATH}*{_HOST})?)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSettings:
    """Where goscheduler is, for apps whose creates are forwarded to it (docs/shadow.md). The three texts go
    together, the same on every pod; without them no app's creates can be forwarded."""

    upstream_url: Annotated[str, Meta(pattern=_URL, max_length=1_000)] = ""
    """goscheduler, as `http://goscheduler:8080`; what stands before `/goscheduler` there. Trusted, so
    `egress` does not apply to it. Redirects are not followed."""

    tap_url: Annotated[str, Meta(pattern=_URL, max_length=1_000)] = ""
    """Where goscheduler reaches these pods, as `http://ringtime:8080`."""

    secret: Annotated[str, Meta(pattern=r"^(.{32,1000})?$")] = field(default="", repr=False)
    """What calls of the tap are signed with: 32 characters or more, which nobody else knows. Whoever changes
    it has the tap refuse all that goscheduler has yet to call."""

    upstream_timeout_ms: Annotated[int, Meta(ge=100, le=60_000)] = 3_000
    """Time in milliseconds for goscheduler to answer a create or a cancel; then the outcome is unknown."""

    receiver_timeout_ms: Annotated[int, Meta(ge=100, le=120_000)] = 10_000
    """Time in milliseconds for a receiver to answer a call that the tap passes on. goscheduler itself waits
    for `HttpConnector.TimeoutMillis`."""

    most_forwarded: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """Creates and cancels that one process has under way at goscheduler; more are
    answered 503. An app has no more of them than are free."""

    most_passed: Annotated[int, Meta(ge=1, le=10_000)] = 250
    """Calls that one process is passing on; more are answered 503, and goscheduler tries again. An
    app has no more of them than are free."""
