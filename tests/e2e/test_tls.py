"""The walk of docs/tls.md, as it is written: `ringtime serve` over TLS, and a replaced certificate."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from ringtime_client import RingtimeClient
from ringtime_shared.errors import InvalidRequest, StoreUnavailable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tls.md"
FILES = ("certificates/server.pem", "certificates/server.key")


def blocks() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server in `tmp_path`, where the page's authority is."""
    shell(blocks()[0], tmp_path)
    cert, key = FILES
    process = subprocess.Popen(
        [sys.executable, "-m", "ringtime.main", "serve", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RINGTIME_SERVER_CERT_FILE": cert, "RINGTIME_SERVER_KEY_FILE": key},
    )
    assert process.stdout is not None
    try:
        told = re.search(r"listens on https://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert told is not None
        yield int(told[1])
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def shell(text: str, folder: Path) -> str:
    done = subprocess.run(["sh", "-ec", text], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serial_of(port: int) -> int:
    """Return the number of the certificate that a new connection is shown."""
    shown = ssl.get_server_certificate(("127.0.0.1", port))
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, text=True, check=True
    )
    return int(done.stdout.partition("=")[2], 16)


def test_the_page_works(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, request, replacement = blocks()
    assert "Success" in shell(request.replace(":8443", f":{port}"), tmp_path)
    url, ca = f"https://localhost:{port}", tmp_path / "certificates" / "ca.pem"
    first = serial_of(port)
    with RingtimeClient(url, ca_file=ca) as client:
        client.register_app("shop", partitions=2)
        shell(replacement, tmp_path)
        context = ssl.create_default_context(cafile=ca)
        while serial_of(port) == first:  # it looks once a second
            with urlopen(f"{url}/goscheduler/healthcheck", context=context) as answer:
                assert answer.status == 200
        assert [app.app_id for app in client.list_apps()] == ["shop"]  # over the connection that it had

    monkeypatch.setenv("RINGTIME_CA_FILE", str(ca))
    with RingtimeClient(url) as client:
        assert client.get_app("shop").partitions == 2
    monkeypatch.delenv("RINGTIME_CA_FILE")
    with RingtimeClient(url) as stranger, pytest.raises(StoreUnavailable, match="certificate"):
        stranger.list_apps()
    for arguments, words in (
        ({"ca_file": tmp_path / "none"}, "cannot be read"),
        ({"ca_file": PAGE}, "holds no certificate"),
        ({"client_cert_file": ca}, "go together"),
        ({"client_cert_file": ca, "client_key_file": PAGE}, "cannot be used"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            RingtimeClient(url, **arguments)  # type: ignore[arg-type]
