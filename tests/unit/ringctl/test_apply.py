"""`ringctl apps apply -f FILE`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.builders import NOW_MS, make_app
from tests.unit.ringctl.rig import make_rig
from tests.unit.spy_store import SpyStore

from ringtime_client import make_hooks
from ringtime_ringctl.apps.apply import Wanted, carry_out, plan_changes, read_file
from ringtime_shared.errors import InvalidRequest, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration, Deletion
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.settings import Settings

SETTINGS = Settings()
LIMITS = SETTINGS.limits
FILE = """
[[apps]]
appId = "pay"
partitions = 8
[apps.configuration]
payloadSize = 4096
retryPolicy = { factor = 1.5, statuses = ["5xx", 429] }

[[apps]]
appId = "mail"
active = false
"""


def test_a_file_names_apps_as_the_api_does() -> None:
    rules = RetryRules(factor=1.5, statuses=("5xx", "429"))
    assert read_file(FILE, SETTINGS) == [
        Wanted("pay", 8, True, AppConfiguration(payload_bytes=4_096, retry=rules)),
        Wanted("mail", None, False, AppConfiguration()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[apps", "is no TOML"),
        ("[[apps]]\nappId='a'\n[[tenants]]\nappId='b'", r"must be tables \[\[apps\]\]"),
        ("apps = [1]", r"must be tables \[\[apps\]\]"),
        ("[[apps]]\npartitions = 3", "app 1, None: appId: required"),
        ("[[apps]]\nappId='a'\n[[apps]]\nappId='a'", "a: is given twice"),
        ("[[apps]]\nappId='a'\npartitions=0", "app 1, 'a': partitions: must be from 1"),
        ("[[apps]]\nappId='a'\npartitions=true", "must be a whole number"),
        ("[[apps]]\nappId='a'\nactive='yes'", "must be true or false"),
        ("[[apps]]\nappId='a'\ncolour='red'", "colour: no such key"),
        ("[[apps]]\nappId='a'\nconfiguration={colour=1}", "colour: no such key"),
        ("[[apps]]\nappId='a'\nconfiguration={weight='x'}", "weight: must be a whole number"),
        ("[[apps]]\nappId='a'\nconfiguration={weight=true}", "weight: must be a whole number"),
        (
            "[[apps]]\nappId='a'\nconfiguration={retryPolicy={factor='2'}}",
            "retryPolicy.factor: must be a number",
        ),
        ("[[apps]]\nappId='a'\nconfiguration={retryPolicy={statuses=500}}", "must be a list of statuses"),
        ("[[apps]]\nappId='a'\nconfiguration={retryPolicy={statuses=[1.5]}}", "must be a list of statuses"),
        ("[[apps]]\nappId='a'\nconfiguration={weight=1000}", "weight: must be from 1 to 100"),
        ("[[apps]]\nappId='a/b'", "appId"),
        ("[[apps]]\nappId='a'\nconfiguration={hooks=1}", "hooks: must be an object"),
        ("[[apps]]\nappId='a'\nconfiguration={hooks={onEnd={}}}", "hooks.onEnd: no such key"),
        (
            "[[apps]]\nappId='a'\nconfiguration={hooks={onFailure={type='http'}}}",
            "onFailure.details: required",
        ),
        (
            "[[apps]]\nappId='a'\nconfiguration={hooks={onFailure={type='x',details={}}}}",
            r"configuration\.hooks\.onFailure\.type: must be a type this server knows: http",
        ),
        (
            "[[apps]]\nappId='a'\nconfiguration={hooks={onMissed={type='http',details={url='ftp://a'}}}}",
            r"configuration\.hooks\.onMissed\.details\.url",
        ),
    ],
)
def test_everything_that_is_wrong_with_a_file_is_told_by_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_file(text, SETTINGS)


def test_hooks_are_a_table_of_the_api() -> None:
    details = {"url": "https://ops.example/failed", "method": "POST"}
    hook = "{type = 'http', details = {url = 'https://ops.example/failed', method = 'POST'}}"
    told = f"[apps.configuration.hooks]\nonFailure = {hook}\nincludePayload = true"
    (app,) = read_file(f"[[apps]]\nappId = 'a'\n{told}", SETTINGS)
    assert app.configuration.hooks == make_hooks(
        on_failure={"type": "http", "details": details}, includes_payload=True
    )


def test_all_of_it_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_file("[[apps]]\nappId='a'\npartitions=0\n[[apps]]\nappId='b'\nactive=1", SETTINGS)
    assert [each.field for each in caught.value.violations] == [
        "app 1, 'a': partitions",
        "app 2, 'b': active",
    ]


def test_a_plan_says_what_is_new_what_differs_and_what_cannot_be() -> None:
    busy = AppConfiguration(weight=3)
    registered = {
        app.app_id: app
        for app in (
            make_app(app_id="same", configuration=busy),
            make_app(app_id="other"),
            make_app(app_id="wide"),
            make_app(app_id="going", active=False, deletion=Deletion(
                cancels=False, began_at=1, begun_ms=1, was_active=True)),
            make_app(app_id="broken", damage="configuration: x"),
            make_app(app_id="unnamed"),
        )
    }  # fmt: skip
    wanted = [
        Wanted("same", 3, True, busy),
        Wanted("other", None, False, busy),
        Wanted("wide", 7, True, AppConfiguration()),
        Wanted("going", None, True, AppConfiguration()),
        Wanted("broken", None, True, AppConfiguration()),
        Wanted("new", None, False, busy),
    ]
    plan = plan_changes(wanted, registered, LIMITS, NOW_MS + 5)
    assert plan.counts() == {"create": 1, "configure": 1, "unchanged": 1, "refused": 3}
    assert "ringctl resize wide --partitions 7" in plan.refused["wide"]
    other, new = (change.after for change in plan.changes)
    assert (other.version, other.active, other.halted_ms, other.configuration) == (2, False, NOW_MS + 5, busy)
    assert (new.polled, new.writable, new.active) == (LIMITS.partitions, LIMITS.partitions, False)


async def test_what_fails_keeps_nobody_back_and_the_next_run_does_the_rest() -> None:
    rig = make_rig()
    store = SpyStore(rig.clock.now_ms)
    deployment = replace(rig.deployment, store=cast(Any, store))
    wanted = [Wanted(f"app-{n}", 2, True, AppConfiguration()) for n in range(20)]
    store.fail("create_app", StoreUnavailable("no"), StoreUnavailable("no"))
    async with aclosing(carry_out(deployment, plan_changes(wanted, {}, LIMITS, 0).changes, 3)) as turns:
        ended = {app_id: error async for app_id, error in turns}
    # Three at a time: these two fail, in either order.
    assert {app_id for app_id, error in ended.items() if error is not None} == {"app-0", "app-1"}
    assert len(ended) == 20
    registered = {app.app_id: app for app in await store.real.fetch_apps()}
    rest = plan_changes(wanted, registered, LIMITS, 0)
    assert rest.counts() == {"create": 2, "configure": 0, "unchanged": 18, "refused": 0}
    async with aclosing(carry_out(deployment, rest.changes, 3)) as turns:
        assert [error async for _, error in turns] == [None, None]
    assert (await store.real.count_apps()).apps == 20
