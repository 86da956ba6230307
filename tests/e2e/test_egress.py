"""Where `ringtime serve` lets callbacks go, and that it says so when it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.client import Answer, LoadClient
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver

OFF = {"RINGTIME_EMBEDDED_LOOPBACK_CALLBACKS": "false"}


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the base URL, and the lines that the server printed, complete once it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ringtime.main", "serve", "--port", "0", "--data", str(folder / "data")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline()]
        yield lines[0].split("listens on ")[1].strip(), lines
        process.terminate()
        lines += process.stdout.read().splitlines()  # until it ends
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def create(base: str, url: str) -> Answer:
    async with LoadClient(base) as client:
        await client.request("POST", "/apps", {"appId": "shop", "partitions": 1, "active": True})
        body = {
            "appId": "shop",
            "payload": "",
            "scheduleTime": int(time.time()) + 1,
            "callback": {"type": "http", "details": {"url": url, "method": "POST"}},
        }
        return await client.request("POST", "/schedules", body)


async def test_development_mode_calls_this_machine_and_says_so(tmp_path: Path, receiver: Receiver) -> None:
    with serving(tmp_path) as (base, lines):
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
            assert (await create(base, url)).status == 200
        await wait_until(lambda: receiver.count() == 2, timeout_s=90)
        assert (await create(base, "http://10.0.0.1/")).status == 400
        assert (await create(base, "http://169.254.169.254/latest/meta-data")).status == 400
    assert any("development mode" in line and "LOOPBACK_CALLBACKS=false" in line for line in lines)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_switched_off_it_refuses_this_machine(tmp_path: Path, receiver: Receiver, host: str) -> None:
    with serving(tmp_path, RINGTIME_EGRESS_PORTS="1-65535", **OFF) as (base, lines):
        answer = await create(base, receiver.url.replace("127.0.0.1", host))
        assert answer.status == 400
        refusal = {"field": "callback.details.url", "rule": "the target is not allowed"}
        assert json.loads(answer.body)["status"]["errors"] == [refusal]
    assert receiver.count() == 0
    assert not any("development mode" in line for line in lines)


async def test_what_the_operator_allows_is_said_too(tmp_path: Path, receiver: Receiver) -> None:
    allowed = {"RINGTIME_EGRESS_ALLOW": "127.0.0.0/8", "RINGTIME_EGRESS_PORTS": "1-65535"}
    with serving(tmp_path, **allowed, **OFF) as (base, lines):
        assert (await create(base, receiver.url)).status == 200
        await wait_until(lambda: receiver.count() == 1, timeout_s=90)
    assert any(line.startswith("callbacks may reach 127.0.0.0/8") for line in lines)
