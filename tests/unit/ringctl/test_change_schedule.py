"""`ringctl schedules change` and `trigger`, and `explain` of what was changed, with a server beside."""

from __future__ import annotations

from tests.unit.ringctl.test_cli import Folder, failed
from tests.unit.ringctl.test_recurring import HOOK, SECRET, api, folder, shown

__all__ = ["api", "folder"]


def test_a_schedule_is_changed_explained_and_sent_now(folder: Folder, api: str) -> None:
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
    got = shown(folder.run("schedules", "get", schedule_id, "--json"))
    assert got["schedule"]["fireTime"] == changed["fireTime"] == got["pending"]["fireTime"]
    told = folder.run("explain", schedule_id).stdout
    assert f"changed, to fire at {changed['fireTime']}" in " ".join(told.split())
    failed(folder.run(*words), "answered 400", "must change something")
    now = shown(folder.run("schedules", "trigger", schedule_id, "--api", api, "--json"))["schedule"]
    assert now["fireTime"] < made["schedule"]["fireTime"]
    failed(folder.run("schedules", "change", schedule_id[:-1], "--api", api), "is not a schedule id")
    done = {action for _, action in folder.audit()}
    assert {"schedules change", "schedules change failed", "schedules trigger"} <= done
    assert SECRET not in folder.run("--json", "audit", "--limit", "100").stdout
