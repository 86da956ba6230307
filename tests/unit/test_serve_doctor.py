"""`ringtime doctor`: what it finds before a start, and what to do. Beside a server: `test_installs.py`."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.harness.goscheduler_conf import shipped_conf

from ringtime.doctor import (
    Space,
    check_guard,
    check_place,
    check_port,
    check_space,
    check_time,
    file_system_of,
    newest_s,
    read_synchronization,
    space_of,
)
from ringtime.main import main
from ringtime_ringctl.doctor.checks import State
from ringtime_shared.settings import ServerSettings, Settings

GIB = 1 << 30


def states(*words: str) -> dict[str, str]:
    """Return what the command finds, by check, and hold its exit code against it."""
    ended = CliRunner().invoke(main, ["doctor", "--json", *words])
    findings = json.loads(ended.stdout)["findings"]
    assert ended.exit_code == (4 if any(each["state"] == "failed" for each in findings) else 0)
    return {each["check"]: each["state"] for each in findings}


def test_before_the_first_start(tmp_path: Path) -> None:
    data = tmp_path / "no" / "data"
    found = states("--data", str(data), "--port", "0")
    assert found.keys() == {"version", "access", "folder", "disk", "clock", "port"}
    assert "failed" not in found.values()
    assert list(tmp_path.iterdir()) == [], "it makes nothing"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert states("--data", str(tmp_path), "--port", str(port))["port"] == "failed"
        advised = CliRunner().invoke(main, ["doctor", "--data", str(tmp_path), "--port", str(port)])
        assert f"cannot listen on 127.0.0.1:{port}" in " ".join(advised.stdout.split())
        assert "port: end what listens there, or name another by --port" in advised.stdout


def test_options_are_those_of_a_start(tmp_path: Path) -> None:
    assert states("--data", str(tmp_path), "-h", "0.0.0.0", "--port", "0")["access"] == "failed"
    conf = tmp_path / "conf.json"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        conf.write_text(json.dumps(shipped_conf() | {"HttpPort": str(listener.getsockname()[1])}))
        assert states("--data", str(tmp_path), "-conf", str(conf))["port"] == "failed"
    conf.write_text('{"HttpPort": "x"}')
    ended = CliRunner().invoke(main, ["doctor", "--conf", str(conf)])
    assert (ended.exit_code, ended.output) == (1, "Error: HttpPort: must be a port, 0 to 65535, as text\n")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert states("--data", str(tmp_path / "data"), "--port", "0")["folder"] == "failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_another_user_s(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    (found,) = check_place(tmp_path / "data")
    assert (found.state, "run it as the user" in found.advice) == (State.FAILED, True)


def test_damaged_pages_are_found(tmp_path: Path) -> None:
    (tmp_path / "ringtime.db").write_bytes(b"SQLite format 3\0" + bytes(4_080))
    assert states("--data", str(tmp_path), "--port", "0")["folder"] == "failed"


def test_a_folder_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = (
        "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "22 21 0:40 / /srv/my\\040data rw - nfs4 files:/data rw\n"
        "23 22 8:2 / /srv/my\\040data/local rw - ext4 /dev/sdb1 rw\n"
    )
    for path, kind in (("/srv/my", "ext4"), ("/srv/my data/a/b", "nfs4"), ("/srv/my data/local/x", "ext4")):
        assert file_system_of(Path(path), mounts) == kind
    assert file_system_of(Path("/srv"), "") == ""
    monkeypatch.setattr("ringtime.doctor._mounts", lambda: mounts.replace("ext4", "nfs"))
    assert states("--data", str(tmp_path), "--port", "0")["folder"] == "failed"


@pytest.mark.parametrize(
    ("space", "state"),
    [
        (Space(100 * GIB, 200 * GIB, 1), State.OK),
        (Space(2 * GIB, 200 * GIB, 1), State.WARNING),
        (Space(GIB - 1, 2 * GIB, 1), State.WARNING),
        (Space(GIB, 2 * GIB, 1), State.OK),
        (Space(4_194_304, GIB, 1), State.FAILED),
        (Space(100 * GIB, 200 * GIB, 0), State.FAILED),
    ],
)
def test_how_full_a_disk_may_be(space: Space, state: State) -> None:
    found = check_space(space, 4_194_304)
    assert found.state is state
    assert bool(found.advice) == (state is not State.OK)


@pytest.mark.parametrize(
    ("off_ms", "newest", "told"),
    [
        (12.0, None, [State.OK]),
        (12.0, 1_000.0, [State.OK]),
        (12.0, 1_009.0, [State.OK]),
        (12.0, 1_011.0, [State.FAILED, State.OK]),
        (1_001.0, None, [State.WARNING]),
        (float("inf"), None, [State.WARNING]),
        (None, None, [State.OK]),
    ],
)
def test_how_wrong_a_clock_may_be(off_ms: float | None, newest: float | None, told: list[State]) -> None:
    assert [each.state for each in check_time(off_ms, newest, 1_000.0)] == told


def test_what_the_system_says(tmp_path: Path) -> None:
    off_ms = read_synchronization()
    assert off_ms is None or off_ms >= 0
    space = space_of(tmp_path / "none")
    assert space is not None
    assert 0 <= space.free_bytes <= space.total_bytes
    assert newest_s(tmp_path) is None
    assert newest_s(tmp_path / "none") is None
    os.utime(tmp_path, (0, 5e9))
    (tmp_path / "a").write_text("")
    os.utime(tmp_path / "a", (0, 7))
    assert newest_s(tmp_path) == 7


def test_a_free_port_of_a_host_is_let_go() -> None:
    settings = Settings(server=ServerSettings(port=0))
    assert check_port(settings).state is State.OK
    refused = replace(settings, server=ServerSettings(host="no.such.host.invalid"))
    assert check_port(refused).state is State.FAILED
    assert check_guard(settings).found == "requests need no API key"
