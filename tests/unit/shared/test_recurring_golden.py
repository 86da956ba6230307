"""No stored schedule moves in silence: what many definitions run at is what the file says."""

from __future__ import annotations

from itertools import zip_longest

import pytest
from tests.harness.golden_times import FILE, lines


@pytest.mark.slow
def test_definitions_run_when_they_always_did() -> None:
    kept = FILE.read_text("utf-8").splitlines()
    moved = [f"was {was}\nis  {now}" for was, now in zip_longest(kept, lines()) if was != now]

    assert len(kept) > 500
    assert not moved, "\n".join([*moved[:10], f"{len(moved)} lines; see tests/harness/golden_times.py"])
