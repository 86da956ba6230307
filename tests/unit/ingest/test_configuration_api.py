"""The configuration of an app over HTTP and in the clients: shown, set, changed in parts, cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.client_rig import Served, served
from tests.unit.ingest.rig import Reply, Rig, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import assert_refused

from ringtime import Ringtime
from ringtime_client import AppConfiguration, AsyncRingtimeClient, RetryRules, RingtimeClient
from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.settings import CallbackSettings

PATH = "/goscheduler/apps/test/configuration"
SET = {"httpTimeout": 900, "httpRetries": 4, "retryPolicy": {"maxDelayMs": 60_000}}


@pytest.fixture
def rig() -> Rig:
    return make_rig()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


async def call(rig: Rig, method: str, body: object = b"") -> Reply:
    return await rig.client.call(method, PATH, body)


async def shown(rig: Rig) -> dict[str, Any]:
    """Return what is set, as the route shows it and as the app does."""
    reply = await call(rig, "GET")
    assert (reply.status, reply.json["data"]["appId"]) == (200, "test")
    configuration: dict[str, Any] = reply.json["data"]["configuration"]
    apps = await rig.client.call("GET", "/goscheduler/apps?app_id=test")
    assert apps.json["data"]["apps"][0]["configuration"] == configuration
    return configuration


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_what_is_left_out_is_left_to_the_server(rig: Rig, method: str) -> None:
    assert (await call(rig, method, SET)).status == 200
    assert (await shown(rig))["httpTimeout"] == 900
    reply = await call(rig, method, {"payloadSize": 2_000})
    assert (reply.status, reply.json["status"]["statusCode"]) == (200, 201)
    assert reply.json["data"] == {"appId": "test", "configuration": {"payloadSize": 2_000}}
    assert await shown(rig) == {"payloadSize": 2_000}


async def test_a_change_in_parts_leaves_the_rest(rig: Rig) -> None:
    await call(rig, "PUT", SET)
    given = {"httpTimeout": 700, "httpRetries": 0, "payloadSize": None, "retryPolicy": {"firstDelayMs": 50}}
    assert (await call(rig, "PATCH", given)).status == 200
    assert await shown(rig) == {
        "httpRetries": 4,
        "httpTimeout": 700,
        "retryPolicy": {"attempts": 4, "firstDelayMs": 50, "maxDelayMs": 60_000},
    }


async def test_clearing_leaves_everything_to_the_server(rig: Rig) -> None:
    await call(rig, "PUT", SET)
    for _ in range(2):
        reply = await call(rig, "DELETE")
        assert reply.json["data"] == {"appId": "test", "configuration": {}}
    assert await shown(rig) == {}


async def test_what_is_set_is_in_force_and_the_state_stays(rig: Rig) -> None:
    await call(rig, "PUT", {"payloadSize": 10})
    reply = await rig.client.call("POST", "/goscheduler/schedules", schedule_body(payload="x" * 11))
    assert_refused(reply, "payload")
    await rig.client.call("POST", "/goscheduler/apps/test/deactivate")
    await call(rig, "PATCH", {"payloadSize": 20})
    apps = await rig.client.call("GET", "/goscheduler/apps?app_id=test")
    assert apps.json["data"]["apps"][0]["active"] is False


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"httpTimeout": -1}, "httpTimeout"),
        ({"httpTimeout": 10**9}, "httpTimeout"),
        ({"payloadSize": "1"}, "payloadSize"),
        ({"retryPolicy": 7}, "retryPolicy"),
        ({"retryPolicy": {"maxDelayMs": "soon"}}, "retryPolicy.maxDelayMs"),
        ({"httpRetries": 2, "retryPolicy": {"attempts": 3}}, "httpRetries"),
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
    ],
)
async def test_what_cannot_be_set_is_refused_by_name(rig: Rig, method: str, body: Any, field: str) -> None:
    await call(rig, "PUT", SET)
    before = await shown(rig)
    assert_refused(await call(rig, method, body), field)
    assert await shown(rig) == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_an_unknown_app(rig: Rig, method: str) -> None:
    body = b"" if method in ("GET", "DELETE") else {"payloadSize": 1}
    reply = await rig.client.call(method, "/goscheduler/apps/nobody/configuration", body)
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 4001)


async def test_clients_and_library(server: Served) -> None:
    wanted = AppConfiguration(http_attempts=3, retry=RetryRules(max_delay_ms=9_000))
    async with AsyncRingtimeClient(server.url) as client, Ringtime() as ringtime:
        await client.register_app("one", partitions=1)
        assert await client.configure_app("one", configuration=wanted) == wanted
        assert (await client.get_app("one")).configuration == wanted
        with RingtimeClient(server.url) as other:
            cleared = await asyncio.to_thread(other.configure_app, "one", configuration=AppConfiguration())
        assert cleared == AppConfiguration()
        with pytest.raises(NotFound):
            await client.configure_app("nobody", configuration=wanted)
        with pytest.raises(InvalidRequest):
            await client.configure_app("one", configuration=AppConfiguration(payload_bytes=10**12))
        await ringtime.register_app("two", partitions=1)
        assert (await ringtime.configure_app("two", configuration=wanted)).configuration == wanted


async def test_a_tls_profile_must_be_there_and_open_to_the_app(rig: Rig) -> None:
    profiles = CallbackSettings(
        tls_profiles=("test=/a", "bank=/b", "shared=/c"), tls_grants=("*={app}", "*=s*")
    )
    rig.service._profiles = TlsProfiles(profiles)
    for name in ("test", "shared"):
        assert (await call(rig, "PATCH", {"tlsProfile": name})).status == 200
        assert (await shown(rig))["tlsProfile"] == name
    for name in ("bank", "some-other", "/etc/passwd", "a" * 65):
        reply = await call(rig, "PATCH", {"tlsProfile": name})
        assert_refused(reply, "tlsProfile")
        new = {"appId": "other", "configuration": {"tlsProfile": name}}
        assert (await rig.client.call("POST", "/goscheduler/apps", new)).status == 400
    rig.service._profiles = TlsProfiles(CallbackSettings())
    for body in ({"tlsProfile": "shared", "httpTimeout": 5}, {"httpTimeout": 6}, {"tlsProfile": ""}):
        assert (await call(rig, "PATCH", body)).status == 200  # what it was is no matter of this change
