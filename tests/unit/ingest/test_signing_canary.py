"""A secret that everything is searched for: it is in the answer to its create, and nowhere else."""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import asdict

import pytest
from tests.contract.builders import make_row
from tests.unit.ingest.commit_rig import make_service_rig
from tests.unit.ingest.rig import Client

from ringtime_ingest.http import create_app
from ringtime_shared.api.apps import app_to_json
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import ServerSettings

CANARY = b64encode(b"canary-canary-canary-canary-0123").decode()
SECRET = f"whsec_{CANARY}"
APPS = "/goscheduler/apps"
PATH = f"{APPS}/shop/signing-secrets"


async def test_the_secret_is_in_no_answer_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig = await make_service_rig()
    await rig.register("shop")

    async def ready() -> None: ...

    client = Client(create_app(rig.service, ServerSettings(), ready))
    made = await client.call("POST", PATH, {"secret": SECRET})
    assert made.body.count(CANARY.encode()) == 1

    requests: list[tuple[str, str, object]] = [
        ("GET", PATH, b""),
        ("POST", PATH, {"secret": SECRET}),
        ("POST", PATH, {"secret": SECRET + "="}),
        ("POST", PATH, {"secret": CANARY}),
        ("POST", PATH, {"secret": [SECRET]}),
        ("POST", PATH, f'{{"secret":"{SECRET}"'.encode()),
        ("POST", PATH, f'"{SECRET}"'.encode()),
        ("POST", PATH, SECRET.encode()),
        ("PUT", PATH, {"secret": SECRET}),
        ("POST", f"{APPS}/nobody/signing-secrets", {"secret": SECRET}),
        ("DELETE", f"{PATH}/{SECRET}", b""),
        ("DELETE", f"{PATH}/{'0' * 16}", b""),
        ("GET", APPS, b""),
        ("GET", f"{APPS}?app_id=shop", b""),
        ("POST", f"{APPS}/shop/deactivate", b""),
        ("POST", f"{APPS}/shop/activate", b""),
        ("POST", f"{APPS}/shop/activate", b""),
        ("POST", APPS, {"appId": "shop", "active": True}),
        ("POST", APPS, {"appId": "shop", "partitions": 7}),
        ("GET", "/openapi.json", b""),
        ("GET", "/docs", b""),
    ]
    bodies = [(await client.call(method, target, body)).body for method, target, body in requests]
    for error in (StoreUnavailable("away"), OutcomeUnknown("silent"), RuntimeError("a bug")):
        rig.store.fail("replace_app", error)
        bodies.append((await client.call("POST", PATH, {"secret": SECRET[:-4] + "AAA="})).body)
    assert [body for body in bodies if CANARY[:-4].encode() in body] == []

    app = await rig.store.real.fetch_app("shop")
    assert app is not None
    assert SECRET in str(asdict(app)), "it is there to be found"
    secrets = tuple(each.secret for each in app.secrets)
    delivery = Delivery(
        schedule=make_row(app).schedule, details={}, attempt=1, term=1, timeout_ms=1, secrets=secrets
    )
    shown = [repr(app), repr(app.secrets), f"{delivery}", repr(app_to_json(app))]
    assert [text for text in shown if CANARY in text] == []
    assert "a bug" in caplog.text, "logs are watched"
    assert CANARY[:-4] not in caplog.text
