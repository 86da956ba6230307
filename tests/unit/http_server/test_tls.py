"""HTTP over TLS: certificates that change, handshakes that do not end, clients that need a certificate."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.unit.http_server.malformed import HOST
from tests.unit.http_server.raw import PATIENCE_S, RawClient, Site, error_of, serving

from ringtime_local import Authority, TlsFiles
from ringtime_shared import certificates
from ringtime_shared.errors import SettingsError, StartupError
from ringtime_shared.http_server import handshakes, listen
from ringtime_shared.settings import ServerSettings, Settings, check_settings

GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"

Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> TlsFiles:
    return authority.issue("server")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of event loop: they have TLS of their own."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run_on(scenario: Coroutine[object, object, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario)

    return run_on


def of(files: TlsFiles) -> dict[str, Any]:
    """Return a server's settings."""
    return {"cert_file": str(files.cert), "key_file": str(files.key)}


def trusting(files: TlsFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files.ca)


async def secure(site: Site, context: ssl.SSLContext) -> RawClient:
    client = RawClient(*await asyncio.open_connection("127.0.0.1", site.port, ssl=context))
    site._clients.append(client)
    return client


async def silent(site: Site) -> RawClient:
    """A connection whose handshake never begins."""
    return await site.connect()


def name_of(client: RawClient) -> str:
    """Return whose certificate the server showed."""
    shown = client.writer.get_extra_info("ssl_object").getpeercert()
    ((key, name),) = shown["subject"][0]
    assert key == "commonName"
    return str(name)


def test_requests_and_answers(run: Run, files: TlsFiles) -> None:
    async def scenario() -> None:
        async with serving(**of(files)) as site:
            client = await secure(site, trusting(files))
            assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            await client.send(GET, GET + GET)
            assert (await client.read_answers(3)).statuses == [200] * 3
            await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            answers = await client.read_to_end()
            assert [len(body) for body in answers.bodies] == [4, 4, 4, len(site.large)]

            refused = await secure(site, trusting(files))
            await refused.send(POST + b"Content-Length: 99999999\r\n\r\n" + b"x" * 100_000)
            told = await refused.read_to_end()
            assert (told.statuses, error_of(told.bodies[0])["field"]) == ([413], "body")

    run(scenario())


def test_the_oldest_version_is_1_2(files: TlsFiles) -> None:
    async def scenario() -> None:
        for version, is_taken in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
            context = trusting(files)
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
            async with serving(**of(files)) as site:
                if is_taken:
                    client = await secure(site, context)
                    await client.send(GET)
                    assert (await client.read_answers(1)).statuses == [200]
                else:
                    with pytest.raises(OSError):
                        await secure(site, context)

    with pytest.warns(DeprecationWarning, match="TLS"):
        asyncio.run(scenario())


