"""`ringctl schedules put` on a folder, for the audit log, and a server beside it."""

from __future__ import annotations

from pathlib import Path

from tests.unit.ringctl.test_cli import Folder, failed
from tests.unit.ringctl.test_recurring import HOOK, SECRET, api, folder, shown

__all__ = ["api", "folder"]
AT = ("--at", "+1h")


def test_a_schedule_is_put_under_a_name_once(folder: Folder, api: str, tmp_path: Path) -> None:
    words = ("schedules", "put", "pay", "order-17", "--api", api)
    body = tmp_path / "body.json"
    body.write_text('{"delaySeconds": 3600}')
    made = shown(folder.run(*words, *HOOK, "-f", str(body), "--label", "team:billing", "--json"))
    assert (made["created"], made["schedule"]["name"]) == (True, "order-17")
    assert made["schedule"]["labels"] == {"team": "billing"}
    again = folder.run(*words, *HOOK, "-f", str(body), "--label", "team:billing")
    assert f"order-17 is pending as asked for: {made['schedule']['scheduleId']}" in again.stdout
    other = folder.run(*words, *HOOK, *AT).stdout  # another time
    assert f"order-17 is pending as asked for: {made['schedule']['scheduleId']}" in other
    failed(folder.run("schedules", "put", "pay", "a b", "--api", api, *HOOK, *AT), "name: must be")
    failed(folder.run(*words, *HOOK, "--at", "soon"), "--at: must be")
    assert {action for _, action in folder.audit()} == {"schedules put"}
    assert SECRET not in str(made) + folder.run("--json", "audit", "--limit", "100").stdout
