"""Connections: how long they are used, how many there are, which address they go to, what TLS checks."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.unit.dispatcher.http_rig import BOTH, OPEN, Site, answering, call, calling, sending, serving

from ringtime_dispatcher.callbacks.http import connections as http_connections
from ringtime_shared.callbacks.address_rules import Address
from ringtime_shared.callbacks.protocol import Reply

HOST = "callback.test"
NAMES = {HOST: ["127.0.0.2"]}
KEEP_S = 0.15
OK = Reply(ok=True, code=200)


async def test_no_connection_is_used_past_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "KEEP_S", KEEP_S)
    async with serving() as site, calling(NAMES) as http:
        for connections in (1, 1, 2):
            assert (await call(http, site.url(HOST))).ok
            assert site.connections == connections
            if len(site.requests) == 2:
                await asyncio.sleep(KEEP_S)
        await site.until_live(1)  # the old one was closed


async def test_a_request_in_flight_outlives_the_time_of_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_connections, "KEEP_S", KEEP_S)
    async with serving(answering(after_s=3 * KEEP_S)) as site, calling(NAMES) as http:
        slow = asyncio.create_task(call(http, site.url(HOST)))
        await asyncio.sleep(2 * KEEP_S)
        assert (await call(http, site.url(HOST))).ok
        assert (await slow).ok
        assert site.connections == 2
        await site.until_live(0)


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a server says otherwise, before most servers would; without being asked for again."""
    monkeypatch.setattr(http_connections, "_IDLE_S", KEEP_S)
    monkeypatch.setattr(http_connections, "_SWEEP_S", 0.05)
    says = answering("200 OK", "Keep-Alive: timeout=100, max=9")
    async with serving() as quiet, serving(says) as told, calling(NAMES) as http:
        await asyncio.gather(*(call(http, site.url(HOST)) for site in (quiet, told) for _ in range(5)))
        assert [quiet.live, told.live] == [5, 5]
        await quiet.until_live(0)
        assert told.live == 5


async def test_a_server_that_keeps_nothing_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for header in ("Connection: close", "Connection: Keep-Alive, Close", "Keep-Alive: timeout=1"):
        async with serving(answering("200 OK", header)) as site, calling(NAMES) as http:
            assert await call(http, site.url(HOST)) == OK
            await site.until_live(0)


async def test_idle_connections_make_room_oldest_first() -> None:
    """One too many for all, and one too many for its destination."""
    names = {f"{n}.test": ["127.0.0.2"] for n in range(3)}
    async with serving() as site, calling(names, most=2) as http:
        for number, connections in ((0, 1), (1, 2), (2, 3), (1, 3), (2, 3), (0, 4)):
            assert (await call(http, site.url(f"{number}.test"))).ok
            assert site.connections == connections
        await site.until_live(2)


async def test_one_destination_keeps_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "MOST_IDLE", 3)
    async with serving(answering(after_s=0.1)) as site, calling(NAMES) as http:
        await asyncio.gather(*(call(http, site.url(HOST)) for _ in range(8)))
        assert site.connections == 8
        await site.until_live(3)


async def test_more_connections_than_may_be_are_a_shortage() -> None:
    async with serving(answering(after_s=0.2)) as site, calling(NAMES, most=3) as http:
        replies = await asyncio.gather(*(call(http, site.url(HOST)) for _ in range(5)))
        assert [reply.ok for reply in replies].count(True) == 3
        assert [reply.is_shortage for reply in replies].count(True) == 2
        assert (await call(http, site.url(HOST))).ok
        assert site.connections == 3


async def test_a_cancelled_attempt_leaves_nothing_open() -> None:
    async with serving(sending(b"")) as site, calling(NAMES, most=1) as http:
        for requests in range(1, 4):
            attempt = asyncio.create_task(call(http, site.url(HOST)))
            await site.until_live(1)
            attempt.cancel()
            await site.until_live(0)
            assert site.connections == requests


async def test_closing_ends_attempts_under_way() -> None:
    async with serving(sending(b"")) as site:
        async with calling(NAMES) as http:
            attempt = asyncio.create_task(call(http, site.url(HOST)))
            await site.until_live(1)
        assert await attempt == Reply(ok=False, error="the connection broke")
        await site.until_live(0)


