"""An API that others could use without a key, or listen to, is not served."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from ringtime.main import main as ringtime
from ringtime_ingest.main import main as ingest
from ringtime_shared.errors import StartupError
from ringtime_shared.http_server.exposure import require_guarded
from ringtime_shared.settings import Settings, load_settings

TLS = {"RINGTIME_SERVER_CERT_FILE": "/a", "RINGTIME_SERVER_KEY_FILE": "/b"}
GATEWAY = {"RINGTIME_ACCESS_GATEWAY": "true"}


def settings_of(host: str, environ: dict[str, str]) -> Settings:
    return load_settings(None, environ, flags={"server.host": host})


@pytest.mark.parametrize(
    ("host", "environ", "has_keys"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("127.9.9.9", {}, False),
        ("0.0.0.0", TLS, True),
        ("10.1.2.3", GATEWAY, False),
        ("::", GATEWAY, True),
    ],
)
def test_what_is_served(host: str, environ: dict[str, str], has_keys: bool) -> None:
    require_guarded(settings_of(host, environ), has_keys=has_keys)


@pytest.mark.parametrize(
    ("environ", "has_keys", "says"),
    [
        ({}, False, "API keys .* and TLS .*"),
        ({}, True, "without TLS"),
        (TLS, False, "without API keys"),
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "ringtime.example", "::ffff:10.0.0.1"])
def test_what_is_not(host: str, environ: dict[str, str], has_keys: bool, says: str) -> None:
    with pytest.raises(StartupError, match=says) as caught:
        require_guarded(settings_of(host, environ), has_keys=has_keys)
    assert "set access.gateway" in str(caught.value)


@pytest.mark.parametrize("words", [["serve", "--data", ""], []])
def test_the_start_is_refused_in_one_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGTIME_ACCESS_KEYS", "off")
    command = ringtime if words else ingest
    result = CliRunner().invoke(command, [*words, "--host", "0.0.0.0", "--port", "0"])
    assert result.exit_code == 1
    told = f"{result.output}{result.exception}"
    assert re.search(r"server\.host = 0\.0\.0\.0 .*API keys .* and TLS", told), told
