"""The verbs of completeness, as `calls` has the others."""

from __future__ import annotations

from functools import partial

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import instant, safe, with_query
from ringtime_shared.api.fires import CompletenessView, FireAuditPage
from ringtime_shared.api.views import read
from ringtime_shared.arguments import Instant, checked


@checked
def get_completeness(app_id: str | None = None) -> Call[CompletenessView]:
    """Return up to when everything that was due has its recorded outcome.

    Args:
        app_id: of this app; None: of all active ones.

    Raises InvalidRequest, NotFound (app).
    """
    path = f"{BASE}/apps/{safe(app_id)}/completeness" if app_id is not None else f"{BASE}/completeness"
    return Call(method="GET", path=path, read=partial(read, CompletenessView), app_id=app_id or "")


@checked
def audit_fires(
    app_id: str, *, start: Instant | None = None, end: Instant | None = None, token: str = ""
) -> Call[FireAuditPage]:
    """Return a part of an audit: whether each fire of a time range has exactly one outcome.

    Args:
        start: from those due at this instant on; None: an hour before `end`.
        end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
            days after `start`.
        token: the one of the part before; "": the first part.

    Raises InvalidRequest, NotFound (app).
    """
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "continuation_token": token,
    }
    path = with_query(f"{BASE}/apps/{safe(app_id)}/audit-fires", asked)
    return Call(method="GET", path=path, read=partial(read, FireAuditPage), app_id=app_id)
