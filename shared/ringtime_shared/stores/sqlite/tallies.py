"""Operations of `TallyStore`."""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.models.tally import Tally
from ringtime_shared.stores.sqlite.session import Session


def put_tallies(session: Session, tallies: Sequence[Tally]) -> None:
    put = "REPLACE INTO tallies (app, day, holder, rows) VALUES (?, ?, ?, ?)"
    session.connection.executemany(put, tallies)


def fetch_tallies(session: Session, app_number: int, from_day: int) -> list[Tally]:
    found = session.fetch(
        "SELECT app, day, holder, rows FROM tallies WHERE app = ? AND day >= ? ORDER BY day, holder",
        (app_number, from_day),
    )
    return [Tally(*record) for record in found]
