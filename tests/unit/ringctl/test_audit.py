"""The audit log, read back."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.builders import NOW_MS
from tests.unit.ringctl.rig import make_rig
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_ringctl.audit import command
from ringtime_ringctl.audit.command import describe_change, fetch_entries
from ringtime_shared.api.audit import read_value
from ringtime_shared.models.audit import AuditEntry


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


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


def test_what_is_listed_and_shown_of_changes(folder: Folder) -> None:
    folder.run("--operator", "ana", "--reason", "because of ü", "apps", "deactivate", "pay")
    folder.run("--operator", "bob", "apps", "create", "mail")
    failed(folder.run("--operator", "bob", "apps", "delete", "pay", "--apply"), "to fire yet")
    listed = folder.json("audit", "list")["entries"]
    assert folder.json("audit")["entries"] == listed
    assert [(each["operator"], each["action"], each["appId"]) for each in listed] == [
        ("bob", "apps delete failed", "pay"),
        ("bob", "apps delete", "pay"),
        ("bob", "apps create", "mail"),
        ("ana", "apps deactivate", "pay"),
    ]
    assert listed[0]["about"] == listed[1]["entryId"]
    assert len({each["requestId"] for each in listed}) == 3
    oldest = listed[3]
    assert (oldest["reason"], oldest["from"]) == ("because of ü", socket.gethostname())
    assert (oldest["before"], oldest["after"]) == ({"active": True}, {"active": False})
    for words, count in (
        (["--app", "mail"], 1),
        (["--app", "pay", "--action", "apps delete"], 2),
        (["--action", "apps"], 4),
        (["--request", listed[1]["requestId"]], 2),
    ):
        assert len(folder.json("audit", "list", *words)["entries"]) == count
    assert folder.json("audit", "show", listed[1]["entryId"])["entries"] == listed[:2]
    output = folder.run("audit", "show", oldest["entryId"][:-1]).output
    assert "because of ü" in output
    assert '{"active":true}' in output
    failed(folder.run("audit", "show", str(uuid4())), "audit entry")


@pytest.mark.parametrize("reason", ["a\nb", "a" * 501])
def test_a_reason_that_is_none_is_refused(folder: Folder, reason: str) -> None:
    assert folder.run("--reason", reason, "apps", "deactivate", "pay").exit_code == 2
    assert folder.audit() == []


def test_an_export_needs_brokers(folder: Folder) -> None:
    words = ["audit", "export", "--topic", "audit", "--position", str(folder.path / "p")]
    failed(folder.run(*words), "kafka.bootstrap names no brokers")
