"""Pinned clients: how long they live, how many are kept, and what TLS still checks."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.unit.dispatcher.http_rig import OPEN, answering, call, calling, serving

from ringtime_dispatcher.callbacks import http_clients
from ringtime_dispatcher.callbacks.http_clients import PinnedClients
from ringtime_shared.callbacks.address_rules import parse_address
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.callbacks.targets import parse_target

HOST = "callback.test"
NAMES = {HOST: ["127.0.0.2"]}
KEEP_S = 0.15


async def test_no_connection_is_used_past_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_clients, "_KEEP_S", KEEP_S)
    async with serving() as site, calling(NAMES) as http:
        for connections in (1, 1, 2):
            assert (await call(http, site.url(HOST))).ok
            assert site.connections == connections
            if len(site.requests) == 2:
                await asyncio.sleep(KEEP_S)
        await site.until_live(1)  # the old one was closed


async def test_a_request_in_flight_outlives_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_clients, "_KEEP_S", KEEP_S)
    async with serving(answering(after_s=3 * KEEP_S)) as site, calling(NAMES) as http:
        slow = asyncio.create_task(call(http, site.url(HOST)))
        await asyncio.sleep(2 * KEEP_S)
        assert (await call(http, site.url(HOST))).ok
        assert (await slow).ok
        assert site.connections == 2


async def test_the_oldest_client_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_clients, "_MOST_KEPT", 2)
    names = {f"{n}.test": ["127.0.0.2"] for n in range(3)}
    async with serving() as site, calling(names) as http:
        for number in (0, 1, 2, 1, 2):
            assert (await call(http, site.url(f"{number}.test"))).ok
        await site.until_live(2)
        assert site.connections == 3


async def test_clients_for_tls_that_are_asked_for_together_are_made_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builds = 0
    build = PinnedClients._build

    def count(*args: object, **options: object) -> object:
        nonlocal builds
        builds += 1
        return build(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(PinnedClients, "_build", count)
    clients = PinnedClients(max_connections=10)
    until_s = asyncio.get_running_loop().time() + 5

    async def fetch(number: int, address: str) -> object:
        target, parsed = parse_target(f"https://{number}.test/"), parse_address(address)
        assert target is not None
        assert parsed is not None
        return await clients.fetch(target, parsed, until_s=until_s)

    waiting = [asyncio.create_task(fetch(n, "127.0.0.2")) for n in range(100) for _ in range(2)]
    await asyncio.sleep(0)
    other = asyncio.create_task(fetch(1, "127.0.0.3"))
    waiting.pop(0).cancel()
    found = await asyncio.gather(*waiting)
    assert builds <= 3
    assert found[-1] is await fetch(99, "127.0.0.2")
    assert await other is not await fetch(1, "127.0.0.2"), "one client has one address for a host"
    await clients.close()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context for callback.test, whose certificate this process trusts as root."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "OPENSSL_CONF": "/dev/null"},
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_tls_names_and_checks_the_host_and_not_the_address(tls: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    names = {HOST: ["127.0.0.2"], "other.test": ["127.0.0.2"]}
    async with serving(tls=tls) as site, calling(names) as http:
        assert await call(http, site.url(HOST, scheme="https")) == Reply(ok=True, code=200)
        assert f"Host: {HOST}:{site.port}".encode() in site.requests[0]
        refused = await call(http, site.url("other.test", scheme="https"))
        assert refused == Reply(ok=False, error="could not connect")
        assert (asked, len(site.requests)) == ([HOST, "other.test"], 1)


async def test_a_server_that_does_not_speak_tls_holds_nothing_up() -> None:
    async with serving() as site, calling(NAMES, settings=OPEN) as http:
        reply = await call(http, site.url(HOST, scheme="https"), timeout_ms=300)
        assert not reply.ok
        assert not reply.is_final
