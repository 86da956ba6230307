"""The audit entry of a change.

It is written before the change: what is not in the log was not done by `ringctl`. When the change is refused
or gets no answer, a second entry says so; after a crash in between, the first one alone stands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import orjson

from ringtime_ringctl.deployment.context import Deployment
from ringtime_shared.errors import RingtimeError
from ringtime_shared.models.audit import AuditEntry


@asynccontextmanager
async def audited(
    deployment: Deployment, action: str, subject: str, *, before: object, after: object
) -> AsyncIterator[None]:
    """Write the entry, then let the body make the change.

    Args:
        action: the command, `drain`.
        subject: what it is done to, a node or an id.
        before: how it is, anything that JSON can hold.
        after: how it is to be.

    Raises StoreUnavailable, OutcomeUnknown when the entry cannot be written: nothing is changed then.
    """
    await put_entry(deployment, action, subject, before=before, after=after)
    try:
        yield
    except RingtimeError as error:
        await put_entry(deployment, f"{action} failed", subject, before=before, after={"error": str(error)})
        raise


async def put_entry(
    deployment: Deployment, action: str, subject: str, *, before: object, after: object
) -> None:
    """Write one entry. Raises StoreUnavailable, OutcomeUnknown."""
    await deployment.store.put_audit(
        AuditEntry(
            entry_id=uuid4(),
            at_ms=deployment.clock.now_ms(),
            operator=deployment.operator,
            action=action,
            subject=subject,
            before=orjson.dumps(before).decode(),
            after=orjson.dumps(after).decode(),
        )
    )
