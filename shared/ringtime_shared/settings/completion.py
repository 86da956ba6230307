"""Who may say that a run is done, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

# It goes into a header of callbacks: printable ASCII, without what begins a query or a fragment.
_PATH = r'[!"$->@-~]'
_HOST = r'[!"$-.0->@-~]'  # and without slashes, as the end of a path


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionSettings:
    """Runs whose receiver answers 202 and says later that it is done. Both settings are needed for it, the
    same on every pod; without them recurring schedules with `completionTimeoutSeconds` are refused."""

    base_url: Annotated[
        str, Meta(pattern=rf"^(https?://{_HOST}+(/{_PATH}*{_HOST})?)?$", max_length=1_000)
    ] = ""
    """Where receivers of callbacks reach this service, as `https://ringtime.example.org`; what stands before
    `/goscheduler` in a completion URL. Empty: there are none."""

    secret: Annotated[str, Meta(pattern=r"^(.{32,1000})?$")] = field(default="", repr=False)
    """What completion URLs are signed with: 32 characters or more, which nobody else knows. Whoever changes
    it makes those that are under way useless."""
