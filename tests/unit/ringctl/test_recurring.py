"""`ringctl recurring` on a folder, for the audit log, and a server beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.harness.recurring import every, new_definition
from tests.unit.client_rig import served
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_client import RingtimeClient
from ringtime_ringctl.recurring import command, repair
from ringtime_shared.errors import OutcomeUnknown
from ringtime_shared.models.recurring import Definition, recurring_id_of
from ringtime_shared.schedules.chain_repair import repair as begin_again

Run = Callable[..., Result]
CRON = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin")
SECRET = "hush-7"
HOOK = ("--payload", SECRET, "--url", f"https://example.com/hook?key={SECRET}")


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with served() as server, RingtimeClient(server.url) as client:
        client.register_app("pay", partitions=2)
        yield f"{server.url}/goscheduler"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture
def run(folder: Folder, api: str) -> Run:
    return lambda *words, **more: folder.run("recurring", *words, "--api", api, **more)


def shown(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_a_recurring_schedule_from_put_to_delete(folder: Folder, run: Run) -> None:
    made = shown(run("put", "pay", "report", *CRON, *HOOK, "--revision", "0", "--json"))
    assert (made["state"], made["revision"], made["destination"]) == ("ACTIVE", 1, "https://example.com/hook")
    assert made["payloadBytes"] == len(SECRET)
    failed(run("put", "pay", "report", *CRON, *HOOK, "--revision", "0"), "answered 409", "is at revision 1")
    failed(run("put", "pay", "report", "--cron", "x", *HOOK), "answered 400", "cronExpression", "timeZone")
    changed = run("patch", "pay", "report", "-f", "-", "--json", input='{"overlapPolicy": "skip"}')
    assert (shown(changed)["overlapPolicy"], shown(changed)["cronExpression"]) == ("skip", "30 2 * * *")
    assert "report  ACTIVE  30 2 * * *  Europe/Berlin" in run("list", "pay").stdout
    assert "makes no runs until 20" in run("pause", "pay", "report", "--until", "+2h").stdout
    paused = shown(run("list", "pay", "--state", "paused", "--limit", "1", "--json"))
    assert [each["name"] for each in paused["recurring"]] == ["report"]
    run("pause", "pay", "report", "--reason", "deploy")
    assert "deploy" in run("get", "pay", "report").stdout
    assert "makes runs again, the next at 20" in run("resume", "pay", "report").stdout
    run_id = shown(run("trigger", "pay", "report", "--json"))["schedule"]["scheduleId"]
    past = shown(run("runs", "pay", "report", "--when", "past", "--json"))
    assert ([each["scheduleId"] for each in past["schedules"]], past["more"]) == ([run_id], False)
    assert run_id in run("runs", "pay", "report").stdout
    assert "and more" in run("runs", "pay", "report", "--limit", "1").stdout
    assert "is deleted" in run("delete", "pay", "report").stdout
    failed(run("get", "pay", "report"), "answered 404", "no recurring schedule report")
    done = [
        "put",
        "put",
        "put failed",
        "put",
        "put failed",
        "patch",
        "pause",
        "pause",
        "resume",
        "trigger",
        "delete",
    ]
    assert [action for _, action in folder.audit()] == [f"recurring {each}" for each in done]
    log = folder.run("--json", "audit", "--limit", "100").stdout
    assert {entry["subject"] for entry in json.loads(log)["entries"]} == {"pay/report"}
    assert json.loads(log)["entries"][-3]["before"]["revision"] == 1  # newest first
    assert SECRET not in log + run("list", "pay", "--state", "deleted", "--json").stdout


def test_previews_show_what_clocks_do(run: Run) -> None:
    run("put", "pay", "daily", *CRON, *HOOK)
    assert len(shown(run("preview", "pay", "daily", "--size", "3", "--json"))["runs"]) == 3
    body = '{"startTime": "2030-03-30T00:00:00Z", "dstGap": "skip"}'
    table = run("preview", "pay", *CRON, "-f", "-", "--size", "2", input=body).stdout
    assert "2030-03-31T02:30:00" in table
    assert "skipped" in table
    for words in (("pay",), ("pay", "daily", *CRON)):
        assert run("preview", *words).exit_code == 2


def test_backfill(folder: Folder, run: Run) -> None:
    run("put", "pay", "late", "--cron", "@daily", "--zone", "UTC", *HOOK)
    words = ("backfill", "pay", "late", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-04T00:00:00Z")
    assert "wouldBeFiled" in run(*words).stdout
    assert "and more: --from 2026-01-02T00:00:00.000Z" in run(*words, "--limit", "1").stdout
    assert [each["effect"] for each in shown(run(*words, "--apply", "--json"))["runs"]] == ["filed"] * 3
    assert "hasRun" in run(*words, "--apply").stdout
    assert [action for _, action in folder.audit()][1:] == ["recurring backfill"] * 2


def test_a_backfill_of_which_something_failed_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(*_: object) -> dict[str, object]:
        told = {"nominalTime": "2026-01-01T00:00:00.000Z", "effect": "failed", "error": "no answer"}
        return {"runs": [told, {**told, "effect": "filed"}]}

    monkeypatch.setattr(command, "ask", ask)
    result = run("backfill", "pay", "late", "--from", "2026-01-01T00:00:00Z", "--apply")
    assert (result.exit_code, "1 were not filed, or perhaps not" in result.stderr) == (1, True)
    assert "no answer" in result.stdout


def test_calendars(folder: Folder, api: str, tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        return folder.run("calendars", *words, "--api", api)

    plain, ics = tmp_path / "freeze.json", tmp_path / "holidays.ics"
    plain.write_text('{"dates": ["2030-12-24"]}')
    ics.write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        "DTSTART;VALUE=DATE:20301225\r\nDTEND;VALUE=DATE:20301227\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    assert "2030-12-24  the whole day" in run("put", "pay", "freeze", "-f", str(plain)).stdout
    days = shown(run("put", "pay", "freeze", "-f", str(ics), "--json"))["dates"]
    assert days == ["2030-12-25", "2030-12-26"]
    assert "freeze     2      0" in run("list", "pay").stdout
    assert "2030-12-26" in run("get", "pay", "freeze").stdout
    assert run("delete", "pay", "freeze").stdout == "freeze is deleted\n"
    failed(run("get", "pay", "freeze"), "answered 404", "no calendar freeze")
    plain.write_text("{")
    failed(run("put", "pay", "freeze", "-f", str(plain)), "--file: must be ICS or JSON")
    assert [action for _, action in folder.audit()] == ["calendars put", "calendars put", "calendars delete"]


def test_what_cannot_be_sent(folder: Folder, run: Run) -> None:
    failed(run("put", "pay", "x", "-f", "-", input="[]"), "--file: must be a JSON object")
    failed(run("put", "pay", "x", "-f", "-", input="{"), "--file: must be JSON")
    failed(run("patch", "pay", "x"), "--file: required")
    failed(run("pause", "pay", "x", "--until", "soon"), "--until: must be an instant")
    failed(folder.run("recurring", "list", "pay", "--api", "http://127.0.0.1:1/x"), "nobody answers", "--api")
    assert folder.audit() == []


def lose(folder: Folder, name: str) -> Definition:
    """Store a recurring schedule that has no runs."""
    begun_ms = folder.now_ms - 3_600_000
    lost = replace(
        new_definition(begun_ms, every(86_400, begun_ms), app_id="pay", name=name),
        recurring_id=recurring_id_of(folder.app.number, name),
    )
    folder.on_store(lambda store: store.replace_definition(lost))
    return lost


def test_one_that_makes_no_more_runs_is_found_and_started_again(folder: Folder) -> None:
    lose(folder, "nightly")
    found = shown(folder.run("doctor", "--json"), exit_code=4)
    assert ["pay/nightly" in each["found"] for each in found["findings"] if each["check"] == "recurring"] == [
        True
    ]
    assert "nothing was changed" in folder.run("recurring", "repair", "pay").stdout
    told = shown(folder.run("recurring", "repair", "pay", "nightly", "--apply", "--json"))
    assert told["broken"][0]["found"].startswith("it makes runs again after 20")
    assert folder.run("recurring", "repair", "pay").stdout.endswith("has a run to come\n")
    (entry, *_) = shown(folder.run("audit", "--json"))["entries"]
    assert (entry["action"], entry["subject"]) == ("recurring repair", "pay/nightly")


def test_one_that_cannot_be_repaired_keeps_none_of_the_others(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = min((lose(folder, name) for name in "abc"), key=lambda each: each.recurring_id)

    async def fail(store: Any, clock: Any, app: Any, definition: Definition, retention_ms: int) -> Definition:
        if definition.name == first.name:
            raise OutcomeUnknown("no answer")
        return await begin_again(store, clock, app, definition, retention_ms)

    monkeypatch.setattr(repair, "repair", fail)
    told = shown(folder.run("recurring", "repair", "pay", "--apply", "--json"), 1)["broken"]
    assert [each["found"][:16] for each in told] == ["not repaired, or", *["it makes runs ag"] * 2]


def test_the_api_notes_the_same_request_and_reason(folder: Folder, api: str) -> None:
    asked = ("put", "pay", "noted", *CRON, *HOOK)
    assert folder.run("--reason", "because of ü", "recurring", *asked, "--api", api).exit_code == 0
    (ours,) = folder.json("audit")["entries"]
    with RingtimeClient(api) as client:
        (theirs,) = client.list_audit("pay", action="recurring put", size=1).entries
    assert (theirs.request_id, theirs.reason) == (ours["requestId"], "because of ü")
    assert (theirs.actor, theirs.source) == ("anybody", "127.0.0.1")
    assert (ours["subject"], theirs.subject) == ("pay/noted", "pay/noted")
    assert SECRET not in str(theirs)
