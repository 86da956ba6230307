"""Secrets that everything is searched for: what is delivered has them, and nothing else that Ringtime shows,
logs, answers or stores, in whatever spelling."""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from click.testing import CliRunner
from tests.harness.collector import Collector, collecting
from tests.unit.ingest.rig import Client
from tests.unit.signed_receiver import Receiver, receiving, verify

from ringtime.runtime import Runtime, run
from ringtime.serve import make_http_app
from ringtime_ringctl.main import main
from ringtime_shared.access.checks import KeyChecks
from ringtime_shared.access.grants import Scope
from ringtime_shared.access.keys import issue_key
from ringtime_shared.settings import (
    CassandraSettings,
    CoordinationSettings,
    DispatchSettings,
    EmbeddedSettings,
    IngestSettings,
    RetrySettings,
    SecretSettings,
    ServerSettings,
    Settings,
    TracingSettings,
)

BASE = "/goscheduler"
LATER_S = int(time.time()) + 86_400
WORD = "kanarie"  #: every secret begins with it
REDACTED = "robin-4111"  #: a field that is hidden from those who look, and stored as it is
KEY = b64encode(f"{WORD}-key-0123456789-key-0123456789"[:32].encode()).decode()


def canary(name: str) -> str:
    return f"{WORD}7{name}+/=&"


