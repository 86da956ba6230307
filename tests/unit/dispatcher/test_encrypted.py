"""Callbacks whose secrets are encrypted: what is sent, and what becomes of those that cannot be decrypted
here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from tests.contract.builders import make_row
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_rig

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.encryption import keyring
from ringtime_shared.encryption.keyring import KeyRing, new_entry
from ringtime_shared.encryption.records import encrypt_app, encrypt_row
from ringtime_shared.models.app import AppConfiguration, SigningSecret
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.settings import RetrySettings
from ringtime_shared.stores.protocol import LAST_ID, Position

RING = KeyRing.of_entries([new_entry("k1")])
SECRET = "kanarie-7"
MISSING = "key k1 is not in the key ring of this process"
ALTERED = "it was altered, or is not in its own place"
UNKNOWN = "it is not in a form that this version reads"
GIVEN = {
    "url": f"https://a.example/?token={SECRET}",
    "headers": {"Authorization": SECRET},
    "secretHeaders": {"X-Vault": SECRET},
}


def row_of(rig: Rig, slot_ms: int, **changes: object) -> Row:
    row = make_row(rig.app, slot_ms, callback_type="sim", callback_details=orjson.dumps(GIVEN))
    return encrypt_row(RING, replace(row, schedule=replace(row.schedule, **changes)))  # type: ignore[arg-type]


def altered(row: Row, change: Callable[[dict[str, object]], object]) -> Row:
    """Return a row with details as somebody who can write to the store leaves them."""
    details = orjson.loads(row.schedule.callback_details)
    change(details)
    return replace(row, schedule=replace(row.schedule, callback_details=orjson.dumps(details)))


@pytest.mark.parametrize("ring", [RING, None])
@on_virtual_time
async def test_an_error_that_repeats_what_was_sent_is_stored_without_its_secrets(
    ring: KeyRing | None,
) -> None:
    """Each of another value, in the query also as it means: as a client library puts a URL into an error."""
    rig = make_rig(ring=ring)
    url = "https://a.example/?n=1&token=to%2Fken&token=to%2Fken-longer"
    given = {"url": url, "headers": {"Authorization": "Bearer b"}, "secretHeaders": {"X-Vault": "vault-1"}}
    told = f"no answer of {url}, token to/ken, 'Bearer b', vault-1, to pay-load"
    rig.receiver.answers = [Reply(ok=False, error=told, is_final=True)]
    sending = Sending(is_private=True) if ring else None
    row = row_of(rig, rig.clock.now_ms() + 10, payload="pay-load", sending=sending)
    schedule = replace(
        row.schedule, callback_details=orjson.dumps(given), payload="pay-load", sending=sending
    )
    row = replace(row, schedule=schedule)
    row = row if ring is None else encrypt_row(ring, row)
    await rig.put(row)
    await asyncio.sleep(5)
    [error] = await letters_of(rig)
    shown = "***" if ring else "pay-load"
    assert error == (
        f"no answer of https://a.example/?n=1&token=***&token=***, token ***, '***', ***, to {shown}"
    )


async def letters_of(rig: Rig) -> list[str]:
    found = await rig.store.real.fetch_dead_letters(rig.app.app_id, Position(0, LAST_ID), 1 << 62, 100)
    return [each.error for each in found]


@on_virtual_time
async def test_secrets_are_decrypted_for_the_attempt_and_stay_encrypted_in_the_rows() -> None:
    rig = make_rig(ring=RING)
    rig.receiver.answers = [Reply(ok=False, code=503, error=f"{SECRET} is no good")]
    row = row_of(rig, rig.clock.now_ms() + 10, payload=SECRET, sending=Sending(is_private=True))
    await rig.put(row)
    await asyncio.sleep(5)
    moved_to = (await rig.stored(row)).moved_to
    assert moved_to is not None
    rig.give(rig.store.real._rows[moved_to][row.schedule.schedule_id])
    await asyncio.sleep(100)
    [(_, first), (_, second)] = rig.receiver.sent
    for delivery in (first, second):
        assert delivery.details == {
            "url": GIVEN["url"],
            "headers": {"Authorization": SECRET, "X-Vault": SECRET},
        }
        assert delivery.schedule.body == SECRET.encode()
    ended = await rig.stored(row)
    assert ended.outcome is not None
    assert (ended.outcome.status, ended.outcome.log[0].error) == (Status.SUCCESS, "*** is no good")
    rows = [row for rows in rig.store.real._rows.values() for row in rows.values()]
    assert len(rows) == 2
    assert [each for each in rows if SECRET in f"{each}{each.schedule.callback_details!r}"] == []


@pytest.mark.parametrize(
    ("ring", "change", "why"),
    [
        (None, lambda _: None, "this process has no key ring"),
        (
            KeyRing.of_entries([new_entry("k2")]),
            lambda _: None,
            "key k1 is not in the key ring of this process",
        ),
        (KeyRing.of_entries([new_entry("k1")]), lambda _: None, ALTERED),
        (
            RING,
            lambda details: details.update(url="https://thief.example/?token=***"),
            ALTERED,
        ),
        (
            RING,
            lambda details: details.update(ringtimeCiphertext="rt1.k1.AAAA"),
            ALTERED,
        ),
        (
            RING,
            lambda details: details.update(ringtimeCiphertext=7),
            "it is not in a form that this version reads",
        ),
    ],
)
def test_what_cannot_be_opened_is_never_sent_and_holds_nobody_up(
    ring: KeyRing | None, change: Callable[[dict[str, object]], object], why: str
) -> None:
    @on_virtual_time
    async def play() -> None:
        rig = make_rig(ring=ring, configuration=AppConfiguration(http_attempts=1))
        slot_ms = rig.clock.now_ms() + 10
        encrypted = [altered(row_of(rig, slot_ms + n), change) for n in range(20)]
        plain = [rig.row(slot_ms + 5), rig.row(slot_ms + 30_000)]
        await rig.put(*encrypted, *plain)
        await asyncio.sleep(600)
        sent = [delivery.schedule.schedule_id for _, delivery in rig.receiver.sent]
        assert sent == [each.schedule.schedule_id for each in plain], "also to the same destination"
        assert rig.receiver.times_ms()[0] <= slot_ms + 10
        told = f"not sent: the credentials of its callback cannot be decrypted: {why}"
        assert await letters_of(rig) == [told] * 20
        for row in encrypted:
            outcome = (await rig.stored(row)).outcome
            assert outcome is not None
            assert (outcome.status, outcome.attempts, outcome.error) == (Status.FAILURE, 1, told)

    play()


@on_virtual_time
async def test_what_was_stored_before_there_was_a_ring_is_sent_as_ever() -> None:
    for ring in (None, RING):
        rig = make_rig(ring=ring)
        row = make_row(
            rig.app, rig.clock.now_ms() + 10, callback_type="sim", callback_details=orjson.dumps(GIVEN)
        )
        await rig.put(row)
        await asyncio.sleep(10)
        [(_, delivery)] = rig.receiver.sent
        assert delivery.details["headers"] == {"Authorization": SECRET, "X-Vault": SECRET}


@on_virtual_time
async def test_an_attempt_decrypts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    decrypt = KeyRing.decrypt

    def counted(ring: KeyRing, text: str, binding: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return decrypt(ring, text, binding)

    monkeypatch.setattr(KeyRing, "decrypt", counted)
    rig = make_rig(ring=RING)
    slot_ms = rig.clock.now_ms() + 10
    await rig.put(*(row_of(rig, slot_ms + n) for n in range(10)), *(rig.row(slot_ms + n) for n in range(10)))
    await asyncio.sleep(10)
    assert (len(rig.receiver.sent), calls) == (20, 10)


@on_virtual_time
async def test_a_secret_of_another_schedule_does_not_open() -> None:
    rig = make_rig(ring=RING, retry=RetrySettings(), configuration=AppConfiguration(http_attempts=1))
    mine, theirs = (row_of(rig, rig.clock.now_ms() + 10) for _ in range(2))
    stolen = orjson.loads(theirs.schedule.callback_details)["ringtimeCiphertext"]
    await rig.put(altered(mine, lambda details: details.update(ringtimeCiphertext=stolen)))
    await asyncio.sleep(10)
    assert rig.receiver.sent == []
    assert ALTERED in (await letters_of(rig))[0]


@on_virtual_time
async def test_an_app_whose_signing_secret_cannot_be_opened_sends_nothing_unsigned() -> None:
    rig = make_rig(ring=RING, configuration=AppConfiguration(http_attempts=1))
    secret = SigningSecret(secret_id="1", secret=f"whsec_{SECRET}", created_ms=1)
    rig.app = encrypt_app(KeyRing.of_entries([new_entry("lost")]), replace(rig.app, secrets=(secret,)))
    await rig.put(rig.row(rig.clock.now_ms() + 10))
    await asyncio.sleep(10)
    assert rig.receiver.sent == []
    [told] = await letters_of(rig)
    assert told.startswith(
        f"not sent: a signing secret of app {rig.app.app_id} cannot be decrypted: key lost"
    )

    rig.app = encrypt_app(RING, replace(rig.app, secrets=(secret,)))
    await rig.put(rig.row(rig.clock.now_ms() + 10))
    await asyncio.sleep(10)
    [(_, delivery)] = rig.receiver.sent
    assert delivery.secrets == (secret.secret,)


@on_virtual_time
async def test_an_app_whose_key_comes_into_the_ring_later_is_sent_for_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app itself does not change, nor does the process start again."""
    monkeypatch.setattr(keyring, "_LOOK_AGAIN_S", 0.0)
    file, own, late = tmp_path / "keys", new_entry("own"), new_entry("late")
    keyring.write_file(file, [own])
    rig = make_rig(ring=KeyRing.of_file(file), configuration=AppConfiguration(http_attempts=1))
    secret = SigningSecret(secret_id="1", secret=f"whsec_{SECRET}", created_ms=1)
    rig.app = encrypt_app(KeyRing.of_entries([late]), replace(rig.app, secrets=(secret,)))
    await rig.put(rig.row(rig.clock.now_ms() + 10))
    await asyncio.sleep(10)
    assert rig.receiver.sent == []
    keyring.write_file(file, [own, late])
    await rig.put(rig.row(rig.clock.now_ms() + 10))
    await asyncio.sleep(10)
    [(_, delivery)] = rig.receiver.sent
    assert delivery.secrets == (f"whsec_{SECRET}",)


@on_virtual_time
async def test_a_hook_has_the_payload_and_its_row_does_not_show_it() -> None:
    hook = Hook(callback_type="sim", callback_details=orjson.dumps(GIVEN).decode())
    hooks = Hooks(on_success=hook, has_payload=True)
    rig = make_rig(ring=RING, configuration=AppConfiguration(hooks=hooks))
    rig.app = encrypt_app(RING, rig.app)
    row = row_of(rig, rig.clock.now_ms() + 10, payload=SECRET, sending=Sending(is_private=True))
    await rig.put(row)
    await asyncio.sleep(5)
    rows = [each for rows in rig.store.real._rows.values() for each in rows.values()]
    [hooked] = [each for each in rows if each.schedule.hook_of is not None]
    assert SECRET not in f"{hooked}{hooked.schedule.callback_details!r}"
    rig.give(hooked)
    await asyncio.sleep(5)
    _, told = rig.receiver.sent[-1]
    assert orjson.loads(told.schedule.body)["schedule"]["payload"] == SECRET
    assert told.details["headers"] == {"Authorization": SECRET, "X-Vault": SECRET}
