"""The audit entry of a change that this tool makes: see `ringtime_shared.auditing`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ringtime_ringctl.deployment.context import Deployment
from ringtime_shared.auditing import AuditTrail, caused_by
from ringtime_shared.models.audit import Cause


@asynccontextmanager
async def audited(
    deployment: Deployment, action: str, subject: str, *, before: object, after: object, app_id: str = ""
) -> AsyncIterator[None]:
    """Write the entry, then let the body make the change; what it asks the API for has the same request id.

    Args:
        action: the command, `drain`.
        subject: what it is done to, a node or an id.
        before: how it is, anything that JSON can hold.
        after: how it is to be.
        app_id: whose it is; "": no app's.

    Raises StoreUnavailable, OutcomeUnknown when the entry cannot be written: nothing is changed then.
    """
    trail = AuditTrail(deployment.store, deployment.clock.now_ms, deployment.settings.audit)
    cause = Cause(
        action=action,
        operator=deployment.operator,
        source=deployment.host,
        reason=deployment.reason,
        request_id=deployment.request_id,
    )
    with caused_by(cause):
        async with trail.note(cause, app_id, subject, before, after):
            yield
