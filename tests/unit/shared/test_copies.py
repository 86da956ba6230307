"""Copies with changes are those that `dataclasses.replace` makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import make_app, make_row

from ringtime_shared.copies import copy_with


def test_a_copy_differs_in_what_is_changed_alone() -> None:
    row = make_row(make_app())
    assert copy_with(row) == row
    copy = copy_with(row, attempts=3, schedule=copy_with(row.schedule, payload="other"))
    assert copy == replace(row, attempts=3, schedule=replace(row.schedule, payload="other"))
    assert (row.attempts, copy.schedule.payload) == (0, "other")
    with pytest.raises(AttributeError):
        copy_with(row, tries=3)