def test_a_certificate_is_replaced_while_it_runs(
    run: Run,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Connections that there are go on; what is broken changes nothing, and is told once."""
    monkeypatch.setattr(certificates, "_LOOK_S", 0.0)
    caplog.set_level(logging.INFO, certificates.__name__)
    one, two = authority.issue("one"), authority.issue("two")
    mine = TlsFiles(authority.ca, tmp_path / "cert.pem", tmp_path / "key.pem")

    def put(cert: Path, key: Path) -> None:
        for source, target in ((cert, mine.cert), (key, mine.key)):
            shutil.copy(source, tmp_path / "new")
            (tmp_path / "new").rename(target)

    async def scenario() -> None:
        put(one.cert, one.key)
        async with serving(**of(mine)) as site:
            first = await secure(site, trusting(mine))
            assert name_of(first) == "one"
            for cert, key in ((two.cert, one.key), (two.key, two.key)):
                put(cert, key)
                for _ in range(3):
                    assert name_of(await secure(site, trusting(mine))) == "one"
            mine.key.unlink()
            assert name_of(await secure(site, trusting(mine))) == "one"
            assert [each.levelname for each in caplog.records] == ["ERROR"] * 3
            put(two.cert, two.key)
            assert name_of(await secure(site, trusting(mine))) == "two"
            await first.send(GET)
            assert (await first.read_answers(1)).statuses == [200]
        assert "do not belong together" in caplog.records[0].message
        assert str(mine.cert) in caplog.records[-1].message

    run(scenario())


def test_handshakes_that_do_not_end_are_cut_off_and_are_in_nobodys_way(
    run: Run, files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with serving(**of(files), max_connections=10, head_deadline_s=0.3) as site:
            known = await secure(site, trusting(files))
            await known.send(GET)
            await known.read_answers(1)
            idle = [await silent(site) for _ in range(40)]
            for number in range(5):  # each takes the place of one that says nothing
                client = await secure(site, trusting(files))
                await client.send(GET)
                assert (await client.read_answers(1)).statuses == [200], number
                client.close()
            await known.send(GET)
            assert (await known.read_answers(2)).statuses == [200, 200]
            for each in idle:
                assert (await each.read_to_end()).statuses == []

    run(scenario())
    assert "more than 10 connections" in caplog.text
    assert "TLS handshake: must end within 0.3 s" in caplog.text


def first_message(files: TlsFiles) -> bytes:
    """Return what a client begins with."""
    out = ssl.MemoryBIO()
    beginning = trusting(files).wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        beginning.do_handshake()
    return out.read()


def test_a_handshake_begins_when_the_first_message_is_whole(
    run: Run, files: TlsFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that begin and go no further are few at any time: the oldest goes for another."""
    monkeypatch.setattr(handshakes, "_MOST_BEGUN", 3)
    message = first_message(files)

    async def scenario() -> None:
        async with serving(**of(files)) as site:
            halves = [await silent(site) for _ in range(20)]
            for each in halves:
                await each.send(message[:1], message[1:4], message[4:-1])
            good = await secure(site, trusting(files))
            await good.send(GET)
            assert (await good.read_answers(1)).statuses == [200]
            for each in halves:
                await each.send(message[-1:])
            begun = await asyncio.gather(*(_is_answered(each) for each in halves))
            assert begun.count(True) >= 3
            last = await secure(site, trusting(files))
            await last.send(GET)
            assert (await last.read_answers(1)).statuses == [200]

    run(scenario())
    counts = re.findall(r"refused (\d+) times, last from 127.0.0.1: TLS handshake: more than 3", caplog.text)
    assert sum(map(int, counts)) == 18


async def _is_answered(client: RawClient) -> bool:
    return bool(await _read(client))


def test_what_is_no_tls_is_no_matter(run: Run, files: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(**of(files)) as site:
            for sent in (GET, b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b""):
                client = await silent(site)
                await client.send(sent)
                if not sent:
                    client.writer.write_eof()
                async with asyncio.timeout(PATIENCE_S):
                    while await _read(client):
                        pass
            good = await secure(site, trusting(files))
            await good.send(GET)
            assert (await good.read_answers(1)).statuses == [200]

    run(scenario())
    assert "TLS handshake: http request" in caplog.text


async def _read(client: RawClient) -> bytes:
    try:
        return await client.reader.read(65_536)
    except ConnectionError:
        return b""


def test_clients_must_have_a_certificate_where_that_is_set(
    run: Run, authority: Authority, files: TlsFiles, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("client")

    async def scenario() -> None:
        async with serving(**of(files), client_ca_file=str(files.ca)) as site:
            client = await secure(site, authority.issue("client").client_context())
            await client.send(GET)
            assert (await client.read_answers(1)).statuses == [200]
            wrong = trusting(files)
            wrong.load_cert_chain(stranger.cert, stranger.key)
            for context in (trusting(files), wrong):
                refused = await secure(site, context)  # in TLS 1.3 a client is told later
                with pytest.raises((OSError, EOFError)):
                    await refused.reader.readexactly(1)
            assert len(site.seen) == 1

    run(scenario())


def test_stopping_ends_handshakes_too(run: Run, files: TlsFiles) -> None:
    async def scenario() -> None:
        async with serving(**of(files)) as site:
            waiting = await secure(site, trusting(files))
            await waiting.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
            idle, half = await secure(site, trusting(files)), await silent(site)
            await site.asked(1)
            site.stop.set()
            assert (await half.read_to_end()).statuses == []
            assert (await idle.read_to_end()).statuses == []
            site.release.set()
            assert (await waiting.read_to_end()).statuses == [200]
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", site.port), timeout=1).close()

    run(scenario())


def test_an_idle_client_that_does_not_close_is_gone_soon(run: Run, files: TlsFiles) -> None:
    async def scenario() -> None:
        async with serving(**of(files), idle_deadline_s=0.2) as site:
            client = await secure(site, trusting(files))
            assert (await client.read_to_end()).statuses == []

    run(scenario())


def test_a_start_without_usable_files_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for changes, words in (
        ({"cert_file": str(tmp_path / "none")}, "No such file"),
        ({"key_file": str(wrong)}, "no usable PEM"),
        ({"client_ca_file": str(wrong)}, "clients of the API"),
    ):
        with pytest.raises(StartupError, match=words):
            listen(ServerSettings(port=0, **of(files) | changes))
    for group in (
        ServerSettings(cert_file="a"),
        ServerSettings(key_file="a"),
        ServerSettings(client_ca_file="a"),
    ):
        with pytest.raises(SettingsError):
            check_settings(Settings(server=group))
