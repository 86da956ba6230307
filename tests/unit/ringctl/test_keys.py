"""`ringctl keys` as a shell runs it: keys are shown once, work at once, and end when they are told to."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ringtime_ringctl.main import main
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import KEY_PATTERN
from ringtime_shared.clock import ManualClock, SystemClock
from ringtime_shared.errors import Unauthenticated
from ringtime_shared.stores.sqlite import SqliteStore

ALL = ("--all-apps", "--scope", "all")
SHOP = ("--app", "shop", "--app", "mail", "--scope", "schedules:read", "--scope", "schedules:write")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def make() -> None:
        await (await SqliteStore.open(tmp_path / "data")).close()

    asyncio.run(make())
    return tmp_path / "data"


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--data", str(data), "--operator", "ana", *words])


def done(data: Path, *words: str) -> Any:
    result = run(data, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def create(data: Path, *words: str) -> Any:
    return done(data, "keys", "create", "--label", "shop", *words)


def who(data: Path, text: str, in_s: float = 0) -> Any:
    """Return who is let in with a key, so many seconds from now; None: nobody."""
    return asyncio.run(_who(data, text, in_s))


async def _who(data: Path, text: str, in_s: float) -> Any:
    store = await SqliteStore.open(data, exclusive=False)
    checks = KeyChecks(store, ManualClock(SystemClock().now_ms() + int(in_s * 1_000)))
    try:
        return await checks.check(f"Bearer {text}".encode())
    except Unauthenticated:
        return None
    finally:
        await checks.close()
        await store.close()


def test_the_keys_of_an_app_are_those_that_name_it_and_those_for_all(data: Path) -> None:
    operators, shop = create(data, *ALL)["keyId"], create(data, *SHOP)["keyId"]
    other = create(data, "--app", "pay", "--scope", "schedules:read")["keyId"]
    for app_id, expected in (("mail", {operators, shop}), ("pay", {operators, other}), ("none", {operators})):
        assert {key["keyId"] for key in done(data, "keys", "list", "--app", app_id)["keys"]} == expected


def test_the_first_key_opens_everything(data: Path) -> None:
    result = run(data, "keys", "create", "--label", "ana", *ALL)
    assert result.exit_code == 0
    assert re.fullmatch(KEY_PATTERN + r"\n", result.stdout)  # the key alone, for a pipe
    assert "it is not shown again" in result.stderr
    caller = who(data, result.stdout.strip())
    assert (caller.grant.scopes, caller.grant.apps, caller.label) == (frozenset(Scope), None, "ana")


def test_a_key_is_for_apps_and_has_scopes_limits_and_an_end(data: Path) -> None:
    limits = ("--requests-per-second", "5", "--creates-per-second", "6", "--expires", "+1h")
    made = create(data, *SHOP, *limits)
    caller = who(data, made["key"])
    assert caller.grant.apps == {"shop", "mail"}
    assert caller.grant.scopes == {Scope.SCHEDULES_READ, Scope.SCHEDULES_WRITE}
    assert (caller.requests_per_second, caller.creates_per_second) == (5, 6)
    assert who(data, made["key"], in_s=3_599) is not None
    assert who(data, made["key"], in_s=3_601) is None


def test_all_scopes_of_an_app_are_those_that_go_with_one(data: Path) -> None:
    made = create(data, "--app", "shop", "--scope", "all")
    assert set(made["scopes"]) == set(Scope) - {Scope.RING_OPERATE}


def test_a_file_is_for_its_owner_and_is_never_written_over(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "key"
    result = run(data, "keys", "create", "--label", "a", *ALL, "--out", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert text.strip() not in result.output
    assert who(data, text.strip()) is not None
    again = run(data, "keys", "create", "--label", "a", *ALL, "--out", str(path))
    assert (again.exit_code, path.read_text()) == (1, text)
    assert len(done(data, "keys", "list")["keys"]) == 1


def test_a_rotated_key_goes_on_for_a_while(data: Path) -> None:
    old = create(data, *SHOP, "--creates-per-second", "6")
    new = done(data, "keys", "rotate", old["keyId"], "--old-until", "+2h")
    same = ("label", "apps", "scopes", "createsPerSecond")
    assert [new[key] for key in same] == [old[key] for key in same]
    assert who(data, old["key"], in_s=7_190) is not None
    assert who(data, old["key"], in_s=7_210) is None
    assert who(data, new["key"], in_s=10**6) is not None
    assert run(data, "keys", "rotate", old["keyId"], "--old-until", "-1h").exit_code == 1


def test_a_revoked_key_is_over_and_cannot_be_rotated(data: Path) -> None:
    made = create(data, *SHOP)
    for _ in range(2):
        assert done(data, "keys", "revoke", made["keyId"])["state"] == "revoked"
    assert who(data, made["key"]) is None
    result = run(data, "keys", "rotate", made["keyId"])
    assert (result.exit_code, "has ended" in result.stderr) == (1, True)


def test_lists_and_the_audit_log_have_no_key(data: Path) -> None:
    made = create(data, *SHOP)
    new = done(data, "keys", "rotate", made["keyId"])
    shown = [
        run(data, *words).output
        for words in (
            *(("keys", "list"), ("keys", "list", "--json"), ("keys", "show", made["keyId"])),
            *(("audit",), ("audit", "--json"), ("-v", "keys", "revoke", made["keyId"])),
        )
    ]
    for text in (made["key"], new["key"]):
        secret = text.rpartition("_")[2]
        assert not any(secret[:20] in each for each in shown)
    assert made["keyId"] in shown[0]
    actions = [entry["action"] for entry in done(data, "audit")["entries"]]
    assert actions == ["keys revoke", "keys retire", "keys rotate", "keys create"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "--label", "x", "--scope", "all"), "--app: required, or --all-apps"),
        (("create", "--label", "x", *ALL, "--app", "shop"), "--app: required, or --all-apps"),
        (("create", "--label", "", *ALL), "label: must be 1 to"),
        (("create", "--label", "x", "--app", "a b", "--scope", "all"), "apps: "),
        (("create", "--label", "x", *ALL, "--expires", "-1h"), "expires: must be in the future"),
        (("create", "--label", "x", *ALL, "--out", "/no/such/folder/key"), "--out: "),
        (("show", "nobody"), "no key nobody"),
        (("revoke", "0" * 12), "no key"),
    ],
)
def test_bad_requests_are_one_clear_line(data: Path, words: tuple[str, ...], says: str) -> None:
    result = run(data, "keys", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert says in result.stderr
    assert done(data, "keys", "list")["keys"] == []
