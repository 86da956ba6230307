"""What is told of API keys, which is never a key itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from ringtime_shared.api.views import Doc

LIST_SIZE = 100  #: keys on a page, if nobody says how many
MAX_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """What is kept of an API key."""

    key_id: Annotated[str, Doc("Its id, which is no secret: logs and the audit log name it so.")]
    state: Annotated[str, Doc("`active`, `expired`, `revoked` or `cannot be read`.")]
    label: Annotated[str, Doc("Whose it is, for people.")]
    scopes: Annotated[Sequence[str], Doc("What it may do.")]
    apps: Annotated[
        Sequence[str] | None, Doc("With which apps, of those that whoever asks may see; left out: with all.")
    ] = None
    created_at: Annotated[datetime, Doc("When it was issued.")]
    last_used_at: Annotated[
        datetime | None, Doc("When it was used last, to some minutes; left out: never.")
    ] = None
    ends_at: Annotated[datetime | None, Doc("From when on it lets nobody in; left out: nobody said.")] = None
    requests_per_second: Annotated[
        int | None, Doc("Its own limit of requests; left out: that of the settings.")
    ] = None
    creates_per_second: Annotated[int | None, Doc("The same, of schedules created.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """A page of keys, as of some seconds ago."""

    keys: Annotated[Sequence[KeyView], Doc("By id. Those that ended are there for 90 days more.")]
    count: Annotated[int, Doc("How many there are on all pages.")]
