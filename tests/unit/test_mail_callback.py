"""The example of `docs/callback-types.md`, loaded as a deployment loads it, against a small SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.builders import make_app, make_row

from ringtime_shared.callbacks.plugins import load_callback_types
from ringtime_shared.callbacks.protocol import CallbackType, Delivery
from ringtime_shared.errors import StartupError

DETAILS = {"to": "kim@example.org", "subject": "Order 17"}
SPEC = "mail_callback:MailCallback"


class MailServer:
    """Enough SMTP to take a mail, or to refuse its recipient."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.recipient_answer = b"250 ok\r\n"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(self.recipient_answer if verb == b"RCPT" else b"250 ok\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MailServer]:
    mails = MailServer()
    async with await asyncio.start_server(mails.talk, "127.0.0.1", 0) as listening:
        monkeypatch.setenv("MAIL_HOST", "127.0.0.1")
        monkeypatch.setenv("MAIL_PORT", str(listening.sockets[0].getsockname()[1]))
        yield mails


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs" / "examples"))


def load() -> CallbackType:
    return load_callback_types([SPEC])["mail"]


def delivery() -> Delivery:
    schedule = make_row(make_app(), callback_type="mail", payload="Please pay.").schedule
    return Delivery(schedule=schedule, details=DETAILS, attempt=1, term=1, timeout_ms=5_000)


@pytest.mark.usefixtures("on_path")
async def test_the_payload_arrives_as_a_mail(server: MailServer) -> None:
    sent = delivery()
    assert (await load().invoke(sent)).ok
    [mail] = server.mails
    assert "To: kim@example.org" in mail
    assert "Subject: Order 17" in mail
    assert str(sent.schedule.schedule_id) in mail
    assert "Please pay." in mail


@pytest.mark.parametrize(("answer", "is_final"), [(b"450 busy\r\n", False), (b"550 nobody\r\n", True)])
@pytest.mark.usefixtures("on_path")
async def test_a_refused_recipient(server: MailServer, answer: bytes, is_final: bool) -> None:
    server.recipient_answer = answer
    reply = await load().invoke(delivery())
    assert (reply.ok, reply.is_final) == (False, is_final)
    assert server.mails == []


@pytest.mark.usefixtures("on_path")
async def test_no_mail_server_is_a_failure_of_the_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PORT", "1")
    monkeypatch.setenv("MAIL_HOST", "127.0.0.1")
    kind = load()
    reply = await kind.invoke(delivery())
    assert reply.blames_destination
    assert kind.destination(DETAILS) == "smtp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": "kim"}, "callback.details.to"),
        ({"to": None}, "callback.details.to"),
        ({"to": "kim@example.org\r\nBcc: all@example.org"}, "callback.details.to"),
        ({"subject": "a\r\nBcc: all@example.org"}, "callback.details.subject"),
        ({"subject": "x" * 201}, "callback.details.subject"),
        ({"subject": 7}, "callback.details.subject"),
    ],
)
@pytest.mark.usefixtures("on_path")
def test_what_could_not_be_sent_is_refused_at_creation(changes: dict[str, Any], field: str) -> None:
    kind = load()
    assert kind.validate(DETAILS, "shop") == []
    assert [violation.field for violation in kind.validate(DETAILS | changes, "shop")] == [field]


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["no_such_module:Kind"], "ModuleNotFoundError"),
        (["json:NoSuchClass"], "AttributeError"),
        (["json:loads"], "TypeError"),
        (["collections:OrderedDict"], "must have ringtime's CallbackType as a base"),
        ([SPEC, SPEC], "is the second type named mail"),
    ],
)
@pytest.mark.usefixtures("on_path")
def test_a_type_that_cannot_be_loaded_is_named_at_start(specs: list[str], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        load_callback_types(specs)
