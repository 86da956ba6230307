"""The README is true: its commands run as they stand, its settings load, its links and folders are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ringtime_ringctl.main import main as ringctl
from ringtime_shared.settings import load_settings
from tests.harness.server import ServerProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
EXAMPLE_ID = "00000000-0000-0000-0000-000000000000"


def _blocks(language: str) -> list[str]:
    """Return the blocks of code in this language; every second part of the text is one."""
    fenced = re.split(r"^```", README, flags=re.MULTILINE)[1::2]
    return [block.partition("\n")[2] for block in fenced if block.partition("\n")[0] == language]


def _commands() -> list[list[str]]:
    """Return the lines of shell that are no quick start, as words."""
    lines = "".join(_blocks("")).replace("$ID", EXAMPLE_ID).splitlines()
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data")
    process.start()
    yield process
    process.close()


def test_the_quick_start_on_a_server(server: ServerProcess, tmp_path: Path) -> None:
    port = server.base.split(":")[2].split("/")[0]
    answer = ""
    for block in _blocks("bash"):
        shell = re.sub(r":8080/", f":{port}/", block)
        if found := re.search(r'"scheduleId":"([0-9a-f-]{36})"', answer):
            shell = shell.replace(EXAMPLE_ID, found[1])
        shell = f'set -e; curl() {{ command curl --silent --show-error --fail "$@"; }}\n{shell}'
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        answer = done.stdout
    assert answer.count('"status":"SCHEDULED"') == 1
    assert '"status":"DELETED"' in answer
    [schedule_id] = set(re.findall(r'"scheduleId":"([0-9a-f-]{36})"', answer))
    for words in _commands():
        if words[:4] == ["./run", "ctl", "--data", "data"]:
            command = [str(BIN / "ringctl"), "--data", str(tmp_path / "data"), *words[4:]]
            command = [schedule_id if word == EXAMPLE_ID else word for word in command]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, ""), words


def test_every_command_of_run_is_one_that_it_knows() -> None:
    known = subprocess.run([ROOT / "run", "--help"], capture_output=True, text=True, check=True).stdout
    words = {command[1] for command in _commands() if command[0] == "./run" and len(command) > 1}
    assert words >= {"serve", "ctl", "cluster", "migrate", "ingest", "dispatcher"}
    assert all(re.search(rf"\./run (?:\w+\|)*{word}\b", known) for word in words)
    assert {command[0] for command in _commands()} == {"./run", "./test"}


def test_every_command_of_ringctl_takes_its_options() -> None:
    commands = [command[2:] for command in _commands() if command[:2] == ["./run", "ctl"]]
    assert len(commands) >= 6
    for words in commands:
        group: click.Command = ringctl
        left = words
        context = ringctl.make_context("ringctl", left, resilient_parsing=False)
        while isinstance(group, click.Group):
            left = [*context._protected_args, *context.args]
            name, found, left = group.resolve_command(context, left)
            assert found is not None, words
            context = found.make_context(name, left, parent=context)
            group = found


def test_its_settings_load(tmp_path: Path) -> None:
    [toml] = _blocks("toml")
    path = tmp_path / "ringtime.toml"
    path.write_text(toml)
    assert load_settings(path, {}).cassandra.contact_points == ("10.0.0.11", "10.0.0.12")


def test_its_links_and_folders_are_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    folders = re.findall(r"`([a-z]+/)`", README)
    assert len(links) > 10
    assert [name for name in (*links, *folders) if not (ROOT / name).exists()] == []
