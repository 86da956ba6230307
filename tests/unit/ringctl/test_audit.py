"""The audit log, read back."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.contract.builders import NOW_MS
from tests.unit.ringctl.rig import make_rig

from ringtime_ringctl.audit import command
from ringtime_ringctl.audit.command import describe_change, fetch_entries
from ringtime_shared.api.audit import read_value
from ringtime_shared.models.audit import AuditEntry


def make_entry(at_ms: int = NOW_MS, **changes: Any) -> AuditEntry:
    given: dict[str, Any] = {"operator": "ana", "action": "resize begin", "subject": "pay"} | changes
    return AuditEntry(entry_id=uuid4(), at_ms=at_ms, **given)


@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_what_is_wanted_is_found_over_many_pages(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAGE", page)
    rig = make_rig()
    # Many of one millisecond, more than a page holds.
    entries = [make_entry(NOW_MS + n // 4, subject="pay" if n % 3 else "mail") for n in range(40)]
    for entry in entries:
        await rig.store.put_audit(entry)

    async def found(limit: int) -> list[AuditEntry]:
        return await fetch_entries(
            rig.store, NOW_MS, NOW_MS + 99, limit, wanted=lambda entry: entry.subject == "mail"
        )

    wanted = {entry.entry_id for entry in entries if entry.subject == "mail"}
    assert {entry.entry_id for entry in await found(1_000)} == wanted
    times = [entry.at_ms for entry in await found(5)]
    assert times == sorted((entry.at_ms for entry in entries if entry.subject == "mail"), reverse=True)[:5]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('{"writable":4,"polled":4}', '{"writable":4,"polled":8}', "polled: 4 -> 8"),
        ('{"a":1}', '{"a":1}', ""),
        ('{"a":null}', '{"a":"x"}', "a: null -> x"),
        ('{"a":1,"b":[2]}', '{"c":{"d":3}}', 'c: {"d":3}'),
        ("null", '{"appId":"pay"}', '{"appId":"pay"}'),
        ("null", '{"a":[1,"x"],"b":{"c":null}}', '{"a":[1, "x"], "b":{"c":null}}'),
        ("", "", ""),
        ("no json", '{"error":"x"}', 'no json -> {"error":"x"}'),
    ],
)
def test_a_change_in_one_line(before: str, after: str, told: str) -> None:
    assert describe_change(make_entry(before=before, after=after)) == told


def test_what_cannot_be_read_is_shown_as_it_is() -> None:
    assert (read_value(""), read_value("x"), read_value("[1]")) == (None, "x", [1])
