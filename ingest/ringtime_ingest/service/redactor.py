"""Payloads as they may be shown: without the fields that their app hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ringtime_shared.apps.redaction import REDACTED, plain_fingerprint, redact
from ringtime_shared.callbacks.credentials import MASK
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Row


class Redactor:
    """Whoever answers a client sends what it shows through here."""

    def __init__(self, known: Callable[[str], App | None], ring: KeyRing | None) -> None:
        """`known`: returns an app as far as this process knows it."""
        self._known = known
        self._ring = ring

    def row(self, row: Row) -> Row:
        """Return a row as it may be shown."""
        schedule = row.schedule
        app = self._known(schedule.app_id)
        if app is not None and not app.damage and not app.configuration.redacted_fields:
            return row  # as nearly all
        is_opaque = (
            schedule.is_base64 or schedule.hook_of is not None
        )  # what is inside has no paths of its own
        shown = self._payload(schedule.app_id, schedule.payload, is_opaque=is_opaque)
        return row if shown is schedule.payload else replace(row, schedule=replace(schedule, payload=shown))

    def definition(self, definition: Definition) -> Definition:
        """Return a recurring schedule as it may be shown."""
        sending = definition.sending
        is_opaque = sending is not None and sending.is_base64
        shown = self._payload(definition.app_id, definition.payload, is_opaque=is_opaque)
        return definition if shown is definition.payload else replace(definition, payload=shown)

    def _payload(self, app_id: str, payload: str, *, is_opaque: bool) -> str:
        app = self._known(app_id)
        if app is None or app.damage:
            return MASK  # what its app hides cannot be known
        paths = app.configuration.redacted_fields
        if not paths:
            return payload
        ring = self._ring
        fingerprint = plain_fingerprint if ring is None else partial(ring.fingerprint, app_id=app_id)
        return REDACTED + fingerprint(payload.encode()) if is_opaque else redact(payload, paths, fingerprint)
