"""`apps`, `resize` and `audit` as a shell runs them, on an SQLite folder that nobody serves."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.contract.builders import pretend_schema
from tests.unit.ringctl.test_cli import Folder, failed

from ringtime_client import make_hooks
from ringtime_ringctl.main import main
from ringtime_shared.apps import deleting
from ringtime_shared.apps.states import begin_deletion
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.stores.sqlite import schema


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("RINGTIME_", "RINGCTL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def app_of(folder: Folder) -> App:
    app = folder.on_store(lambda store: store.fetch_app("pay"))
    assert app is not None
    return app


def change(folder: Folder, **changes: Any) -> None:
    app = app_of(folder)
    folder.on_store(lambda store: store.replace_app(replace(app, version=app.version + 1, **changes)))


class TestApps:
    def test_list_and_show(self, folder: Folder) -> None:
        (listed,) = folder.json("apps", "list")["apps"]
        shown = folder.json("apps", "show", "pay")
        assert listed == shown
        assert (shown["partitions"], shown["polled"], shown["active"], shown["resize"]) == (3, 3, True, None)
        assert "pay  active           3       3" in folder.run("apps", "list").output

    def test_secrets_are_counted_and_never_shown(self, folder: Folder) -> None:
        secret = SigningSecret(secret_id="key-1", secret="whsec_c2VjcmV0", created_ms=0)
        change(folder, secrets=(secret,))
        folder.run("apps", "configure", "pay", "--set", "weight=2")
        for words in (["apps", "show", "pay"], ["apps", "list"], ["audit"]):
            for output in (folder.run(*words).output, folder.run("--json", *words).output):
                assert "c2VjcmV0" not in output
        assert folder.json("apps", "show", "pay")["signingSecrets"] == 1
        assert app_of(folder).secrets == (secret,)

    def test_create(self, folder: Folder) -> None:
        shown = folder.json(
            "apps", "create", "mail", "--partitions", "7", "--inactive", "--set", "retryPolicy.factor=2"
        )
        assert (shown["partitions"], shown["active"]) == (7, False)
        assert shown["configuration"] == {"retryPolicy": {"factor": 2.0}}
        assert folder.json("apps", "create", "other")["partitions"] == 5
        assert [action for _, action in folder.audit()] == ["apps create", "apps create"]

    @pytest.mark.parametrize("setting", ["MAX_APPS", "MAX_PARTITIONS_IN_ALL"])
    def test_create_keeps_the_bounds_in_all(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, setting: str
    ) -> None:
        monkeypatch.setenv(f"RINGTIME_LIMITS_{setting}", "1")
        failed(folder.run("apps", "create", "mail"), f"limits.{setting.lower()} allows 1")
        assert folder.audit() == []

    def test_configure(self, folder: Folder) -> None:
        folder.run("apps", "configure", "pay", "--set", "payloadSize=99", "--set", "weight=2")
        shown = folder.json("apps", "configure", "pay", "--unset", "weight")
        assert shown["configuration"] == {"payloadSize": 99}

    def test_hooks_are_given_as_the_api_has_them(self, folder: Folder) -> None:
        url = "https://ops.example/failed"
        hook = {"type": "http", "details": {"url": url, "method": "POST", "headers": {"api-key": "k"}}}
        shown = folder.json("apps", "configure", "pay", "--set", "hooks=" + json.dumps({"onFailure": hook}))
        details = shown["configuration"]["hooks"]["onFailure"]["details"]
        assert (details["url"], details["headers"]) == (url, {"api-key": "***"})
        # One of a type that is not known on this machine stays, whatever else is changed.
        stays = {**hook, "type": "pigeon"}
        change(folder, configuration=AppConfiguration(hooks=make_hooks(on_missed=stays)))
        assert "pigeon" in folder.run("apps", "configure", "pay", "--set", "weight=2").output
        assert "hooks" not in folder.json("apps", "configure", "pay", "--unset", "hooks")["configuration"]

    @pytest.mark.parametrize("verb", ["activate", "deactivate"])
    def test_activate_and_deactivate(self, folder: Folder, verb: str) -> None:
        change(folder, active=verb == "deactivate")
        assert folder.json("apps", verb, "pay")["active"] is (verb == "activate")
        assert folder.audit() == [(folder.audit()[0][0], f"apps {verb}")]
        again = folder.run("apps", verb, "pay")
        assert (again.exit_code, again.output) == (0, "pay is so already: nothing to do\n")
        assert len(folder.audit()) == 1

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["show", "nobody"], "no app nobody"),
            (["activate", "nobody"], "no app nobody"),
            (["create", "pay"], "app pay is registered already"),
            (["create", "a b"], "appId: must be"),
            (["create", "maxconfig"], "reserved"),
            (["create", "mail", "--partitions", "0"], "partitions: must be from 1 to 4096"),
            (["create", "mail", "--set", "payloadSize=99999999"], "payloadSize: must be from 1 to"),
            (["create", "mail", "--set", "colour=red"], "colour: no such key"),
            (["configure", "pay"], "--set: required, or --unset"),
            (["configure", "pay", "--set", "retryPolicy.statuses=200"], "must be statuses from 300"),
            (["configure", "nobody", "--set", "weight=2"], "no app nobody"),
            (["configure", "pay", "--set", "hooks=x"], "hooks: must be JSON"),
            (
                ["configure", "pay", "--set", 'hooks={"onMissed": {"type": "pigeon", "details": {}}}'],
                "hooks.onMissed.type: must be a type this server knows: http",
            ),
        ],
    )
    def test_bad_input_changes_nothing(self, folder: Folder, words: list[str], says: str) -> None:
        before = folder.dump()
        failed(folder.run("apps", *words), says)
        assert folder.dump() == before


class TestDelete:
    @pytest.fixture(autouse=True)
    def _no_quiet_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time is that of real clocks here; `test_deleting` has its length."""
        monkeypatch.setattr(deleting, "APPS_TRUST_MS", 0)
        monkeypatch.setenv("RINGTIME_INGEST_MAP_AGE_MS", "500")
        monkeypatch.setenv("RINGTIME_INGEST_WRITE_DEADLINE_MS", "500")
        monkeypatch.setenv("RINGTIME_CASSANDRA_REQUEST_TIMEOUT_MS", "250")

    def test_without_apply_it_says_what_there_is(self, folder: Folder) -> None:
        shown = folder.run("apps", "delete", "pay").output
        assert "pay has 8 schedules, the first in the minute" in shown
        assert "--cancel-schedules --apply" in shown
        assert folder.json("apps", "delete", "pay")["schedulesLeft"] == 8
        assert app_of(folder).deletion is None
        assert folder.audit() == []

    def test_what_has_schedules_is_refused_and_stays_as_it_was(self, folder: Folder) -> None:
        before = app_of(folder)
        failed(folder.run("apps", "delete", "pay", "--apply"), "pay has 8 schedules", "cancel")
        assert app_of(folder) == before
        assert [action for _, action in folder.audit()] == ["apps delete", "apps delete failed"]

    def test_with_its_schedules_cancelled_it_is_gone(self, folder: Folder) -> None:
        shown = folder.json("apps", "delete", "pay", "--cancel-schedules", "--apply")
        assert shown == {"appId": "pay", "deleted": True}
        failed(folder.run("apps", "show", "pay"), "no app pay")
        failed(folder.run("apps", "delete", "pay"), "no app pay")
        again = folder.json("apps", "create", "pay")
        assert again["number"] > folder.app.number
        assert folder.json("deadletters", "list", "pay")["deadLetters"] == []

    def test_one_that_is_under_way_is_shown_and_gone_on_with(self, folder: Folder) -> None:
        app = app_of(folder)
        folder.on_store(lambda store: store.replace_app(begin_deletion(app, cancels=True, now_ms=0)))
        assert "being deleted" in folder.run("apps", "list").output
        for words in (["apps", "activate"], ["apps", "configure", "--set", "weight=2"], ["resize"]):
            more = ["--partitions", "7", "--apply"] if words == ["resize"] else []
            failed(folder.run(*words[:2], "pay", *words[2:], *more), "being deleted")
        folder.run("apps", "delete", "pay", "--apply")
        failed(folder.run("apps", "show", "pay"), "no app pay")


