"""A start that fails for a reason to be expected ends in one line and an exit code, whatever the command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
SERVICES = (("ringtime-ingest", "--port", "0"), ("ringtime-dispatcher", "--port", "0"))
ALL = (*SERVICES, ("ringtime", "migrate"), ("ringtime", "serve", "--port", "0"), ("ringctl", "ring"))
_WAIT_S = 60

#: What a process has loaded when it is in the middle of its imports.
_IMPORTING = "orjson"


def _spawn(
    words: Sequence[str], folder: Path, settings: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    away = {"RINGTIME_CASSANDRA_PORT": "1", "RINGTIME_COORDINATION_ENDPOINTS": "127.0.0.1:1"}
    return subprocess.Popen(
        [BIN / words[0], *words[1:]],
        env={**os.environ, **away, **(settings or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code, stdout, and stderr without what our own log says in passing."""
    try:
        out, err = process.communicate(timeout=_WAIT_S)
    finally:
        process.kill()
    told = [line for line in err.splitlines(keepends=True) if '"level":"info"' not in line]
    return process.returncode, out, "".join(told)


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("words", [*SERVICES, ("ringtime", "migrate"), ("ringctl", "ring")], ids=" ".join)
def test_without_its_servers(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, out, err = _end(_spawn(words, tmp_path))
    assert (code, out) == (1, "")
    assert re.fullmatch(r"Error: cannot connect to Cassandra at 127\.0\.0\.1, port 1: .+\n", err), err


@pytest.mark.parametrize("words", [*SERVICES, ("ringtime", "serve")], ids=" ".join)
def test_with_its_port_taken(tmp_path: Path, words: tuple[str, ...], taken_port: int) -> None:
    named = [word for word in words if word not in ("--port", "0")]
    code, out, err = _end(_spawn([*named, "--port", str(taken_port)], tmp_path))
    assert (code, out) == (1, "")
    assert err == f"Error: cannot listen on 127.0.0.1:{taken_port}: Address already in use\n"


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_with_bad_settings(tmp_path: Path, words: tuple[str, ...]) -> None:
    settings = {"RINGTIME_DISPATCH_TICK_MS": "x", "RINGTIME_LIMITS_MAX_PAYLOAD_BYTE": "1"}
    code, out, err = _end(_spawn(words, tmp_path, settings))
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "RINGTIME_DISPATCH_TICK_MS: must be a whole number" in err
    assert "did you mean RINGTIME_LIMITS_MAX_PAYLOAD_BYTES?" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ringtime", "serve", "--data", "/proc/none"), "cannot create data folder /proc/none"),
        (("ringtime", "serve", "--host", "x" * 300), "cannot listen on xxx"),
        (("ringtime-ingest", "--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
        (("ringctl", "--data", "none", "ring"), "none holds no Ringtime data"),
        (("ringctl", "--config", "none.toml", "ring"), "none.toml: cannot be read"),
    ],
)
def test_with_what_cannot_be_opened(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    behind_gateway = {"RINGTIME_ACCESS_GATEWAY": "true"}  # else such a host would be refused as such
    code, out, err = _end(_spawn(words, tmp_path, behind_gateway))
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: {told}"), err
    assert err.count("\n") == 1


def _wait_until_importing(pid: int) -> None:
    maps, until_s = Path(f"/proc/{pid}/maps"), time.monotonic() + _WAIT_S
    while _IMPORTING not in maps.read_text() and time.monotonic() < until_s:
        pass  # each look takes about a millisecond


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_interrupted_in_its_imports(tmp_path: Path, words: tuple[str, ...]) -> None:
    process = _spawn(words, tmp_path)
    _wait_until_importing(process.pid)
    process.send_signal(signal.SIGINT)
    assert _end(process) == (130, "", "interrupted\n")


def test_behind_nohup_an_interrupt_is_none(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a child inherits
    try:
        process = _spawn(("ringctl", "ring"), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    _wait_until_importing(process.pid)
    process.send_signal(signal.SIGINT)
    code, _, err = _end(process)
    assert (code, err.startswith("Error: cannot connect")) == (1, True)


@pytest.mark.parametrize("words", [*SERVICES, ("ringctl", "ring")], ids=" ".join)
def test_interrupted_while_its_servers_are_silent(tmp_path: Path, words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"RINGTIME_CASSANDRA_PORT": str(silent.getsockname()[1])}
        process = _spawn(words, tmp_path, settings)
        silent.settimeout(_WAIT_S)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            code, out, err = _end(process)
    assert out == ""
    assert (code, err) == (130, "Error: interrupted\n") or (code, err.count("\n")) == (1, 1)
    assert err.startswith("Error: ")


def test_the_demo_interrupted_while_its_server_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ringtime_shared.entry", "ringtime.demo"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to the whole group
    )
    children, until_s = Path(f"/proc/{process.pid}/task/{process.pid}/children"), time.monotonic() + _WAIT_S
    while not (server := children.read_text().split()) and time.monotonic() < until_s:
        pass
    told = Path(f"/proc/{server[0]}/cmdline")
    while "ringtime.main" not in told.read_text() and time.monotonic() < until_s:
        pass  # between fork and exec it still is the demo
    _wait_until_importing(int(server[0]))
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = _end(process)
    assert (code, out) == (130, "")
    assert set(err.splitlines()) == {"interrupted"}  # the demo's word, and its server's
