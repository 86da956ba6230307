"""Operations of `AliasStore`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ringtime_shared.models.alias import Alias
from ringtime_shared.stores.sqlite.session import RECORDS_PER_STATEMENT, Session, execute_bulk

_PUT = "REPLACE INTO aliases (alias, schedule_id, expires_ms) {values}"
_GET = "SELECT alias, schedule_id FROM aliases WHERE alias IN ({marks})"


def put_aliases(session: Session, aliases: Sequence[Alias]) -> None:
    records = [(each.alias.bytes, each.schedule_id.bytes, each.expires_ms) for each in aliases]
    execute_bulk(session.connection, _PUT, records)


def fetch_aliases(session: Session, aliases: Sequence[UUID]) -> dict[UUID, UUID]:
    found: dict[UUID, UUID] = {}
    for start in range(0, len(aliases), RECORDS_PER_STATEMENT):
        part = [each.bytes for each in aliases[start : start + RECORDS_PER_STATEMENT]]
        records = session.fetch(_GET.format(marks=", ".join("?" * len(part))), part)
        found |= {UUID(bytes=alias): UUID(bytes=schedule_id) for alias, schedule_id in records}
    return found
