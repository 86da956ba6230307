"""A library is imported without another that it would take."""

from __future__ import annotations

import sys

import pytest

from ringtime_shared.absent import absent


@pytest.mark.parametrize("is_imported", [True, False])
def test_what_is_absent_cannot_be_imported_and_is_there_afterwards(
    is_imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    if is_imported:
        monkeypatch.setitem(sys.modules, "this", sys)
    with absent("this"), pytest.raises(ModuleNotFoundError, match="this"):
        __import__("this")
    assert sys.modules.get("this") is (sys if is_imported else None)
