"""`ringctl schedules apply` on a folder, for the audit log, and a server beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.contract.builders import make_outcome
from tests.unit.client_rig import Served, served
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_client import DefinitionState, RingtimeClient, Status
from ringtime_ringctl.schedules import apply as apply_module
from ringtime_shared.errors import NotFound
from ringtime_shared.models.schedule import Place, RowUpdate

Run = Callable[..., Result]
SECRET = "hush-7"


def table(name: str, cron: str = "30 2 * * *", app: str = "pay", more: str = "") -> str:
    details = f'{{url = "https://example.com/hook?key={SECRET}", method = "POST"}}'
    return (
        f'[[recurring]]\nappId = "{app}"\nname = "{name}"\ncronExpression = "{cron}"\ntimeZone = "UTC"\n'
        f'payload = "{SECRET}"\ncallback = {{type = "http", details = {details}}}\n{more}\n'
    )


@pytest.fixture
def backend() -> Iterator[Served]:
    with served() as each:
        yield each


@pytest.fixture
def server(backend: Served) -> Iterator[RingtimeClient]:
    with RingtimeClient(backend.url) as client:
        client.register_app("pay", partitions=2)
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture
def apply(folder: Folder, server: RingtimeClient) -> Run:
    base = f"{server._root}/goscheduler"
    words = ("schedules", "apply", "-f", "-", "--api", base, "--json")
    return lambda text, *more: folder.run(*words, *more, input=text)


def counts(result: Result, exit_code: int = 0) -> dict[str, Any]:
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)["counts"]
    return {name: count for name, count in found.items() if count}


def test_a_plan_changes_nothing_and_apply_makes_it_so(
    folder: Folder, server: RingtimeClient, apply: Run
) -> None:
    text = table("a") + table("b")
    assert counts(apply(text)) == {"create": 2}
    assert server.list_recurring("pay").recurring == []
    assert folder.audit() == []
    assert counts(apply(text, "--apply")) == {"create": 2}
    assert counts(apply(text)) == {"unchanged": 2}
    server.pause_recurring("pay", "b")
    edited = table("a", "0 3 * * *") + table("b")
    assert counts(apply(edited)) == {"change": 1, "unchanged": 1}
    assert counts(apply(edited, "--apply")) == {"change": 1, "unchanged": 1}
    assert server.get_recurring("pay", "a").cron_expression == "0 3 * * *"
    assert server.get_recurring("pay", "b").state is DefinitionState.PAUSED
    assert [action for _, action in folder.audit()] == ["schedules apply"] * 3
    assert SECRET not in folder.run("--json", "audit").output


def test_prune_deletes_what_the_apps_of_the_file_have_beside_it(server: RingtimeClient, apply: Run) -> None:
    server.register_app("other")
    apply(table("a") + table("b") + table("c", app="other"), "--apply")
    assert counts(apply(table("a"), "--prune")) == {"delete": 1, "unchanged": 1}
    assert counts(apply(table("a"), "--apply")) == {"unchanged": 1}  # nothing is pruned unless asked for
    assert counts(apply(table("a"), "--prune", "--apply")) == {"delete": 1, "unchanged": 1}
    assert [each.name for each in server.list_recurring("pay").recurring] == ["a"]
    assert [each.name for each in server.list_recurring("other").recurring] == ["c"]


def test_if_a_table_breaks_a_rule_nothing_is_changed(server: RingtimeClient, apply: Run) -> None:
    bad = table("b", "99 * * * *") + table("c", more='overlapPolicy = "maybe"')
    result = apply(table("a") + bad, "--apply", "--prune")
    assert counts(result, 1) == {"create": 1, "failed": 2}
    assert json.loads(result.stdout)["applied"] is False
    assert server.list_recurring("pay").recurring == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[recurring]", "is no TOML"),
        ("x = 1", "must be tables [[recurring]]"),
        (f"x = {2**64}", "is no TOML that JSON can say"),
        (table("a") + table("a"), "is given twice"),
        (table("-"), "table 1, '-': name"),
        (table("a", app="p y"), "table 1, 'a': appId"),
        (table("a", app="nobody"), "no app nobody"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(apply: Run, text: str, told: str) -> None:
    failed(apply(text, "--apply"), told)


def test_what_was_changed_since_it_was_planned_is_not_pruned(
    server: RingtimeClient, apply: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(table("a") + table("b"), "--apply")
    plan = apply_module._plan

    async def plan_late(*args: Any) -> Any:
        await asyncio.to_thread(server.pause_recurring, "pay", "b")  # by somebody else
        return await plan(*args)

    monkeypatch.setattr(apply_module, "_plan", plan_late)
    assert counts(apply(table("a"), "--prune", "--apply"), 1) == {"delete": 1, "unchanged": 1, "failed": 1}
    assert {each.name for each in server.list_recurring("pay").recurring} == {"a", "b"}


def test_a_file_that_is_no_text_is_refused(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "schedules.toml"
    file.write_bytes(b"\xff\xfe")
    failed(folder.run("schedules", "apply", "-f", str(file)), "is no UTF-8")


def once(name: str, at: datetime | str, payload: str = SECRET, more: str = "") -> str:
    details = '{url = "https://example.com/hook", method = "POST"}'
    time = at if isinstance(at, str) else at.isoformat()
    return (
        f'[[schedule]]\nappId = "pay"\nname = "{name}"\nscheduleTime = {time}\npayload = "{payload}"\n'
        f'callback = {{type = "http", details = {details}}}\n{more}\n'
    )


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)


@pytest.mark.slow
def test_one_time_schedules_are_filed_and_changed_and_a_file_that_is_applied_again_sends_nothing_again(
    folder: Folder, backend: Served, server: RingtimeClient, apply: Run
) -> None:
    soon, later = in_hours(1), in_hours(600)
    text = once("a", soon) + once("b", later) + once("c", soon) + once("past", in_hours(-1)) + table("a")
    assert counts(apply(text)) == {"create": 4, "over": 1}
    with pytest.raises(NotFound):
        server.get_named_schedule("pay", "a")
    assert counts(apply(text, "--apply")) == {"create": 4, "over": 1}
    assert counts(apply(text, "--apply")) == {"unchanged": 4, "over": 1}
    first = server.get_named_schedule("pay", "a")
    edited = text.replace(once("a", soon), once("a", in_hours(2), "2"))
    assert counts(apply(edited)) == {"change": 1, "unchanged": 3, "over": 1}
    assert counts(apply(edited, "--apply")) == {"change": 1, "unchanged": 3, "over": 1}
    changed = server.get_named_schedule("pay", "a")
    assert (changed.schedule_id, changed.payload) == (first.schedule_id, "2")
    server.cancel_named_schedule("pay", "a")
    sent = server.trigger_schedule(server.get_named_schedule("pay", "c").schedule_id)
    home = Place.of_home("pay", sent.schedule_id)
    update = RowUpdate(place=home, schedule_id=sent.schedule_id, outcome=make_outcome())
    asyncio.run_coroutine_threadsafe(backend.store.put_updates([update]), backend.loop).result(60)
    assert counts(apply(edited, "--apply")) == {"unchanged": 2, "over": 3}
    assert server.get_named_schedule("pay", "a").status is Status.DELETED
    other = edited.replace(once("c", soon), once("c", in_hours(3)))  # another time, which lies ahead
    assert counts(apply(other, "--apply")) == {"create": 1, "unchanged": 2, "over": 2}
    assert counts(apply(other, "--apply", "--again")) == {"create": 1, "unchanged": 3, "over": 1}
    assert server.get_named_schedule("pay", "a").status is Status.SCHEDULED
    assert SECRET not in folder.run("--json", "audit").output


def test_prune_cancels_one_time_schedules_that_the_file_claims_and_no_others(
    server: RingtimeClient, apply: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        apply_module, "_AHEAD_MS", 40 * 86_400_000
    )  # a list for each month of ten years, else
    owned, mine = (
        '[owned]\nnamePrefix = "f-"\nlabels = {file = "pay"}\n',
        'labels = {file = "pay", more = "x"}',
    )
    far = in_hours(719)
    kept, gone = once("f-kept", in_hours(1), more=mine), once("f-gone", far, more=mine)
    apply(owned + kept + gone + table("cron"), "--apply")
    hook = {"type": "http", "details": {"url": "https://example.com/", "method": "POST"}}
    for name, labels in (("other", {"file": "pay"}), ("f-other", {"file": "other"})):
        server.put_schedule("pay", name, payload="", callback=hook, delay=timedelta(hours=1), labels=labels)
    assert counts(apply(kept, "--prune")) == {
        "unchanged": 1
    }  # it claims nothing, and names no recurring ones
    assert counts(apply(owned + kept, "--prune")) == {"cancel": 1, "unchanged": 1}
    assert server.get_named_schedule("pay", "f-gone").status is Status.SCHEDULED
    assert counts(apply(owned + kept, "--prune", "--apply")) == {"cancel": 1, "unchanged": 1}
    assert server.get_named_schedule("pay", "f-gone").status is Status.DELETED
    assert counts(apply(owned + kept, "--prune", "--apply")) == {"unchanged": 1}
    for name in ("other", "f-other", "f-kept"):
        assert server.get_named_schedule("pay", name).status is Status.SCHEDULED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (once("a", '"in an hour"\ndelaySeconds = 60'), "a delay would begin anew with each apply"),
        ('[owned]\nnamePrefix = "f-"\n' + once("a", in_hours(1)), "must claim it"),
        ("[owned]\n" + once("a", in_hours(1)), "must have namePrefix, or labels"),
        ('[owned]\nnamePrefix = ""\n' + once("a", in_hours(1)), "must have namePrefix, or labels"),
        ('[owned]\nprefix = "a"\n' + once("a", in_hours(1)), "must have namePrefix, or labels"),
        ('[owned]\nnamePrefix = "f-"\n', "must be tables"),
        ("[schedule]\nname = 'a'", "must be tables"),
        (once("a", in_hours(1)) + once("a", in_hours(1)), "is given twice"),
    ],
)
def test_a_file_of_one_time_schedules_that_cannot_be_meant_is_refused(
    apply: Run, text: str, told: str
) -> None:
    failed(apply(text, "--apply"), told)
