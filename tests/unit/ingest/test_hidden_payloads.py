"""Payloads that an app has encrypted, or hidden in part: what is stored, shown and taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.unit.ingest.rig import Client, Rig, http_callback, make_rig, schedule_body

from ringtime_ingest.http import create_app
from ringtime_ingest.service import IngestParts, IngestService
from ringtime_shared.encryption.keyring import KeyRing, new_entry
from ringtime_shared.encryption.records import decrypt_definition
from ringtime_shared.ids import IdMint
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.setting import FieldPath
from ringtime_shared.settings import AppLimits, IngestSettings, ServerSettings

RECURRING = "/goscheduler/apps/test/recurring/nightly"
SCHEDULES = "/goscheduler/schedules"
PAYLOAD = orjson.dumps({"card": {"number": "4111"}, "kind": "b"}).decode()


def rig_of(configuration: AppConfiguration, ring: KeyRing | None) -> Rig:
    """Return a rig whose app `test` is configured so, and whose process has this ring."""
    rig = make_rig()
    rig.store.real._apps["test"] = replace(rig.store.real._apps["test"], configuration=configuration)
    store: Any = rig.store
    parts = IngestParts(
        store=store,
        clock=rig.clock,
        settings=IngestSettings(),
        limits=AppLimits(),
        callbacks=rig.service._callbacks,
        holder="test",
        ring=ring,
    )

    async def ready() -> None: ...

    service = IngestService(parts, IdMint(2))
    return Rig(Client(create_app(service, ServerSettings(), ready)), service, rig.store, rig.clock)


async def test_an_encrypted_payload_is_shown_to_nobody_and_stays_as_it_is() -> None:
    rig = rig_of(AppConfiguration(encrypt_payloads=True), KeyRing.new())
    made = await rig.client.call("POST", SCHEDULES, schedule_body(payload=PAYLOAD))
    shown = made.json["data"]["schedule"]
    assert (shown["payload"], shown["payloadEncrypted"]) == ("***", True)
    [row] = rig.rows.values()
    assert row.schedule.payload.startswith("rt1.k1.")
    assert "4111" not in repr(row)

    path = f"{SCHEDULES}/{shown['scheduleId']}"
    changed = await rig.client.call("PATCH", path, {"labels": {"a": "b"}})
    assert changed.json["data"]["schedule"]["payload"] == "***"
    again = await rig.service.fetch_schedule(row.schedule.schedule_id)
    assert again.schedule.payload == PAYLOAD, "as the dispatcher decrypts it"

    for target, method in ((SCHEDULES, "POST"), (path, "PATCH")):
        body = schedule_body(payload="***") if method == "POST" else {"payload": "***"}
        refused = await rig.client.call(method, target, body)
        assert (refused.status, refused.json["status"]["errors"][0]["field"]) == (400, "payload")


async def test_a_pod_without_a_ring_stores_no_payload_that_is_to_be_encrypted() -> None:
    rig = rig_of(AppConfiguration(encrypt_payloads=True), None)
    refused = await rig.client.call("POST", SCHEDULES, schedule_body(payload=PAYLOAD))
    assert (refused.status, refused.json["status"]["error"]) == (503, "STORE_UNAVAILABLE")
    assert not rig.rows


@pytest.mark.parametrize("ring", [None, KeyRing.new()])
async def test_hidden_fields_are_hidden_from_those_who_look_and_stored_as_they_are(
    ring: KeyRing | None,
) -> None:
    rig = rig_of(AppConfiguration(redacted_fields=(FieldPath("card.number"),)), ring)
    made = await rig.client.call("POST", SCHEDULES, schedule_body(payload=PAYLOAD))
    shown = made.json["data"]["schedule"]
    payload = orjson.loads(shown["payload"])
    assert payload == {"card": {"number": payload["card"]["number"]}, "kind": "b"}
    assert payload["card"]["number"].startswith("REDACTED:")
    [row] = rig.rows.values()
    assert row.schedule.payload == PAYLOAD
    listed = await rig.client.call("GET", f"{SCHEDULES}/{shown['scheduleId']}")
    assert listed.json["data"]["schedule"]["payload"] == shown["payload"]
    refused = await rig.client.call("POST", SCHEDULES, schedule_body(payload=shown["payload"]))
    assert (refused.status, refused.json["status"]["errors"][0]["field"]) == (400, "payload")


def recurring_body(**changes: object) -> dict[str, Any]:
    return {"cronExpression": "30 9 * * *", "timeZone": "UTC", "callback": http_callback(), **changes}


@pytest.mark.parametrize("is_readable", [True, False])
async def test_a_patch_of_a_recurring_schedule_leaves_its_encrypted_payload_as_it_is(
    is_readable: bool,
) -> None:
    """Also where its app encrypts no more, and where the pod that takes the patch has not the key."""
    ring, on = KeyRing.new(), AppConfiguration(encrypt_payloads=True)
    rig = rig_of(on, ring)
    made = await rig.client.call("PUT", RECURRING, recurring_body(payload=PAYLOAD))
    assert made.json["data"]["payload"] == "***", made.json
    for configuration in (on, AppConfiguration()):
        other = KeyRing.of_entries([new_entry("other")])
        pod = rig_of(configuration, ring if is_readable else other)
        pod.store.real._definitions = rig.store.real._definitions
        changed = await pod.client.call("PATCH", RECURRING, {"overlapPolicy": "skip"})
        shown = changed.json["data"]
        assert (changed.status, shown["payload"], shown["payloadEncrypted"]) == (200, "***", True)
        [stored] = rig.store.real._definitions.values()
        assert "4111" not in repr(stored)
        assert decrypt_definition(ring, stored).payload == PAYLOAD
        refused = await pod.client.call("PATCH", RECURRING, {"payload": "***"})
        assert (refused.status, refused.json["status"]["errors"][0]["field"]) == (400, "payload")
        refused = await pod.client.call("PUT", RECURRING, recurring_body(payload="***"))
        assert (refused.status, refused.json["status"]["errors"][0]["field"]) == (400, "payload")


async def test_what_was_shown_in_place_of_a_payload_is_refused_where_its_app_encrypts_no_more() -> None:
    rig = rig_of(AppConfiguration(encrypt_payloads=True), KeyRing.new())
    named = "/goscheduler/apps/test/schedules/one"
    body = {name: value for name, value in schedule_body(payload=PAYLOAD).items() if name != "appId"}
    made = await rig.client.call("PUT", named, body)
    assert made.status == 200, made.json
    await rig.client.call("PUT", "/goscheduler/apps/test/configuration", {})
    path = f"{SCHEDULES}/{made.json['data']['schedule']['scheduleId']}"
    for method, target, asked in (
        ("PATCH", path, {"payload": "***"}),
        ("PUT", named, body | {"payload": "***"}),
    ):
        refused = await rig.client.call(method, target, asked)
        assert (refused.status, refused.json["status"]["errors"][0]["field"]) == (400, "payload"), method
