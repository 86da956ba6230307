"""One broken cell in the data folder of a running server: who notices, and who does not."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.harness.client import LoadClient
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver
from tests.harness.server import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data")
    process.start()
    yield process
    process.close()


def break_cell(folder: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "data" / "ringtime.db", timeout=60)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def doctor(folder: Path) -> tuple[int, list[dict[str, str]]]:
    """Return its exit code, and what it found of damage."""
    command = [
        sys.executable,
        "-m",
        "ringtime_ringctl.main",
        "--data",
        str(folder / "data"),
        "--json",
        "doctor",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, [each for each in findings if each["check"] == "damage"]


async def create(client: LoadClient, app_id: str, receiver: Receiver, delay_s: float) -> str:
    body = {
        "appId": app_id,
        "payload": "{}",
        "delaySeconds": delay_s,
        "callback": {"type": "http", "details": {"url": f"{receiver.url}/{app_id}", "method": "POST"}},
    }
    answer = await client.request("POST", "/schedules", body)
    assert answer.status == 200, answer.body
    shown: str = answer.data["schedule"]["scheduleId"]
    return shown


def fault_of(answer: Any) -> tuple[int, int, str, str]:
    status = json.loads(answer.body)["status"]
    [error] = status["errors"]
    return answer.status, status["statusCode"], error["field"], status["statusMessage"]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_broken_row_and_a_broken_app_harm_nobody_else(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    async with LoadClient(server.base) as client:
        for app_id in ("pay", "mail", "third"):
            body = {"appId": app_id, "partitions": 2, "active": True}
            assert (await client.request("POST", "/apps", body)).status == 200
        bad = [await create(client, "pay", receiver, 4) for _ in range(2)]
        for schedule_id, column in zip(bad, ("extras", "payload"), strict=True):
            break_cell(
                tmp_path,
                f"UPDATE schedules SET {column} = CAST(x'7bff' AS TEXT) WHERE schedule_id = ?",
                UUID(schedule_id).bytes,
            )
        good = [await create(client, app_id, receiver, 4) for app_id in ("pay", "mail") for _ in range(20)]
        await wait_until(lambda: set(good) <= receiver.arrivals().keys(), timeout_s=90)
        assert receiver.arrivals().keys() == set(good)

        async def letters() -> list[dict[str, Any]]:
            found = (await client.request("GET", "/apps/pay/dead-letters")).data["deadLetters"]
            return list(found)

        async with asyncio.timeout(60):
            while len(await letters()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert {letter["scheduleId"] for letter in await letters()} == set(bad)
        for letter in await letters():
            assert letter["errorMessage"].startswith("not sent: what is stored of it cannot be read: ")
        status, code, field, message = fault_of(await client.request("GET", f"/schedules/{bad[0]}"))
        assert (status, code, field) == (409, 5005, "scheduleId")
        assert message.startswith(f"what is stored of schedule {bad[0]} cannot be read: extras: ")
        replayed = await client.request("POST", "/apps/pay/dead-letters/replay", {"scheduleIds": bad})
        assert {each["scheduleId"] for each in replayed.data["skipped"]} == set(bad)
        code, damage = doctor(tmp_path)
        assert (code, [each["state"] for each in damage]) == (0, ["warning"])
        assert "2 stored records could not be read" in damage[0]["found"]

        # The record of an app: who has read it before goes on, also when others are read anew.
        break_cell(tmp_path, "UPDATE apps SET configuration = '{' WHERE app_id = 'third'")
        code, damage = doctor(tmp_path)
        assert (code, damage[0]["state"]) == (4, "failed")
        assert damage[0]["found"].startswith("app third cannot be read: configuration: ")
    assert server.stop() == 0
    server.start()
    async with LoadClient(server.base) as client:
        last = await create(client, "mail", receiver, 1)
        await wait_until(lambda: last in receiver.arrivals(), timeout_s=90)
        refused: dict[str, object] = {
            "appId": "third",
            "payload": "",
            "delaySeconds": 1,
            "callback": {"type": "http", "details": {}},
        }
        status, code, field, _ = fault_of(await client.request("POST", "/schedules", refused))
        assert (status, code, field) == (409, 5005, "appId")
        listed = (await client.request("GET", "/apps")).data["apps"]
        assert [app["appId"] for app in listed if "damage" in app] == ["third"]
        assert (await client.request("GET", "/healthcheck")).status == 200
        assert (await client.request("GET", "/apps?app_id=third")).status == 409
        [finding] = [each for each in doctor(tmp_path)[1] if each["state"] == "failed"]
        assert "third" in finding["found"]
    log = (tmp_path / "data.log").read_text()
    assert "Traceback" not in log
    assert log.count("is not sent: its row") == 2
    assert log.count("app third cannot be read") <= 2, "once a process"
