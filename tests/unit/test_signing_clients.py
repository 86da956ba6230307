"""Signing secrets through the clients, the library and the page for users."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.builders import make_app, make_row
from tests.unit.client_rig import Served, served

from ringtime import Ringtime
from ringtime_client import AsyncRingtimeClient, RingtimeClient, SigningSecretView
from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import Conflict, InvalidRequest, NotFound

DOCS = Path(__file__).parents[2] / "docs" / "signatures.md"
OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRANGER = "0123456789abcdef"

Verb = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(params=["async", "sync"])
async def run(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Verb]:
    """Return what calls a verb of one client, by its name."""
    if request.param == "async":
        async with AsyncRingtimeClient(server.url) as client:
            yield lambda verb, *args, **named: getattr(client, verb)(*args, **named)
    else:
        with RingtimeClient(server.url) as other:
            yield lambda verb, *args, **named: asyncio.to_thread(getattr(other, verb), *args, **named)


@pytest.fixture
async def app_id(run: Verb) -> str:
    name = f"app-{uuid4().hex}"
    await run("register_app", name, partitions=1)
    return name


async def test_secrets_are_created_listed_and_deleted(run: Verb, app_id: str) -> None:
    assert await run("list_signing_secrets", app_id) == []
    first = await run("create_signing_secret", app_id)
    second = await run("create_signing_secret", app_id, secret=OWN)
    assert first.secret.startswith("whsec_")
    assert second.secret == OWN
    assert abs(datetime.now(UTC) - first.created_at) < timedelta(minutes=1)
    shown = [
        SigningSecretView(secret_id=each.secret_id, created_at=each.created_at) for each in (second, first)
    ]
    assert await run("list_signing_secrets", app_id) == shown
    assert await run("delete_signing_secret", app_id, first.secret_id) is None
    assert await run("list_signing_secrets", app_id) == shown[:1]
    assert OWN not in repr(second)


async def test_refusals_come_back_as_errors(run: Verb, app_id: str) -> None:
    with pytest.raises(InvalidRequest, match="secret: must be whsec_") as told:
        await run("create_signing_secret", app_id, secret=OWN[:-1])
    assert OWN[6:-1] not in str(told.value)
    with pytest.raises(NotFound, match=f"signing secret {STRANGER}"):
        await run("delete_signing_secret", app_id, STRANGER)
    await run("create_signing_secret", app_id)
    await run("create_signing_secret", app_id)
    with pytest.raises(Conflict, match="delete one first"):
        await run("create_signing_secret", app_id)


async def test_an_unknown_app_is_not_found(run: Verb) -> None:
    for verb, *args in (
        ("create_signing_secret",),
        ("list_signing_secrets",),
        ("delete_signing_secret", STRANGER),
    ):
        with pytest.raises(NotFound, match="app nobody"):
            await run(verb, "nobody", *args)


@pytest.mark.parametrize("secret_id", ["", ".", "..", "../activate", "a/b", OWN])
async def test_an_id_that_would_change_the_path_is_not_sent(run: Verb, app_id: str, secret_id: str) -> None:
    with pytest.raises(InvalidRequest, match="secretId: must be 16") as told:
        await run("delete_signing_secret", app_id, secret_id)
    assert OWN not in str(told.value)


async def test_the_library_has_the_same_verbs() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=1)
        made = await ringtime.create_signing_secret("shop", secret=OWN)
        assert made.secret == OWN
        assert OWN not in repr(made)
        assert await ringtime.list_signing_secrets("shop") == [made]
        with pytest.raises(InvalidRequest, match="24 to 64"):
            await ringtime.create_signing_secret("shop", secret="")
        await ringtime.delete_signing_secret("shop", made.secret_id)
        assert await ringtime.list_signing_secrets("shop") == []
        with pytest.raises(NotFound):
            await ringtime.delete_signing_secret("shop", made.secret_id)


def test_examples_of_the_page_run(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS.read_text()
    verify, by_library, replace_one = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    secrets = set(re.findall(r"whsec_[A-Za-z0-9+/=]{10,}", page))
    assert len(secrets) == 1, "the one that the page creates is the one that it verifies with"

    names: dict[str, Any] = {}
    others: dict[str, Any] = {}
    exec(compile(verify, str(DOCS), "exec"), names)
    exec(compile(by_library, str(DOCS), "exec"), others)
    delivery = Delivery(
        schedule=make_row(make_app()).schedule,
        details={},
        attempt=1,
        term=1,
        timeout_ms=1_000,
        secrets=tuple(secrets),
    )
    headers = signature_headers(delivery, "{}", SystemClock().now_ms() // 1_000)
    assert names["receive"](b"{}", headers) == names["receive"](b"{}", headers) == 204
    assert names["acted_on"] == {str(delivery.schedule.schedule_id)}
    assert names["receive"](b"{ }", headers) == 401
    is_genuine = others["is_genuine"]
    assert is_genuine(b"{}", headers)
    assert not is_genuine(b"{ }", headers)
    for body, changes in (
        (b"\xff", {}),
        (b"{}", {"webhook-signature": "v1"}),
        (b"{}", {"webhook-signature": "v1,x"}),
        (b"{}", {"webhook-timestamp": "x"}),
        (b"{}", {"webhook-id": ""}),
    ):
        assert not is_genuine(body, headers | changes)
        assert names["receive"](body, headers | changes) == 401

    with RingtimeClient(server.url) as client:
        client.register_app("shop", partitions=1)
        old = client.create_signing_secret("shop")
        exec(compile(replace_one.replace("http://127.0.0.1:8080", server.url), str(DOCS), "exec"), {})
        [live] = client.list_signing_secrets("shop")
    assert live.secret_id != old.secret_id
    assert live.secret_id in capsys.readouterr().out