def spellings() -> list[bytes]:
    """Return the word raw, in hexadecimal, escaped for a URL, and as base64 has it at each of 3 places."""
    word = f"{WORD}7".encode()
    found = [word, word.hex().encode(), word.hex().upper().encode(), quote(word, safe="").encode()]
    for skipped in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            text = encode(b"\0" * skipped + word)
            found.append(text[(8 * skipped + 5) // 6 : len(text) // 4 * 4 - 4])
    return list(dict.fromkeys(found))


def settings_of(folder: Path, collector: str) -> Settings:
    return Settings(
        tracing=TracingSettings(enabled=True, share=1.0, endpoint=collector),
        ingest=IngestSettings(commit_margin_ms=50),
        dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=40, apps_refresh_ms=50),
        retry=RetrySettings(first_delay_ms=1),
        embedded=EmbeddedSettings(data=str(folder)),
        secrets=SecretSettings(keys=(f"k1:{KEY}",)),
        cassandra=CassandraSettings(username="u", password=canary("cassandra")),
        coordination=CoordinationSettings(username="u", password=canary("etcd")),
    )


def callback_to(receiver: Receiver, name: str) -> dict[str, Any]:
    details = {
        "url": f"{receiver.url}?token={quote(canary(name + '-query'))}&page=2",
        "method": "POST",
        "headers": {"Authorization": f"Bearer {canary(name + '-plain')}", "X-Kind": "a"},
        "secretHeaders": {"X-Vault": canary(name + "-secret")},
    }
    return {"type": "http", "details": details}


class Bearer(Client):
    """Calls with an API key."""

    def __init__(self, app: Any, key: str) -> None:
        super().__init__(app)
        self._key = key

    async def call(self, method: str, target: str, body: object = b"", **others: Any) -> Any:
        headers = [("Authorization", f"Bearer {self._key}")]
        return await super().call(method, target, body, headers=headers, **others)


async def until_ended(client: Client, schedule_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            shown = (await client.call("GET", f"{BASE}/schedules/{schedule_id}")).json["data"]["schedule"]
            if shown["status"] != "SCHEDULED":
                return dict(shown)
            await asyncio.sleep(0.01)


async def told(receiver: Receiver) -> None:
    """Wait until the hook has come, which tells of the failure."""
    async with asyncio.timeout(60):
        while not any("ringtime-hook" in headers for headers, _ in receiver.got):
            receiver.arrived.clear()
            await receiver.arrived.wait()


async def plant(client: Client, good: Receiver, bad: Receiver) -> tuple[list[bytes], list[str]]:
    """Put a secret wherever one can be; return all answers, and the ids of schedules that ended."""
    bodies: list[bytes] = []

    async def call(method: str, path: str, body: object = b"") -> Any:
        answer = await client.call(method, f"{BASE}{path}", body)
        bodies.append(answer.body)
        assert answer.status < 500, answer.body
        return answer.json

    hooks = {"onFailure": callback_to(good, "app-hook"), "includePayload": True}
    configuration = {"encryptPayloads": True, "httpRetries": 1, "hooks": hooks}
    await call("POST", "/apps", {"appId": "vault", "active": True, "configuration": configuration})
    await call("PATCH", "/apps/vault/configuration", {"weight": 2})
    secret = f"whsec_{b64encode(canary('signing-secret-of-24-bytes').encode()).decode()}"
    made = await client.call("POST", f"{BASE}/apps/vault/signing-secrets", {"secret": secret})
    assert made.json["data"]["secret"] == secret, "the one answer that has it"
    redacted = {"redactedFields": ["card.number"]}
    await call("POST", "/apps", {"appId": "shown", "active": True, "configuration": redacted})

    payload = orjson.dumps({"card": {"number": canary("payload")}, "kind": "b"}).decode()
    new = {"appId": "vault", "payload": payload, "scheduleTime": LATER_S}
    ids = []
    for at, receiver in (("good", good), ("bad", bad)):
        body = new | {"callback": callback_to(receiver, at), "scheduleTime": None, "delaySeconds": 0}
        ids.append((await call("POST", "/schedules", body))["data"]["schedule"]["scheduleId"])
    hidden = orjson.dumps({"card": {"number": REDACTED}, "kind": "b"}).decode()
    shown = new | {"payload": hidden, "appId": "shown", "callback": callback_to(good, "later")}
    later = (await call("POST", "/schedules", shown))["data"]["schedule"]
    assert orjson.loads(later["payload"])["card"]["number"].startswith("REDACTED:")
    await call("PATCH", f"/schedules/{later['scheduleId']}", {"labels": {"a": "b"}})
    await call("POST", "/schedules/batch", {"schedules": [shown, shown | {"payload": 7}]})
    named = {"payload": payload, "callback": callback_to(good, "named"), "scheduleTime": LATER_S}
    assert (await call("PUT", "/apps/vault/schedules/nightly", named))["data"]["created"] is True
    assert (await call("PUT", "/apps/vault/schedules/nightly", named))["data"]["created"] is False
    cron = {"payload": payload, "callback": callback_to(good, "cron"), "cronExpression": "0 4 * * *"}
    cron["timeZone"] = "UTC"
    before = await call("PUT", "/apps/vault/recurring/report", cron)
    again = await call("PUT", "/apps/vault/recurring/report", cron)
    assert again["data"]["revision"] == before["data"]["revision"], "nothing would change"
    await call("PATCH", "/apps/vault/recurring/report", {"misfirePolicy": "skip"})
    run = (await call("POST", "/apps/vault/recurring/report/trigger"))["data"]["schedule"]["scheduleId"]

    for broken in (
        {"secretHeaders": {"X Vault": canary("wrong")}},
        {"secretHeaders": {"X-Vault": [canary("wrong")]}},
        {"secretHeaders": {"X-Vault": f"{canary('wrong')}\n"}},
        {"secretHeaders": {"X-Vault": "***"}},
        {"secretHeaders": canary("wrong")},
        {"headers": {"x-vault": "a"}},
        {"ringtimeCiphertext": canary("wrong")},
    ):
        callback = callback_to(good, "wrong")
        callback["details"] |= broken
        answer = await client.call("POST", f"{BASE}/schedules", new | {"callback": callback})
        assert answer.status == 400, answer.body
        bodies.append(answer.body)
    bodies.append((await client.call("POST", f"{BASE}/schedules", canary("no-json").encode())).body)

    ids.append(run)
    ended = [(await until_ended(client, each))["status"] for each in ids]
    assert ended == ["SUCCESS", "FAILURE", "SUCCESS"]
    for path in (
        *(f"/schedules/{each}" for each in ids),
        "/apps",
        "/apps/vault/signing-secrets",
        "/apps/vault/schedules?start_time=1&end_time=2000",
        "/apps/shown/schedules/nobody",
        "/apps/vault/schedules/nightly",
        "/apps/vault/recurring",
        "/apps/vault/recurring/report/runs",
        "/crons/schedules?app_id=vault",
        "/apps/vault/audit",
        "/audit",
        "/apps/vault/dead-letters",
        f"/apps/vault/schedules?start_time={LATER_S - 1_000}&end_time={LATER_S + 1}",
        f"/apps/shown/schedules?start_time={LATER_S - 1_000}&end_time={LATER_S + 1}",
        "/metrics",
    ):
        await call("GET", path)
    return bodies, ids


def ringctl(folder: Path, ids: list[str]) -> bytes:
    commands = [
        ["apps", "list"],
        ["apps", "show", "vault"],
        ["schedules", "list", "vault"],
        ["schedules", "get", ids[0]],
        ["recurring", "repair", "vault"],
        ["deadletters", "list", "vault"],
        ["explain", ids[1]],
        ["audit", "list"],
        ["keys", "list"],
        ["doctor"],
        ["secrets", "status"],
    ]
    environ = {"RINGTIME_SECRETS_KEYS": f"k1:{KEY}", "RINGTIME_CASSANDRA_PASSWORD": canary("cassandra")}
    environ |= {"RINGTIME_CASSANDRA_USERNAME": "u"}
    shown = b""
    for command in commands:
        for as_json in ([], ["--json"]):
            found = CliRunner().invoke(main, ["--data", str(folder), *as_json, "-v", *command], env=environ)
            assert found.exit_code == 0, (command, found.output)
            shown += found.output.encode()
    return shown


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.mark.slow
async def test_secrets_are_delivered_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, collector: Collector
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings_of(tmp_path / "data", collector.url)
    runtime: Runtime
    async with receiving() as good, receiving() as bad, run(settings, callbacks={}) as runtime:
        bad.status = 500
        keys = KeyChecks(runtime.store, runtime.clock)
        key, _ = await issue_key(runtime.store, list(Scope), None, label="all", now_ms=runtime.clock.now_ms())
        client = Bearer(make_http_app(runtime, ServerSettings(), keys), key)
        bodies, ids = await plant(client, good, bad)
        await told(good)
        shown = await asyncio.to_thread(ringctl, tmp_path / "data", ids)
        await keys.close()
        dump = b"".join(path.read_bytes() for path in sorted((tmp_path / "data").iterdir()))
    dump += b"".join(path.read_bytes() for path in sorted((tmp_path / "data").iterdir()))

    [(headers, body), *_] = good.got
    assert headers["x-vault"] == canary("good-secret")
    assert headers["authorization"] == f"Bearer {canary('good-plain')}"
    assert orjson.loads(body)["card"]["number"] == canary("payload")
    secret = f"whsec_{b64encode(canary('signing-secret-of-24-bytes').encode()).decode()}"
    [(hook, hook_body)] = [each for each in good.got if each[0].get("ringtime-hook") == "onFailure"]
    verify([secret], hook, hook_body)
    assert hook["x-vault"] == canary("app-hook-secret")
    assert canary("payload") in orjson.loads(orjson.loads(hook_body)["schedule"]["payload"])["card"]["number"]

    assert b"rt1.k1." in dump, "there is something to be found"
    assert {each.span.name for each in collector.spans} == {"ringtime.create", "ringtime.fire"}
    searched = {
        "answers": b"\n".join(bodies),
        "ringctl": shown,
        "logs": caplog.text.encode(),
        "spans": b"".join(each.body for each in collector.heard),
        "store": dump,
        "repr": f"{settings!r} {replace(settings)}".encode(),
    }
    assert {place for place, text in searched.items() for each in spellings() if each in text} == set()
    assert {place for place, text in searched.items() if REDACTED.encode() in text} == {"store"}
    texts = b"".join(searched.values())
    _, key_id, secret = key.split("_", 2)
    assert (key_id.encode() in texts, secret[:20].encode() in texts) == (True, False), "the API key"
    assert KEY.encode() not in b"".join(searched.values())
