"""Signing secrets over HTTP, on the real service: made once, never shown again, at most two."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any, NamedTuple

import pytest
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.ingest.rig import Client, Reply, http_callback, make_rig, schedule_body

from ringtime_ingest.http import create_app
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.settings import ServerSettings

PATH = "/goscheduler/apps/shop/signing-secrets"
STRANGER = "0123456789abcdef"


class Api(NamedTuple):
    rig: ServiceRig
    client: Client

    async def create(self, body: object = b"", path: str = PATH) -> Reply:
        return await self.client.call("POST", path, body)

    async def made(self, body: object = b"") -> dict[str, Any]:
        reply = await self.create(body)
        assert reply.status == 200, reply.body
        data: dict[str, Any] = reply.json["data"]
        return data

    async def listed(self) -> list[dict[str, str]]:
        reply = await self.client.call("GET", PATH)
        assert reply.json["status"]["totalCount"] == len(reply.json["data"]["signingSecrets"])
        listed: list[dict[str, str]] = reply.json["data"]["signingSecrets"]
        return listed

    async def delete(self, secret_id: str) -> Reply:
        return await self.client.call("DELETE", f"{PATH}/{secret_id}")


@pytest.fixture
async def api() -> Api:
    return await make_api()


async def make_api(settings: ServerSettings | None = None) -> Api:
    rig = await make_service_rig()
    await rig.register("shop")

    async def ready() -> None: ...

    return Api(rig, Client(create_app(rig.service, settings or ServerSettings(), ready)))


def own(size: int = 32, first: int = 0) -> str:
    return "whsec_" + b64encode(bytes(byte % 256 for byte in range(first, first + size))).decode()


async def test_a_secret_is_made_and_shown_once(api: Api) -> None:
    reply = await api.create()
    assert (reply.status, reply.json["status"]["statusCode"]) == (200, 201)
    assert reply.headers["cache-control"] == "no-store"
    made = reply.json["data"]
    assert list(made) == ["secretId", "secret", "createdAt"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    assert len(b64decode(made["secret"][6:], validate=True)) == 32
    assert made["createdAt"] == to_iso(api.rig.clock.now_ms())
    assert await api.listed() == [{"secretId": made["secretId"], "createdAt": made["createdAt"]}]
    app = await api.rig.store.real.fetch_app("shop")
    assert app is not None
    assert [each.secret for each in app.secrets] == [made["secret"]]


async def test_secrets_and_ids_are_random() -> None:
    apis = [await make_api() for _ in range(20)]
    made = [await each.made() for each in apis]
    assert len({each["secret"] for each in made}) == len({each["secretId"] for each in made}) == 20


async def test_status_of_a_create_is_the_setting() -> None:
    api = await make_api(ServerSettings(created_http_status=201))
    assert (await api.create()).status == 201


@pytest.mark.parametrize("body", [b"", {}, {"secret": None}, {"other": 1}])
async def test_without_a_secret_of_ones_own_one_is_made(api: Api, body: object) -> None:
    assert (await api.made(body))["secret"].startswith("whsec_")


@pytest.mark.parametrize("size", [24, 25, 26, 63, 64])
async def test_a_secret_of_ones_own_is_taken_as_it_is(api: Api, size: int) -> None:
    assert (await api.made({"SECRET": own(size)}))["secret"] == own(size)


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("", 400),
        (" ", 400),
        ("whsec_", 400),
        (own(23), 400),
        (own(65), 400),
        (own(50_000 // 2), 400),
        (own()[6:], 400),
        (own().upper(), 400),
        (own().replace("whsec_", "whsk_"), 400),
        (own().replace("whsec_", "WHSEC_"), 400),
        (own().replace("whsec_", "whsec_whsec_"), 400),
        (own().rstrip("="), 400),  # padding is left out
        (own() + "=", 400),
        (own() + "\n", 400),
        (" " + own(), 400),
        (own(24)[:-1] + " ", 400),
        (own(24)[:-1] + "ä", 400),
        (own(24)[:-1] + "４", 400),
        (own(24)[:-1] + "\x00", 400),
        (own(24) + "!!!!", 400),  # a lax decoder skips these
        ("whsec_" + urlsafe_b64encode(b"\xff" * 32).decode(), 400),
        (own(25)[:-3] + "B==", 400),  # another spelling of the same bytes
        (5, 5001),
        (True, 5001),
        ([own()], 5001),
        ({"secret": own()}, 5001),
        ("\ud800", 5001),
    ],
)
async def test_a_bad_secret_is_refused_by_name_and_not_repeated(api: Api, secret: object, code: int) -> None:
    reply = await api.create({"secret": secret})
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, code)
    [error] = reply.json["status"]["errors"]
    assert error["field"] == "secret"
    if code == 400:
        assert "24 to 64 random bytes" in error["rule"]
    if isinstance(secret, str) and len(secret) > 6:
        assert secret[6:].strip().encode() not in reply.body
    assert await api.listed() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "body"),
        (b"null", "body"),
        (b'"whsec_"', "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 5_000, "body"),
        (b'{"secret":1,"SECRET":2}', "SECRET"),
        (b'{"secret":NaN}', "body"),
    ],
)
async def test_a_bad_body_is_refused(api: Api, body: bytes, field: str) -> None:
    reply = await api.create(body)
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 5001)
    assert [each["field"] for each in reply.json["status"]["errors"]] == [field]
    assert await api.listed() == []


async def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    assert (await api.create(b" " * (ServerSettings().max_body_bytes + 1))).status == 413


async def test_a_third_is_refused_until_one_is_deleted(api: Api) -> None:
    older, newer = await api.made(), await api.made()
    assert [each["secretId"] for each in await api.listed()] == [newer["secretId"], older["secretId"]]
    reply = await api.create()
    assert (reply.status, reply.json["status"]["statusCode"]) == (409, 409)
    message = reply.json["status"]["statusMessage"]
    assert "delete one first" in message
    assert older["secretId"] in message
    assert (await api.delete(older["secretId"])).status == 200
    newest = await api.made()
    assert [each["secretId"] for each in await api.listed()] == [newest["secretId"], newer["secretId"]]


async def test_the_same_secret_twice_is_refused_and_told_by_its_id(api: Api) -> None:
    made = await api.made({"secret": own()})
    reply = await api.create({"secret": own()})
    assert reply.status == 409
    assert made["secretId"] in reply.json["status"]["statusMessage"]
    assert own().encode() not in reply.body


async def test_deleting_revokes_and_a_second_time_is_not_found(api: Api) -> None:
    made = await api.made()
    reply = await api.delete(made["secretId"])
    assert (reply.status, reply.json["data"]) == (200, {"secretId": made["secretId"]})
    assert await api.listed() == []
    again = await api.delete(made["secretId"])
    assert (again.status, again.json["status"]["statusCode"]) == (404, 404)
    assert again.json["status"]["errors"][0]["field"] == "secretId"


@pytest.mark.parametrize(
    "secret_id",
    ["x", "0" * 15, "0" * 17, "0123456789ABCDEF", "..", "%00", "a%2fb", "é", own().strip("=")],
)
async def test_an_id_of_another_form_is_refused_and_not_repeated(api: Api, secret_id: str) -> None:
    reply = await api.delete(secret_id)
    if "%2f" in secret_id:  # another path
        assert reply.status == 404
        return
    assert reply.status == 400
    [error] = reply.json["status"]["errors"]
    assert error["field"] == "secretId"
    assert "16 hexadecimal digits" in error["rule"]
    assert len(secret_id) < 3 or secret_id.encode() not in reply.body


@pytest.mark.parametrize(("method", "tail"), [("POST", ""), ("GET", ""), ("DELETE", f"/{STRANGER}")])
@pytest.mark.parametrize(("app_id", "code"), [("nobody", 4001), ("a.b", 400), ("%20", 400), ("a" * 129, 400)])
async def test_a_bad_or_unknown_app_is_refused(
    api: Api, method: str, tail: str, app_id: str, code: int
) -> None:
    reply = await api.client.call(method, f"/goscheduler/apps/{app_id}/signing-secrets{tail}")
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, code)
    assert reply.json["status"]["errors"][0]["field"] == "appId"


async def test_the_secret_of_one_app_is_not_found_under_another(api: Api) -> None:
    made = await api.made()
    await api.rig.register("other")
    reply = await api.client.call("DELETE", f"/goscheduler/apps/other/signing-secrets/{made['secretId']}")
    assert reply.status == 404
    assert len(await api.listed()) == 1


async def test_the_singular_path_is_the_same(api: Api) -> None:
    path = PATH.replace("/apps/", "/app/")
    made = (await api.create(path=path)).json["data"]
    assert [each["secretId"] for each in await api.listed()] == [made["secretId"]]
    assert (await api.client.call("DELETE", f"{path}/{made['secretId']}")).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused(api: Api, method: str) -> None:
    reply = await api.client.call(method, PATH)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_secrets_outlive_changes_of_the_app(api: Api) -> None:
    made = await api.made()
    for target, body in (
        ("/goscheduler/apps", {"appId": "shop", "active": True, "configuration": {"payloadSize": 9}}),
        ("/goscheduler/apps/shop/deactivate", b""),
    ):
        assert (await api.client.call("POST", target, body)).status == 200
    assert [each["secretId"] for each in await api.listed()] == [made["secretId"]]
    assert len(await api.listed()) == 1, "a deactivated app can rotate its secrets too"


async def test_store_trouble_is_503(api: Api) -> None:
    api.rig.store.fail("replace_app", StoreUnavailable("10.0.0.7 is down"))
    reply = await api.create()
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 5004)
    assert await api.listed() == []


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-Id", "webhook-signature", "webhook-timestamp"])
async def test_a_signature_header_cannot_be_chosen_by_a_client(name: str) -> None:
    body = schedule_body(callback=http_callback(headers={name: "x"}))
    reply = await make_rig().client.call("POST", "/goscheduler/schedules", body)
    assert reply.status == 400
    [error] = reply.json["status"]["errors"]
    assert error["field"] == f"callback.details.headers.{name}"
