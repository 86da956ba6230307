"""What is within its own limit gets through every other one: bodies, payloads, headers, ids."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.unit.ingest.commit_rig import make_service_rig
from tests.unit.ingest.rig import dumps, http_callback, make_rig, schedule_body

from ringtime_ingest.service.requests import MAX_DETAILS_BYTES
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.settings import AppLimits, ServerSettings

SCHEDULES = "/goscheduler/schedules"
MOST = AppLimits().max_payload_bytes


def _escaped(text: str) -> bytes:
    """Return JSON as an encoder that trusts no letter writes it: six bytes for each one of UTF-16."""
    units = text.encode("utf-16-be").hex()
    return b'"' + "".join(rf"\u{units[n : n + 4]}" for n in range(0, len(units), 4)).encode() + b'"'


@pytest.mark.parametrize("letter", ["a", '"', "\x1f", "é", "€", "😀"])
async def test_the_largest_payload_fits_however_it_is_escaped(letter: str) -> None:
    rig = make_rig()
    body = {"appId": "large", "active": True, "configuration": {"payloadSize": MOST}}
    assert (await rig.client.call("POST", "/goscheduler/apps", body)).status == 200
    payload = letter * (MOST // len(letter.encode()))
    details = {"url": "http://127.0.0.1/" + "x" * 2_031, "headers": {"X-A": '"' * 8_189}}
    request = schedule_body(appId="large", payload="@", callback=http_callback(**details))
    reply = await rig.client.call("POST", SCHEDULES, dumps(request).replace(b'"@"', _escaped(payload)))
    assert reply.status == 200, reply.body[:200]
    assert reply.json["data"]["schedule"]["payload"] == payload
    assert [row.schedule.payload for row in rig.rows.values()] == [payload]


async def test_all_ids_of_a_replay_fit_the_smallest_body_that_may_be_set() -> None:
    rig = make_rig(ServerSettings(max_body_bytes=65_536))
    ids = [str(UUID(int=number)) for number in range(1_000)]
    reply = await rig.client.call("POST", "/goscheduler/apps/test/dead-letters/replay", {"scheduleIds": ids})
    assert reply.status == 200, reply.body[:200]


async def test_details_are_kept_up_to_a_size() -> None:
    rig = await make_service_rig()
    await rig.register()
    room = MAX_DETAILS_BYTES - len('{"own":""}')
    await rig.create(details={"own": "x" * room})
    with pytest.raises(InvalidRequest, match=r"callback\.details: must be at most 65,536 bytes"):
        await rig.create(details={"own": "x" * (room + 1)})


async def test_bodies_that_arrive_share_a_bound() -> None:
    rig = make_rig(ServerSettings(max_body_bytes=65_536, max_reading_bytes=65_536, read_deadline_s=0.2))
    slow = asyncio.create_task(rig.client.call("POST", SCHEDULES, chunks=[b" " * 65_000], stall=True))
    await asyncio.sleep(0)
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(payload="x" * 600))
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 503)
    assert reply.headers["connection"] == "close"
    assert "retry-after" in reply.headers
    assert (await slow).status == 408
    for _ in range(3):  # what was held is given back, also by who was refused
        assert (await rig.client.call("POST", SCHEDULES, schedule_body(payload="x" * 600))).status == 200
