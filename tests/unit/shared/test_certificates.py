"""What was wrong with a certificate, in words; found out by a connection where a library does not say."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.harness.tls_server import tls_server

from ringtime_local import Authority, TlsFiles
from ringtime_shared.certificates import client_context, find_fault
from ringtime_shared.errors import StartupError


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_each_fault_has_its_words(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    good, expired = authority.issue("good"), authority.issue("expired", days=-1)
    elsewhere = authority.issue("elsewhere", "db.example", "10.0.0.1")
    mine = client_context(str(authority.ca))

    async def fault(server: TlsFiles, context: ssl.SSLContext, *, host: str = "127.0.0.1") -> str:
        with tls_server(server, wants_client=server is good) as site:
            found = await find_fault([(host, site.port)], context)
            return found.removeprefix(f"TLS to {host}:{site.port}: ")

    assert await fault(expired, mine) == "the certificate is expired"
    assert await fault(elsewhere, mine) == "the certificate is for another address"
    assert await fault(elsewhere, mine, host="localhost") == "the certificate is for another host"
    unknown = client_context(str(stranger.ca))
    assert await fault(good, unknown) == "the certificate is signed by a root that is not trusted here"

    refused = "our certificate was refused: the other side "
    assert await fault(good, mine) == f"{refused}wants one, and has got none"
    for files, why in (
        (stranger.issue("client"), "does not know who signed it"),
        (expired, "takes it for expired"),
    ):
        context = client_context(str(authority.ca), str(files.cert), str(files.key))
        assert await fault(good, context) == refused + why
    context = client_context(str(authority.ca), str(good.cert), str(good.key))
    assert await fault(good, context) == ""


async def test_what_is_no_matter_of_certificates_is_not_said_to_be() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await find_fault([("127.0.0.1", port), ("127.0.0.1", 1)], ssl.create_default_context()) == ""
    assert await find_fault([("127.0.0.1", port)], None) == ""
    server.close()


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    one, two, junk = authority.issue("one"), authority.issue("two"), tmp_path / "junk.pem"
    junk.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for arguments, words in (
        ((str(tmp_path / "none.pem"),), r"none\.pem: No such file or directory"),
        ((str(junk),), r"junk\.pem: no usable PEM"),
        ((str(one.ca), str(one.cert), str(two.key)), r"two\.key: they do not belong together"),
    ):
        with pytest.raises(StartupError, match=f"certificates for tests, .*{words}"):
            client_context(*arguments, purpose="tests")