class TestResize:
    def test_a_plan_changes_nothing(self, folder: Folder) -> None:
        folder.serve()
        before = folder.dump()
        shown = folder.json("resize", "pay", "--partitions", "5")
        assert [each["instance"] for each in shown["added"]] == ["pay.3", "pay.4"]
        assert shown["nodes"][0]["before"] == 3
        assert shown["nodes"][0]["after"] == 5
        smaller = folder.json("resize", "pay", "--partitions", "1")
        held = {each["instance"]: each["rows"] for each in smaller["retired"]}
        assert held == {"pay.1": 1, "pay.2": 0}
        output = folder.run("resize", "pay", "--partitions", "1").output
        assert "pay: 3 -> 1 partitions; adds 0 poller instances, retires 2" in output
        assert folder.dump() == before

    def test_a_rate_is_turned_into_a_quota(self, folder: Folder) -> None:
        shown = folder.json("resize", "pay", "--rpm", "50000")
        assert (shown["quota"], shown["advice"]["least"], shown["advice"]["spare"]) == (60, 50, 10)
        output = folder.run("resize", "pay", "--rpm", "50000").output
        assert "50 + 10" in output
        assert "... and 37 more: --all" in output
        assert "more: --all" not in folder.run("resize", "pay", "--rpm", "50000", "--all").output

    def test_the_same_quota_is_nothing_to_do(self, folder: Folder) -> None:
        before = folder.dump()
        for words in ([], ["--apply"]):
            result = folder.run("resize", "pay", "--partitions", "3", *words)
            assert result.exit_code == 0
            assert "nothing to do" in result.output
        assert folder.json("resize", "pay", "--partitions", "3", "--apply")["changed"] is False
        assert folder.dump() == before

    def test_what_is_not_done_in_time_exits_with_3_and_says_how_to_go_on(self, folder: Folder) -> None:
        result = folder.run("resize", "pay", "--partitions", "5", "--apply", "--timeout", "0")
        assert result.exit_code == 3
        assert "2 of 2 new partitions are owned by no dispatcher yet" in result.stderr
        assert "`ringctl resize pay --resume` goes on, `--abort` gives it up" in result.stderr
        assert "2 of 2 new partitions are not owned yet" in folder.run("resize", "pay").output
        assert folder.json("resize", "pay")["underWay"]["quota"] == 5
        failed(
            folder.run("--operator", "bob", "resize", "pay", "--partitions", "9", "--apply"),
            "being resized 3 -> 5 by",
            "since 20",
        )
        again = folder.run("--operator", "bob", "resize", "pay", "--resume", "--timeout", "0")
        assert again.exit_code == 3
        assert folder.json("resize", "pay")["underWay"]["operator"] == "bob"
        assert folder.json("resize", "pay", "--abort") == {
            "appId": "pay",
            "changed": True,
            "partitions": 3,
            "polled": 3,
            "before": {"partitions": 3, "polled": 5},
        }
        assert [action for _, action in folder.audit()] == ["resize begin", "resize resume", "resize abort"]

    def test_rows_ahead_are_not_waited_for_unasked(self, folder: Folder) -> None:
        result = folder.run("resize", "pay", "--partitions", "1", "--apply")
        assert result.exit_code == 3
        assert "1 of 2 old partitions hold rows ahead, the last before 20" in result.stderr
        assert "it waits for the old partitions to be empty" in folder.run("resize", "pay").output

    @pytest.mark.parametrize("verb", ["--resume", "--abort"])
    def test_nothing_to_resume_or_give_up(self, folder: Folder, verb: str) -> None:
        before = folder.dump()
        result = folder.run("resize", "pay", verb)
        assert (result.exit_code, result.output) == (
            0,
            "pay has 3 partitions and no resize under way: nothing to do\n",
        )
        assert folder.dump() == before

    @pytest.mark.parametrize("more", [[], ["--apply"]])
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["pay", "--partitions", "0"], "partitions: must be from 1 to 4,096"),
            (["pay", "--partitions", "-1"], "partitions: must be from 1 to 4,096"),
            (["pay", "--partitions", "1000000"], "partitions: must be from 1 to 4,096"),
            (["pay", "--partitions", "1e6"], "partitions: must be a whole number"),
            (["pay", "--partitions", "４"], "partitions: must be a whole number"),
            (["pay", "--partitions", ""], "partitions: must be a whole number"),
            (["pay", "--rpm", "0"], "rpm: must be at least 1"),
            (["pay", "--rpm", "x"], "rpm: must be a whole number"),
            (["pay", "--rpm", "999999999"], "limits.max_partitions"),
            (["nobody", "--partitions", "3"], "no app nobody"),
            (["", "--partitions", "3"], "no app"),
        ],
    )
    def test_bad_input_changes_nothing(
        self, folder: Folder, words: list[str], says: str, more: list[str]
    ) -> None:
        before = folder.dump()
        failed(folder.run("resize", *words, *more), says)
        assert folder.dump() == before

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["pay", "--apply"],
            ["pay", "--partitions", "3", "--rpm", "5"],
            ["pay", "--resume", "--abort"],
            ["pay", "--partitions", "3", "--resume"],
            ["pay", "--timeout", "-1"],
        ],
    )
    def test_bad_usage(self, folder: Folder, words: list[str]) -> None:
        assert folder.run("resize", *words).exit_code == 2

    def test_a_store_that_is_away(self, tmp_path: Path) -> None:
        config = tmp_path / "ringtime.json"
        config.write_text(json.dumps({"cassandra": {"contact_points": ["127.0.0.1"], "port": 9}}))
        for words in (["--partitions", "3"], ["--partitions", "3", "--apply"], ["--resume"], ["--abort"]):
            failed(
                CliRunner().invoke(main, ["--config", str(config), "resize", "pay", *words]),
                "cannot connect to Cassandra at 127.0.0.1, port 9",
            )

    @pytest.mark.parametrize("version", [schema.SCHEMA_VERSION - 1, schema.SCHEMA_VERSION + 1])
    def test_another_schema(self, folder: Folder, version: int) -> None:
        connection = sqlite3.connect(folder.path / schema.FILE_NAME)
        pretend_schema(connection, version)
        connection.commit()
        connection.close()
        before = folder.dump()
        failed(folder.run("resize", "pay", "--partitions", "5", "--apply"), f"version {version}")
        assert folder.dump() == before


