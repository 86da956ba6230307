"""The ledger of a receiver, as it is read while it grows."""

from __future__ import annotations

from pathlib import Path

from tests.harness.receiver import Receiver


def test_what_is_new_is_added_and_half_a_line_waits(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("a 1.5 1 7 /x\na 2.5 2 7 /x\nb 3")
    receiver = Receiver(1, ledger)
    first = receiver.arrivals()
    assert {key: [each.attempt for each in found] for key, found in first.items()} == {"a": [1, 2]}
    assert first["never came"] == []
    with ledger.open("a") as file:
        file.write(".0 1 8 /y\n")
    again = receiver.arrivals()
    assert sorted(again) == ["a", "b"]
    assert (again["b"][0].at_ms, again["b"][0].term) == (3.0, 8)
    assert len(again["a"]) == 2