@pytest.mark.parametrize("host", [HOST, "127.0.0.2"], ids=["read before", "not read yet"])
@pytest.mark.parametrize("ends", [True, False])
async def test_a_kept_connection_that_has_anything_to_read_is_not_used(host: str, ends: bool) -> None:
    """The end of the connection, or bytes that nobody asked for. A name's look-up gives this side a turn to
    read them before the connection is wanted."""

    async def rude(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await said_more.wait()
        if site.connections == 1:
            writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
        if not ends:
            await reader.read()

    for _ in range(20):
        said_more = asyncio.Event()
        async with serving(rude) as site, calling(NAMES) as http:
            assert await call(http, site.url(host)) == OK
            said_more.set()
            await asyncio.sleep(0)  # the server has sent it
            assert await call(http, site.url(host)) == OK
            assert (site.connections, len(site.requests)) == (2, 2)


async def test_a_request_on_a_kept_connection_that_breaks_is_not_sent_again() -> None:
    async def once(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await site.read_request(reader)

    async with serving(once) as site, calling(NAMES) as http:
        assert await call(http, site.url(HOST)) == OK
        assert await call(http, site.url(HOST)) == Reply(ok=False, error="the connection broke")
        assert (len(site.requests), site.connections) == (2, 1)


@contextmanager
def black_hole(port: int = 0, host: str = "127.0.0.3") -> Iterator[int]:
    """A port at which connecting hangs: the kernel's queue of connections nobody accepts is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((host, port))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_dead_first_address_does_not_use_up_the_deadline() -> None:
    names = {HOST: ["127.0.0.3", "127.0.0.2"]}
    async with serving() as site, calling(names, settings=BOTH) as http:
        with black_hole(site.port):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            assert await call(http, site.url(HOST), timeout_ms=2_000) == OK
            first_s = loop.time() - began_s
            await http.close()  # no connection is kept
            began_s = loop.time()
            assert await call(http, site.url(HOST), timeout_ms=2_000) == OK
            assert first_s >= 0.2, "the first address had its time"
            assert loop.time() - began_s < 0.2, "the next attempt starts with the one that answered"
        assert len(site.requests) == 2


async def test_all_addresses_dead() -> None:
    names = {HOST: ["127.0.0.3", "127.0.0.2"]}
    with black_hole() as port, black_hole(port, "127.0.0.2"):
        async with calling(names, settings=BOTH) as http:
            reply = await call(http, f"http://{HOST}:{port}/", timeout_ms=600)
            assert reply == Reply(ok=False, error="could not connect within 600 ms")
            assert http._connections._sockets == 0


@contextmanager
def few_descriptors() -> Iterator[None]:
    """No descriptor is left while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), before[1]))
    taken = []
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for each in taken:
            os.close(each)


async def test_a_shortage_of_descriptors_is_no_failure_of_the_destination() -> None:
    """Not even if it is there at the very first attempt; and it passes."""
    async with serving() as site, calling(NAMES) as http:
        with few_descriptors():
            reply = await call(http, site.url("127.0.0.2"))
        assert (reply.ok, reply.is_shortage, reply.is_final) == (False, True, False)
        assert reply.error == "this node is short of something: Too many open files"
        assert http._connections._sockets == 0
        assert await call(http, site.url(HOST)) == OK


async def test_a_shortage_of_descriptors_gives_back_those_of_idle_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "none left")

    says = answering("200 OK", "Keep-Alive: timeout=100", after_s=0.05)
    async with serving(says) as site, calling(NAMES) as http:
        await asyncio.gather(*(call(http, site.url(HOST)) for _ in range(3)))
        assert site.live == 3
        with monkeypatch.context() as changed:
            changed.setattr(socket, "socket", fail)
            assert (await call(http, "http://127.0.0.2:443/")).is_shortage
        await site.until_live(0)


async def test_of_two_addresses_that_answer_at_once_one_connection_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, waiting, both = http_connections.Connections._reach, list[object](), asyncio.Event()

    async def reach(self: http_connections.Connections, address: Address, port: int) -> socket.socket:
        waiting.append(address)
        if len(waiting) == 2:
            both.set()
        await both.wait()
        return await real(self, address, port)

    monkeypatch.setattr(http_connections.Connections, "_reach", reach)
    monkeypatch.setattr(http_connections, "_STAGGER_S", 0)
    async with serving() as site, serving(host="127.0.0.3", port=site.port) as other:
        async with calling({HOST: ["127.0.0.2", "127.0.0.3"]}, settings=BOTH) as http:
            assert await call(http, site.url(HOST)) == OK
            await asyncio.wait_for(both.wait(), 60)
            assert http._connections._sockets == 1
        assert len(site.requests) + len(other.requests) == 1


async def no_socket(number: int, monkeypatch: pytest.MonkeyPatch, *names: str) -> Reply:
    """Make an attempt while the system refuses to make a socket."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    async with calling({HOST: names}, settings=BOTH) as http:
        with monkeypatch.context() as changed:
            changed.setattr(socket, "socket", fail)
            return await call(http, f"http://{HOST}:443/")


SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)


@pytest.mark.parametrize("number", SHORTAGES)
async def test_shortages(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await no_socket(number, monkeypatch, "127.0.0.2")).is_shortage
    assert (await no_socket(number, monkeypatch, "127.0.0.2", "127.0.0.3")).is_shortage


async def test_ipv6_that_is_switched_off_is_no_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = await no_socket(errno.EADDRNOTAVAIL, monkeypatch, "2606:4700::1")
    assert reply == Reply(ok=False, error="could not connect")


Certify = Callable[..., ssl.SSLContext]
CA_CONFIG = f"""
[ca]
default_ca = own
[own]
new_certs_dir = {{folder}}
database = {{folder}}/index
default_md = sha256
policy = any
rand_serial = yes
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
subjectAltName = DNS:{HOST}
"""


@pytest.fixture
def certify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certify:
    """Makes a server's context, with a certificate for callback.test that this process trusts as root."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")

    def make(*, is_trusted: bool = True, is_expired: bool = False) -> ssl.SSLContext:
        key, certificate, request = (
            tmp_path / name for name in ("key.pem", "certificate.pem", "request.pem")
        )
        (tmp_path / "index").touch()
        (tmp_path / "ca.conf").write_text(CA_CONFIG.format(folder=tmp_path))
        first, last = ("200101", "200102") if is_expired else ("200101", "491231")
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={HOST}")
        dated = ("-startdate", f"{first}000000Z", "-enddate", f"{last}000000Z")
        signed = ("-batch", "-selfsign", "-config", tmp_path / "ca.conf", "-keyfile", key, *dated)
        for command in (
            ("req", "-new", *made, "-keyout", key, "-out", request),
            ("ca", *signed, "-in", request, "-out", certificate),
        ):
            subprocess.run(
                ["openssl", *command],
                check=True,
                capture_output=True,
                env={**os.environ, "OPENSSL_CONF": "/dev/null"},
            )
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    return make


