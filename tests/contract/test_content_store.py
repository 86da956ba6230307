"""Other texts of the same meaning in place of a row's own, and everything under another key."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from uuid import uuid4

import orjson
import pytest
from tests.contract.builders import (
    START_MS,
    make_app,
    make_definition,
    make_move,
    make_outcome,
    make_row,
    make_update,
)

from ringtime_shared.clock import ManualClock
from ringtime_shared.encryption.keyring import KeyRing, new_entry
from ringtime_shared.encryption.records import (
    decrypt_app,
    decrypt_definition,
    decrypt_for_sending,
    decrypt_row,
)
from ringtime_shared.encryption.rotation import Found, Rotation
from ringtime_shared.encryption.store import encrypted_store
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import DefinitionKey, Store

OLD, NEW = new_entry("old"), new_entry("new")
SECRET = "kanarie-7"
DETAILS = orjson.dumps({"url": f"https://a.example/?token={SECRET}", "secretHeaders": {"X-Vault": SECRET}})
LIMITS = AppLimits(max_future_period_days=1, max_retention_days=1)


async def stored(store: Store, row: Row) -> Row:
    found = await store.fetch_row(row.place, row.schedule.schedule_id)
    assert found is not None
    return found


async def test_contents_are_replaced_where_they_are_still_those_that_were_read(store: Store) -> None:
    app = await store.create_app(make_app())
    row = make_row(app, sending=Sending(priority=Priority.LOW))
    await store.put_rows([row])
    outcome = make_outcome()
    await store.put_updates([make_update(row, outcome)])

    hooks = Hooks(on_missed=Hook(callback_type="http", callback_details="{}"))
    sending = Sending(priority=Priority.LOW, is_private=True, is_encrypted=True, hooks=hooks)
    after = replace(
        row, schedule=replace(row.schedule, callback_details=b'{"n":1}', payload="ö", sending=sending)
    )
    other = replace(row, schedule=replace(row.schedule, payload="another"))
    assert not await store.replace_contents(other, after)
    assert await stored(store, row) == replace(row, outcome=outcome)

    assert await store.replace_contents(row, after)
    assert await store.replace_contents(row, after), "again, as after a lost answer"
    assert await stored(store, row) == replace(after, outcome=outcome)
    assert not await store.replace_contents(row, other)

    absent = make_row(app, START_MS + 1)
    assert not await store.replace_contents(absent, replace(absent, schedule=after.schedule))
    assert await store.fetch_row(absent.place, absent.schedule.schedule_id) is None


async def rotate(store: Store, clock: ManualClock, app: App, ring: KeyRing) -> Found:
    found, kept = Found(), await store.fetch_app(app.app_id)
    assert kept is not None
    async for page in Rotation(store, ring, clock, LIMITS, is_applied=True).of_app(kept):
        found.add(page)
    return found


@pytest.mark.parametrize("before", ["", "old"])
async def test_rotation_puts_everything_under_the_primary_key(
    store: Store, clock: ManualClock, before: str
) -> None:
    """From plain text, and from another key; what is there then is what a client gave."""
    hook = Hook(callback_type="http", callback_details=DETAILS.decode())
    secret = SigningSecret(secret_id="1", secret=f"whsec_{SECRET}", created_ms=1)
    configuration = AppConfiguration(hooks=Hooks(on_failure=hook), encrypt_payloads=True)
    first = KeyRing.of_entries([OLD]) if before else None
    through = encrypted_store(store, first)
    app = await through.create_app(make_app(configuration=configuration, secrets=(secret,)))
    sending = Sending(hooks=Hooks(on_success=hook), is_private=bool(before))
    row = make_row(app, callback_details=DETAILS, payload=SECRET, sending=sending)
    retry = make_move(row, START_MS + 60_000)
    definition = make_definition(app, callback_details=DETAILS, payload=SECRET)
    await through.put_rows([row, retry, make_row(app, START_MS + 5, 1)])
    await through.replace_definition(definition)

    ring = KeyRing.of_entries([NEW, OLD])
    found = await rotate(store, clock, app, ring)
    records = 5  # an app, a definition, three rows
    assert (found.looked, found.changed, found.unreadable, found.beaten) == (records, 5, 0, 0)
    again = await rotate(store, clock, app, ring)
    assert (again.changed, again.keys) == (0, Counter({"new": 5}))

    kept_app = await store.fetch_app(app.app_id)
    key = DefinitionKey(app.app_id, definition.recurring_id)
    kept = await store.fetch_definition(key)
    rows = [await stored(store, each) for each in (row, retry)]
    assert kept_app is not None
    assert kept is not None
    for each in (kept_app.secrets[0].secret, kept_app.configuration, kept.callback_details, kept.payload):
        assert SECRET not in repr(each)
    assert [each for each in rows if SECRET in repr(each) + each.schedule.callback_details.decode()] == []

    assert decrypt_app(ring, kept_app).secrets == (secret,)
    assert decrypt_app(ring, kept_app).configuration.hooks == configuration.hooks
    decrypted = decrypt_definition(ring, kept)
    assert (decrypted.callback_details, decrypted.payload) == (DETAILS, SECRET)
    assert kept.revision == definition.revision + 1
    for row in rows:
        schedule = decrypt_row(ring, row).schedule
        assert (schedule.callback_details, schedule.payload) == (DETAILS, SECRET)
        assert schedule.sending == replace(sending, is_private=True)


async def test_what_cannot_be_decrypted_is_counted_and_left_alone(store: Store, clock: ManualClock) -> None:
    app = await store.create_app(make_app())
    row, plain = (
        make_row(app, callback_details=DETAILS),
        make_row(app, START_MS + 1, callback_details=DETAILS),
    )
    await encrypted_store(store, KeyRing.of_entries([OLD])).put_rows([row])
    await store.put_rows([plain])
    before = await stored(store, row)

    found = await rotate(store, clock, app, KeyRing.of_entries([NEW]))
    assert (found.changed, found.unreadable) == (1, 1)
    assert found.keys == Counter({"": 1, "old": 1})
    assert found.faults == [
        f"schedule {row.schedule.schedule_id}: key old is not in the key ring of this process"
    ]
    assert await stored(store, row) == before


async def test_a_home_row_that_is_kept_for_a_later_change_is_rotated(
    store: Store, clock: ManualClock
) -> None:
    """However long ago it was to be sent first."""
    app = await store.create_app(make_app(app_id=f"app-{uuid4().hex[:12]}", created_ms=START_MS))
    days = LIMITS.max_retention_days + 40
    row = make_row(app, START_MS, callback_details=DETAILS, expires_ms=START_MS + 2 * days * 86_400_000)
    await store.put_rows([row])
    clock.advance(days * 86_400_000)
    assert (await rotate(store, clock, app, KeyRing.of_entries([NEW]))).changed == 1


async def test_two_rotations_and_a_client_at_once_lose_nothing(store: Store, clock: ManualClock) -> None:
    app = await store.create_app(make_app(app_id=f"app-{uuid4().hex[:12]}"))
    rows = [make_row(app, START_MS + n, callback_details=DETAILS) for n in range(20)]
    await store.put_rows(rows)
    ring = KeyRing.of_entries([NEW])
    cancels = [store.put_cancel(each.place, each.schedule.schedule_id, 5) for each in rows[::2]]
    outcome = make_outcome()
    ends = [store.put_updates([make_update(each, outcome)]) for each in rows[1::2]]
    both = [rotate(store, clock, app, ring) for _ in range(2)]
    await asyncio.gather(*both, *cancels, *ends)
    found = await rotate(store, clock, app, ring)
    assert (found.changed, found.beaten, found.keys) == (0, 0, Counter({"new": 20}))
    kept = [decrypt_row(ring, await stored(store, each)) for each in rows]
    assert kept == [
        replace(each, outcome=outcome) if n % 2 else replace(each, cancelled_ms=5)
        for n, each in enumerate(rows)
    ]


DAMAGED = [
    b'{"url": "https://a.example/?a=1"',
    b'["headers"]',
    b'{"headers":1,"url":["?"]}',
    b'{"ringtimeCiphertext":"rt1"}',
    b'{"ringtimeCiphertext":7,"secretHeaders":{}}',
    b'""ringtimeCiphertext":?"',
    b'{"ringtimeCiphertext": nothing',
    b'{"ringtimeCiphertext":"x", nothing',
]


async def test_a_record_whose_secrets_cannot_be_found_stops_no_rotation(
    store: Store, clock: ManualClock
) -> None:
    """Details that are damaged; they are as readable through the store of those who take requests."""
    app = await store.create_app(make_app(app_id=f"app-{uuid4().hex[:12]}"))
    ring = KeyRing.of_entries([NEW])
    damaged = [make_row(app, START_MS + n, callback_details=each) for n, each in enumerate(DAMAGED)]
    good = make_row(app, START_MS + 60, callback_details=DETAILS)
    await store.put_rows([*damaged, good])
    found = await rotate(store, clock, app, ring)
    assert (found.looked, found.changed, found.unreadable) == (len(DAMAGED) + 2, 1, 2)
    assert found.keys == Counter({"?": 2, "": 1})
    through = encrypted_store(store, ring)
    for row in (*damaged, good):
        assert await through.fetch_row(row.place, row.schedule.schedule_id) == row


async def test_a_plain_payload_under_the_word_of_a_rotation_is_a_plain_one(
    store: Store, clock: ManualClock
) -> None:
    """As where a row was filed with a clock ahead, or again at that moment, and had no word of its own."""
    app = await store.create_app(make_app(configuration=AppConfiguration(encrypt_payloads=True)))
    ring, said = KeyRing.of_entries([NEW]), Sending(is_private=True, is_encrypted=True)
    row = make_row(app, payload=SECRET, sending=said)
    await store.put_rows([row])
    sent, _ = decrypt_for_sending(ring, row.schedule, {})
    assert sent.payload == SECRET
    assert (await rotate(store, clock, app, ring)).changed == 1
    kept = await stored(store, row)
    assert SECRET not in kept.schedule.payload
    assert decrypt_for_sending(ring, kept.schedule, {})[0].payload == SECRET