class TestAudit:
    def test_who_when_before_and_after(self, folder: Folder) -> None:
        folder.run("--operator", "ana", "apps", "deactivate", "pay")
        folder.run("--operator", "bob", "resize", "pay", "--partitions", "5", "--apply")
        entries = folder.json("audit")["entries"]
        assert [(each["operator"], each["action"], each["subject"]) for each in entries] == [
            ("bob", "resize open", "pay"),
            ("bob", "resize begin", "pay"),
            ("ana", "apps deactivate", "pay"),
        ]
        assert entries[0]["before"]["writable"] == 3
        assert entries[0]["after"]["writable"] == 5
        assert all(each["at"].startswith("20") for each in entries)
        output = folder.run("audit").output
        assert "polled: 3 -> 5, resizingTo: null -> 5, resizedBy: null -> bob" in output
        assert "active: true -> false" in output

    def test_what_is_asked_for(self, folder: Folder) -> None:
        folder.run("--operator", "ana", "apps", "deactivate", "pay")
        folder.run("--operator", "bob", "apps", "create", "mail")
        for words, count in (
            (["--by", "ana"], 1),
            (["--subject", "mail"], 1),
            (["--subject", "mail", "--by", "ana"], 0),
            (["--limit", "1"], 1),
            (["--to", "-1m"], 0),
            (["--from", "-1m"], 2),
        ):
            assert len(folder.json("audit", *words)["entries"]) == count

    def test_bad_times(self, folder: Folder) -> None:
        failed(folder.run("audit", "--from", "yesterday"), "--from")
        failed(folder.run("audit", "--from", "now", "--to", "-1h"), "--from: must not be after --to")


@pytest.mark.parametrize("words", [["apps", "list"], ["apps", "show", "pay"], ["audit"], ["resize", "pay"]])
def test_reading_leaves_the_folder_as_it_is(folder: Folder, words: list[str]) -> None:
    before = folder.dump()
    assert folder.run(*words).exit_code == 0
    assert folder.dump() == before
