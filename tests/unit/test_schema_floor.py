"""A Ringtime of the release before runs where a later one added to the schema, not where it took away."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tests.contract.builders import make_app
from tests.harness.previous import read_releases

from ringtime_shared.errors import StartupError
from ringtime_shared.stores.cassandra.migrate import (
    FIRST_FLOOR,
    Step,
    _to_step,
    read_applied,
    read_steps,
)
from ringtime_shared.stores.sqlite import SqliteStore, schema

ADDED = "CREATE TABLE later (n INTEGER); ALTER TABLE calendars ADD COLUMN later TEXT"
TAKEN = "DROP TABLE later"
LAST = schema.SCHEMA_VERSION


def is_later(monkeypatch: pytest.MonkeyPatch, *steps: str, floors: Mapping[int, int] = {}) -> None:
    """Be a later release, with these steps more."""
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, *steps))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", LAST + len(steps))
    monkeypatch.setattr(schema, "FLOOR", max((schema.FLOOR, *floors.values())))


async def test_a_file_goes_to_the_later_release_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    for is_later_now in (True, False, True):
        with monkeypatch.context() as patch:
            if is_later_now:
                is_later(patch, ADDED)
            store = await SqliteStore.open(tmp_path)
            if is_later_now:
                app = await store.create_app(make_app())
            else:
                assert await store.fetch_app(app.app_id) == app
                assert await store.fetch_schema() == (LAST + 1, LAST)
                schema.check_file(tmp_path)
            await store.close()
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME)) as connection:
        assert schema.fetch_floor(connection) == schema.FLOOR
        assert schema.fetch_version(connection) == LAST + 1


async def test_a_file_of_which_something_was_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        is_later(patch, ADDED, TAKEN, floors={LAST + 2: LAST + 1})
        await (await SqliteStore.open(tmp_path)).close()
    with pytest.raises(StartupError, match=f"has to know {LAST + 1}; this Ringtime knows {LAST}"):
        await SqliteStore.open(tmp_path)
    with pytest.raises(StartupError, match=f"version {LAST + 2}"):
        schema.check_file(tmp_path)


def test_release_0_1_0_sees_the_number_it_wants_whatever_was_added() -> None:
    """It starts where the highest number is 17, and nowhere else."""
    assert FIRST_FLOOR == schema.FIRST_FLOOR == 17
    added = Step(FIRST_FLOOR + 1, "added.cql", ())
    notes = [0, *(step.note for step in (*read_steps()[:FIRST_FLOOR], added))]
    assert max(notes) == FIRST_FLOOR
    applied = read_applied(notes)
    assert (applied.version, applied.floor) == (FIRST_FLOOR + 1, FIRST_FLOOR)


def test_the_floor_of_a_step_is_in_its_file() -> None:
    step = _to_step("0019_less.cql", "-- Takes it away.\n-- floor: 18\nDROP TABLE later;")
    assert (step.floor, step.statements) == (18, ("DROP TABLE later",))
    with pytest.raises(ValueError, match="cannot be older"):
        _to_step("0019_less.cql", "-- floor: 19\nDROP TABLE later;")


def test_tables_that_release_0_1_0_writes_by_position_get_no_column() -> None:
    """While it is the release before: with one more column each of its writes would fail."""
    if read_releases()[-1].tag != "v0.1.0":
        return
    for text in schema.STEPS[FIRST_FLOOR:]:
        assert not re.search(r"ALTER TABLE (tallies|node_status) ADD", text, re.IGNORECASE)


def test_no_step_takes_anything_away_unsaid() -> None:
    """Of both schemas: what drops, renames or empties needs a floor."""
    takes = ("DROP ", " RENAME ", "TRUNCATE", "DELETE ")
    for step in read_steps()[FIRST_FLOOR:]:
        text = " ".join(step.statements).upper()
        assert step.floor or not any(word in text for word in takes), step.name
    for version, text in enumerate(schema.STEPS[FIRST_FLOOR:], FIRST_FLOOR + 1):
        assert version in schema.FLOORS or not any(word in text.upper() for word in takes), version
