"""Where clients and ringctl take their API key from, and that it is shown nowhere."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ringtime_client import AsyncRingtimeClient, RingtimeClient
from ringtime_client.credentials import find_key, with_key
from ringtime_shared.errors import InvalidRequest, StoreUnavailable

SECRET = "rt_0123456789_" + "c4n4ry" * 8
LOCAL = "http://127.0.0.1:8080"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(f"{SECRET}\n")
    return path


def test_the_first_that_is_there_counts(key_file: Path) -> None:
    environ = {"RINGTIME_KEY": "rt_a", "RINGTIME_KEY_FILE": str(key_file)}
    assert find_key("rt_b", None, environ) == "rt_b"
    assert find_key(None, key_file, environ) == SECRET
    assert find_key(None, None, environ) == "rt_a"
    assert find_key(None, None, {"RINGTIME_KEY": "", "RINGTIME_KEY_FILE": str(key_file)}) == SECRET
    assert find_key(None, None, {}) is None


def test_a_header_of_the_callers_own_goes_first() -> None:
    assert with_key(LOCAL, {"Authorization": "Basic x"}, SECRET) == {"Authorization": "Basic x"}
    assert with_key(LOCAL, {"a": "b"}, SECRET) == {"a": "b", "authorization": f"Bearer {SECRET}"}
    assert with_key(LOCAL, None, None) == {}


@pytest.mark.parametrize(
    "text", ["", f"{SECRET} x", f"{SECRET}\n{SECRET}", f"{SECRET}\r\nX: y", "\u00e9", "x" * 513]
)
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    for given in ({"key": text, "key_file": None}, {"key": None, "key_file": path}):
        with pytest.raises(InvalidRequest) as caught:
            find_key(**given, environ={})
        assert "c4n4ry" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidRequest, match=str(path)):
            find_key(None, path, {})
    with pytest.raises(InvalidRequest, match="RINGTIME_KEY_FILE"):
        find_key(None, None, {"RINGTIME_KEY_FILE": str(tmp_path / "none")})
    with pytest.raises(InvalidRequest, match="beside key"):
        find_key("rt_a", tmp_path, {})


@pytest.mark.parametrize(
    ("mode", "is_warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_a_file_that_others_may_read_is_warned_of(
    key_file: Path, mode: int, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key_file.chmod(mode)
    assert find_key(None, key_file, {}) == SECRET
    assert [record.getMessage() for record in caplog.records] == (
        [f"others than its owner may use the key file {key_file}: chmod 600 it"] if is_warned else []
    )


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("https://ringtime.example", False),
        ("http://localhost:8080", False),
        ("http://[::1]:8080", False),
        ("http://ringtime.example", True),
        ("HTTP://10.0.0.1:8080", True),
        ("http://localhost.example", True),
    ],
)
def test_a_key_that_travels_in_the_open_is_warned_of(
    url: str, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with_key(url, None, SECRET)
    assert ["without TLS" in record.getMessage() for record in caplog.records] == [True] * is_warned


async def test_no_client_shows_its_key(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setitem(os.environ, "RINGTIME_KEY", SECRET)
    with RingtimeClient("http://127.0.0.1:1") as client:
        async with AsyncRingtimeClient("http://127.0.0.1:1", key_file=key_file) as other:
            shown = [repr(each) + repr(vars(each)) for each in (client, other)]
            with pytest.raises(StoreUnavailable) as caught:
                client.get_app("shop")
            with pytest.raises(StoreUnavailable) as later:
                await other.get_app("shop")
            shown += [repr(each.value) + str(each.value) for each in (caught, later)]
    assert "c4n4ry" not in "".join(shown) + caplog.text
