"""The audit log, as the API and the tools show it, and the headers that it is written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.models.audit import AuditEntry

LIST_SIZE = 100  #: entries on a page, if nobody says how many
MAX_SIZE = 1_000
LIST_DAYS = 30  #: from the end of a range back to its start, if nobody says where that is
MAX_DAYS = 400  #: between both ends of a range
MAX_ACTOR_CHARS = 256
MAX_ACTION_CHARS = 64
MAX_REASON_CHARS = 500

REQUEST_ID = "X-Request-Id"
REQUEST_ID_PATTERN = "[A-Za-z0-9._:/+=@-]{1,128}"
REASON = "X-Audit-Reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntryView:
    """One change: it was made, unless another entry is about this one and says that it failed."""

    entry_id: Annotated[UUID, Doc("Names the entry.")]
    at: Annotated[datetime, Doc("When it was written: before the change.")]
    actor: Annotated[
        str, Doc("Who: an operator's name, `key` and the id of an API key, `library`, or `anybody`.")
    ]
    action: Annotated[str, Doc("What was done, for example `apps configure`.")]
    subject: Annotated[str, Doc("What it was done to: an app, a node, an id, or app and name.")]
    before: Annotated[Any, Doc("What changed, as it was; null: it was not there.")]
    after: Annotated[Any, Doc("The same, as it was to be. Of one that failed: `error`, why.")]
    app_id: Annotated[str, Doc("Whose it is; left out: no app's.")] = ""
    source: Annotated[str, Doc("Address of the client, or host of the operator.", name="from")] = ""
    reason: Annotated[str, Doc("Why, as whoever asked put it.")] = ""
    request_id: Annotated[str, Doc("Of the request, as its answer told it in `X-Request-Id`.")] = ""
    about: Annotated[UUID | None, Doc("Of one that failed: the entry of the change.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Newest first. A page with a token may hold fewer than were asked for, or none."""

    entries: Annotated[Sequence[AuditEntryView], Doc("Entries.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


def entry_to_json(entry: AuditEntry) -> dict[str, object]:
    """Return an entry as the API shows it, ready for orjson."""
    shown: dict[str, object] = {
        "entryId": str(entry.entry_id),
        "at": to_iso(entry.at_ms),
        "actor": entry.operator,
        "action": entry.action,
        "subject": entry.subject,
        "before": read_value(entry.before),
        "after": read_value(entry.after),
    }
    others = {
        "appId": entry.app_id,
        "from": entry.source,
        "reason": entry.reason,
        "requestId": entry.request_id,
        "about": None if entry.about is None else str(entry.about),
    }
    return shown | {name: value for name, value in others.items() if value}


def entries_to_json(entries: Sequence[AuditEntry], token: str) -> dict[str, object]:
    """Return a page."""
    return {"entries": [entry_to_json(entry) for entry in entries], "continuationToken": token}


def read_value(text: str) -> object:
    """Return `before` or `after` of an entry; empty and unreadable ones as they are."""
    try:
        value: object = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text
    return value
