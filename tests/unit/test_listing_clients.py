"""Lists of schedules through the clients and the library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.client_rig import WAYS, Served, Verb, served, verbs

from ringtime_client import HttpCallbackDetails, Status
from ringtime_shared.errors import InvalidRequest, NotFound

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(params=WAYS)
async def run(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Verb]:
    async with verbs(request.param, server.url) as call:
        yield call


def ids_of(page: Any) -> list[UUID]:
    """Return the ids of a client's page, or of the library's."""
    if hasattr(page, "rows"):
        return [row.schedule.schedule_id for row in page.rows]
    return [view.schedule_id for view in page.schedules]


def id_of(created: Any) -> UUID:
    found: UUID = created.schedule.schedule_id if hasattr(created, "place") else created.schedule_id
    return found


async def test_pages_ranges_and_states(run: Verb) -> None:
    app_id = f"app-{uuid4().hex}"
    await run("register_app", app_id, partitions=2)
    start = datetime.now(UTC)
    delays = [HOUR + n * timedelta(minutes=1) for n in range(5)]
    made = [
        id_of(await run("create_schedule", app_id, payload="", delay=delay, callback=HOOK))
        for delay in delays
    ]
    await run("cancel_schedule", made[1])
    asked = {"start": start, "end": start + 3 * HOUR}
    found: list[UUID] = []
    token = ""
    for count in (2, 2, 1):
        page = await run("list_schedules", app_id, **asked, size=2, token=token)
        assert len(ids_of(page)) == count
        found += ids_of(page)
        token = page.token
    assert (found, token) == (made, "")
    assert ids_of(await run("list_schedules", app_id, **asked, status=Status.DELETED)) == [made[1]]
    assert ids_of(await run("list_schedules", app_id)) == []
    with pytest.raises(InvalidRequest):
        await run("list_schedules", app_id, start=start, end=start - HOUR)
    with pytest.raises(NotFound):
        await run("list_schedules", "nobody")


async def test_lists_by_label_and_host(run: Verb) -> None:
    app_id = f"app-{uuid4().hex}"
    await run("register_app", app_id, partitions=2)
    start = datetime.now(UTC)
    asked = {"start": start, "end": start + 3 * HOUR}
    labels = {"team": "billing", "stage": "a:b"}
    new = {"payload": "", "delay": HOUR, "callback": HOOK}
    made = await run("create_schedule", app_id, labels=labels, **new)
    (other,) = await run("create_schedules", [{"app_id": app_id, "labels": {"team": "x"}, **new}])
    assert dict(made.labels if hasattr(made, "labels") else made.schedule.labels) == labels
    assert ids_of(await run("list_schedules", app_id, **asked, labels={"team": "billing"})) == [id_of(made)]
    assert ids_of(await run("list_schedules", app_id, **asked, labels={"team": "x"})) == [id_of(other)]
    assert ids_of(await run("list_schedules", app_id, **asked, labels=labels | {"team": "x"})) == []
    assert len(ids_of(await run("list_schedules", app_id, **asked, host="127.0.0.1"))) == 2
    await run("patch_schedule", id_of(other), labels={"team": "y"})
    assert ids_of(await run("list_schedules", app_id, **asked, labels={"team": "y"})) == [id_of(other)]
    assert ids_of(await run("list_schedules", app_id, **asked, host="other.example")) == []
    for name, value in (("labels", {"a b": "c"}), ("name_prefix", "-"), ("host", "a/b")):
        with pytest.raises(InvalidRequest):
            await run("list_schedules", app_id, **asked, **{name: value})


async def test_names(run: Verb) -> None:
    app_id = f"app-{uuid4().hex}"
    await run("register_app", app_id, partitions=2)
    at = datetime.now(UTC) + HOUR
    new = {"payload": "", "at": at, "callback": HOOK, "labels": {"team": "billing"}}
    made = id_of(await run("put_schedule", app_id, "nightly", **new))
    assert id_of(await run("put_schedule", app_id, "nightly", **new)) == made
    assert id_of(await run("put_schedule", app_id, "nightly", **new | {"payload": "other"})) == made
    assert id_of(await run("get_named_schedule", app_id, "nightly")) == made
    listed = await run("list_schedules", app_id, start=at - HOUR, end=at + HOUR, name_prefix="night")
    assert ids_of(listed) == [made]
    cancelled = await run("cancel_named_schedule", app_id, "nightly")
    assert cancelled.promised
    assert id_of(await run("put_schedule", app_id, "nightly", **new)) != made
    with pytest.raises(NotFound):
        await run("get_named_schedule", app_id, "other")
    for verb in ("get_named_schedule", "cancel_named_schedule"):
        with pytest.raises(InvalidRequest):
            await run(verb, app_id, "-")
