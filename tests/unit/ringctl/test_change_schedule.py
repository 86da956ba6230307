"""`ringctl schedules change` and `trigger` on a folder, for the audit log, and a server beside it."""

from __future__ import annotations

from tests.unit.ringctl.test_cli import Folder, failed
from tests.unit.ringctl.test_recurring import HOOK, SECRET, api, folder, shown

__all__ = ["api", "folder"]


def test_a_schedule_is_changed_and_sent_now(folder: Folder, api: str) -> None:
    made = shown(
        folder.run(
            "schedules",
            "put",
            "pay",
            "order-17",
            "--api",
            api,
            *HOOK,
            "--at",
            "+1h",
            "--payload",
            "1",
            "--json",
        )
    )
    schedule_id = made["schedule"]["scheduleId"]
    words = ("schedules", "change", schedule_id, "--api", api)
    changed = shown(folder.run(*words, "--at", "+2h", "--json"))["schedule"]
    assert changed["fireTime"] > made["schedule"]["fireTime"]
    failed(folder.run(*words), "--file: required")
    now = shown(folder.run("schedules", "trigger", schedule_id, "--api", api, "--json"))["schedule"]
    assert now["fireTime"] < made["schedule"]["fireTime"]
    failed(folder.run("schedules", "trigger", schedule_id[:-1], "--api", api), "is not a schedule id")
    done = {action for _, action in folder.audit()}
    assert {"schedules change", "schedules trigger"} <= done
    assert SECRET not in folder.run("--json", "audit", "--limit", "100").stdout