async def test_tls_names_and_checks_the_host_and_not_the_address(certify: Certify) -> None:
    asked: list[str | None] = []
    tls = certify()
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    names = {HOST: ["127.0.0.2"], "other.test": ["127.0.0.2"]}
    async with serving(tls=tls) as site, calling(names) as http:
        assert await call(http, site.url(HOST, scheme="https")) == OK
        assert f"Host: {HOST}:{site.port}".encode() in site.requests[0]
        assert await call(http, site.url(HOST, scheme="https")) == OK
        assert site.connections == 1
        refused = await call(http, site.url("other.test", scheme="https"))
        error = "could not connect: the certificate is for another host"
        assert refused == Reply(ok=False, error=error)
        by_address = await call(http, site.url("127.0.0.2", scheme="https"))
        assert by_address.error == "could not connect: the certificate is for another address"
        assert (asked, len(site.requests)) == ([HOST, "other.test", None], 2)
        assert http._connections._sockets == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"is_trusted": False}, "is self-signed"), ({"is_expired": True}, "is expired")],
    ids=["self-signed", "expired"],
)
async def test_the_error_says_what_is_wrong_with_the_certificate(
    certify: Certify, changes: dict[str, object], fault: str
) -> None:
    async with serving(tls=certify(**changes)) as site, calling(NAMES) as http:
        reply = await call(http, site.url(HOST, scheme="https"))
        assert reply == Reply(ok=False, error=f"could not connect: the certificate {fault}")
        assert site.requests == []


async def test_a_server_that_does_not_speak_tls_holds_nothing_up() -> None:
    async def refuse(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with serving() as silent, serving(refuse) as plain, calling(NAMES, settings=OPEN) as http:
        reply = await call(http, silent.url(HOST, scheme="https"), timeout_ms=300)
        assert reply == Reply(ok=False, error="could not connect within 300 ms")
        reply = await call(http, plain.url(HOST, scheme="https"))
        assert reply == Reply(ok=False, error="could not connect: TLS failed (wrong version number)")
        assert http._connections._sockets == 0


@pytest.mark.parametrize("error", [UnicodeError("label too long"), ValueError("no host name"), MemoryError()])
async def test_whatever_tls_lets_out_ends_this_attempt_and_holds_nothing(
    certify: Certify, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def wrap(*_: object, **__: object) -> ssl.SSLObject:
        raise error

    async with serving(tls=certify()) as site, calling(NAMES, most=1) as http:
        with monkeypatch.context() as broken:
            broken.setattr(http._trust.context(), "wrap_bio", wrap)
            (outcome,) = await asyncio.gather(
                call(http, site.url(HOST, scheme="https")), return_exceptions=True
            )
        is_shortage = isinstance(outcome, Reply) and outcome.is_shortage
        assert is_shortage if isinstance(error, MemoryError) else outcome is error, outcome
        assert http._connections._sockets == 0
        assert await call(http, site.url(HOST, scheme="https")) == OK


@asynccontextmanager
async def delaying(site: Site, delay_s: float) -> AsyncIterator[int]:
    """A port that passes everything on to a site, but only so long after the connection was made."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(asyncio.current_task())
        await asyncio.sleep(delay_s)
        there, back = await asyncio.open_connection(site.host, site.port)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    calls: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(serve, site.host, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.gather(*(task for task in calls if task))  # the caller has closed its side


async def test_a_slow_tls_handshake_has_the_whole_deadline(certify: Certify) -> None:
    async with serving(tls=certify()) as site, delaying(site, 5.2) as port, calling(NAMES) as http:
        began_s = time.monotonic()
        assert await call(http, f"https://{HOST}:{port}/", timeout_ms=10_000) == OK
        assert time.monotonic() - began_s >= 5.2


async def test_root_certificates_are_read_at_start(certify: Certify) -> None:
    """Not at the first attempt, when no descriptor may be left to open them with."""
    async with serving(tls=certify()) as site, calling(NAMES) as http:
        os.unlink(os.environ["SSL_CERT_FILE"])  # noqa: PTH108 - no file object is wanted here
        assert await call(http, site.url(HOST, scheme="https")) == OK
