"""The reference is true: every route is in it, and answers have exactly the keys it names."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
from starlette.routing import Route
from tests.unit.ingest.rig import NOW_MS, Client, Rig, make_rig, schedule_body

from ringtime_ingest.http import create_app
from ringtime_ingest.http.gate import Gate
from ringtime_shared.access import Scope
from ringtime_shared.models.app import SigningSecret
from ringtime_shared.settings import ServerSettings

Node = dict[str, Any]
LISTED = "0123456789abcdef"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


UNDESCRIBED = (  #: no API, or text
    *("/docs", "/openapi.json", "/metrics", "/.well-known/security.txt"),
    *(f"/goscheduler/{word}/{{app_id}}/metrics" for word in ("apps", "app")),
)


async def _document(rig: Rig) -> Node:
    reply = await rig.client.call("GET", "/openapi.json")
    document: Node = reply.json
    assert (reply.status, document["openapi"]) == (200, "3.1.0")
    return document


def _check(schema: Node, value: Any, document: Node, path: str = "") -> None:
    """Hold a value against the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        assert set(schema["required"]) <= value.keys() <= schema["properties"].keys(), path
        for key, item in value.items():
            _check(schema["properties"][key], item, document, f"{path}.{key}")
    if "items" in schema:
        for item in value:
            _check(schema["items"], item, document, f"{path}[]")
    if "const" in schema:
        assert value == schema["const"], path
    if "enum" in schema:
        assert value in schema["enum"], path
    if schema.get("type") == "integer":
        assert type(value) is int, path
    if schema.get("type") == "string":
        assert type(value) is str, path


async def test_every_route_is_described(rig: Rig) -> None:
    document = await _document(rig)
    app = rig.client.app
    assert isinstance(app, Gate)
    served = {
        (re.sub(r"_(\w)", lambda found: found[1].upper(), route.path), method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path not in UNDESCRIBED
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(path, method) for path, verbs in document["paths"].items() for method in verbs}
    assert described == served


async def test_references_and_operation_ids_are_sound(rig: Rig) -> None:
    document = await _document(rig)
    text = (await rig.client.call("GET", "/openapi.json")).body.decode()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= document["components"]["schemas"].keys()
    ids = [verb["operationId"] for verbs in document["paths"].values() for verb in verbs.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("delete", "/goscheduler/apps/test", None),
        ("post", "/goscheduler/schedules", schedule_body()),
        ("post", "/goscheduler/schedule", schedule_body()),
        ("post", "/goscheduler/schedules", {}),
        ("post", "/goscheduler/apps", {"appId": "new", "configuration": {"payloadSize": 5}}),
        ("get", "/goscheduler/app", b""),
        ("post", "/goscheduler/apps/test/signing-secrets", b""),
        ("get", "/goscheduler/app/test/signing-secrets", b""),
        ("post", "/goscheduler/apps/test/signing-secrets", {"kind": "ed25519"}),
        ("get", "/goscheduler/apps/test/signing-keys", b""),
        ("delete", f"/goscheduler/apps/test/signing-secrets/{LISTED}", b""),
        ("delete", "/goscheduler/apps/test/signing-secrets/x", b""),
        ("get", "/goscheduler/healthcheck", b""),
        ("get", "/health/ready", b""),
        ("get", "/", b""),
        ("get", "/info", b""),
        ("get", "/goscheduler", b""),
    ],
)
async def test_answers_are_as_described(rig: Rig, method: str, path: str, body: object) -> None:
    document = await _document(rig)
    secret = SigningSecret(secret_id=LISTED, secret="", created_ms=0)
    rig.apps["test"] = replace(rig.apps["test"], secrets=(secret,))
    reply = await rig.client.call(method.upper(), path, body)
    template = re.sub("(?<=/signing-secrets/).+", "{secretId}", re.sub("/test(?=/|$)", "/{appId}", path))
    described = document["paths"][template][method]["responses"][str(reply.status)]
    _check(described["content"]["application/json"]["schema"], reply.json, document)


async def test_a_test_clock_is_described_where_there_is_one(rig: Rig) -> None:
    class Clock:
        async def advance(self, by_ms: int, limit_s: float) -> bool:
            rig.clock.advance(by_ms)
            return limit_s == 60

        def now_ms(self) -> int:
            return rig.clock.now_ms()

    assert not any("clock" in path for path in (await _document(rig))["paths"])
    assert (await rig.client.call("POST", "/clock/advance", {"seconds": 1})).status == 404
    stepped = replace(
        rig, client=Client(create_app(rig.service, ServerSettings(), rig.store.check_ready, Clock()))
    )
    document = await _document(stepped)
    for method, path, body in (
        ("get", "/clock", b""),
        ("post", "/clock/advance", {"seconds": 1.5}),
        ("post", "/clock/advance", {"seconds": -1}),
        ("post", "/clock/advance", {}),
        ("post", "/clock/advance", b'{"seconds": 1E+99999999}'),
        ("get", "/health/ready", b""),
    ):
        reply = await stepped.client.call(method.upper(), path, body)
        described = document["paths"][path][method]["responses"][str(reply.status)]
        _check(described["content"]["application/json"]["schema"], reply.json, document)
    assert rig.clock.now_ms() == NOW_MS + 500


async def test_the_front_names_what_is_here(rig: Rig) -> None:
    shown = (await rig.client.call("GET", "/")).json["data"]
    told = (await rig.client.call("GET", "/goscheduler")).json["data"]
    assert told.pop("caller") == {"who": "anybody", "scopes": [each.value for each in Scope]}
    assert shown == told
    for name in ("api", "docs", "openapi", "health"):
        assert (await rig.client.call("GET", shown[name])).status == 200


async def test_info_tells_which_release_this_is(rig: Rig) -> None:
    told = (await rig.client.call("GET", "/info")).json["data"]
    assert told == {
        "name": "Ringtime",
        "version": version("ringtime"),
        "python": platform.python_version(),
        "clock": "machine",
        "keys": "off",
    }


async def test_examples_are_accepted(rig: Rig) -> None:
    document = await _document(rig)
    rig.apps.pop("test")
    for path in ("/goscheduler/apps", "/goscheduler/schedules", "/goscheduler/schedule"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert (await rig.client.call("POST", path, body)).status == 200


async def test_docs_page_needs_nothing_from_elsewhere(rig: Rig) -> None:
    reply = await rig.client.call("GET", "/docs")
    page = reply.body.decode()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script|<link|<img|@import|url\(", page)
    assert set(re.findall(r'(?:href|src)="([^#"]*)"', page)) - {""} == {"/openapi.json"}
    anchors = set(re.findall(r'id="(\w+)"', page))
    assert set(re.findall(r'href="#(\w+)"', page)) <= anchors
    for path in (await _document(rig))["paths"]:
        assert f"<code>{path}</code>" in page
