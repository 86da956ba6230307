"""Callbacks signed by a key pair, from its making to the receiver's check; and what that check refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.contract.builders import make_app, make_row
from tests.unit.ingest.commit_rig import make_service_rig
from tests.unit.ingest.rig import Client
from tests.unit.signed_receiver import receiving
from tests.unit.test_signing_end_to_end import QUICK, signatures_become

from ringtime import Ringtime
from ringtime_client import NotGenuine, verify
from ringtime_dispatcher.callbacks.signing import signature_headers
from ringtime_ingest.http import create_app
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.encryption.ed25519 import make_private_key
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.models.app import SigningKind, SigningSecret, public_key_of
from ringtime_shared.settings import SecretSettings, ServerSettings

NOW_S = 1_800_000_000
PATH = "/goscheduler/apps/shop/signing-secrets"


def public(private: str) -> str:
    return public_key_of(SigningSecret(secret_id="", secret=private, created_ms=0))


def signed(*secrets: str, body: str | bytes = "x") -> dict[str, str]:
    delivery = Delivery(
        schedule=make_row(make_app()).schedule, details={}, attempt=1, term=1, timeout_ms=1, secrets=secrets
    )
    return signature_headers(delivery, body, NOW_S)


def secret(rng: Random) -> str:
    return "whsec_" + b64encode(rng.randbytes(32)).decode()


def read_all(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_from_the_key_pair_to_the_receiver(tmp_path: Path) -> None:
    ring = SecretSettings(keys=(f"k1:{b64encode(b'0' * 32).decode()}",))
    async with receiving() as receiver, Ringtime(tmp_path, settings=replace(QUICK, secrets=ring)) as ringtime:
        await ringtime.register_app("shop", partitions=1)
        hmac = await ringtime.create_signing_secret("shop")
        made = await ringtime.create_signing_secret("shop", kind=SigningKind.ED25519)
        [old] = await ringtime.list_signing_keys("shop")
        assert old.public_key.startswith("whpk_")
        headers, body = await signatures_become(ringtime, receiver, 2)
        assert [each.partition(",")[0] for each in headers["webhook-signature"].split()] == ["v1a", "v1"]
        for key in (old.public_key, hmac.secret):
            assert verify(key, headers, body) == headers["webhook-id"]

        await ringtime.create_signing_secret("shop", kind=SigningKind.ED25519)
        new, _ = await ringtime.list_signing_keys("shop")
        headers, body = await signatures_become(ringtime, receiver, 3)
        for key in (old.public_key, new.public_key):
            verify(key, headers, body)
        with pytest.raises(Conflict, match=f"2 ed25519 signing keys already.* the oldest is {old.secret_id}"):
            await ringtime.create_signing_secret("shop", kind=SigningKind.ED25519)
        await ringtime.create_signing_secret("shop")  # the other kind has room
        await signatures_become(ringtime, receiver, 4)

        await ringtime.delete_signing_secret("shop", old.secret_id)
        headers, body = await signatures_become(ringtime, receiver, 3)
        verify(new.public_key, headers, body)
        with pytest.raises(NotGenuine):
            verify(old.public_key, headers, body)
    assert made.secret.startswith("whsk_")
    stored = read_all(tmp_path)
    assert b"enc" in stored
    for word in ("whsk_", made.secret[5:45]):
        assert word.encode() not in stored, "private keys are stored under the key ring"


async def test_the_private_key_is_in_no_answer() -> None:
    rig = await make_service_rig()
    await rig.register("shop")

    async def ready() -> None: ...

    client = Client(create_app(rig.service, ServerSettings(), ready))
    made = await client.call("POST", PATH, {"kind": "ed25519"})
    await client.call("POST", PATH)
    app = await rig.store.real.fetch_app("shop")
    assert app is not None
    private = app.secrets[1].secret
    shown = made.json["data"]
    assert list(shown) == ["secretId", "publicKey", "createdAt"]
    assert shown["publicKey"] == public(private)
    assert made.headers["cache-control"] == "no-store"
    keys = await client.call("GET", PATH.replace("secrets", "keys"))
    assert keys.json["data"]["signingKeys"] == [shown]
    both = await client.call("GET", PATH)
    assert both.json["data"]["signingSecrets"][1] == shown
    bodies = [made.body, keys.body, both.body]
    for body, field in (
        ({"kind": "ed25519", "secret": "whsec_" + "A" * 32}, "secret"),
        ({"kind": "ed25519", "secret": private}, "secret"),
        ({"kind": "Ed25519"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"kind": 1}, "kind"),
    ):
        reply = await client.call("POST", PATH, body)
        assert (reply.status, reply.json["status"]["errors"][0]["field"]) == (400, field)
        bodies.append(reply.body)
    seed = private[5:45].encode()
    assert not any(seed in body for body in bodies)
    assert private not in repr(app)


def test_signatures_are_those_of_the_standard() -> None:
    private = make_private_key()
    for body in ("", "ä", "\x00", b"\xff\xfe"):
        headers = signed(private, body=body)
        version, _, given = headers["webhook-signature"].partition(",")
        plain = body if isinstance(body, bytes) else body.encode()
        about = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + plain
        assert version == "v1a"
        Ed25519PublicKey.from_public_bytes(b64decode(public(private)[5:])).verify(b64decode(given), about)
        assert verify(public(private), headers, plain, now_s=NOW_S) == headers["webhook-id"]


def test_the_known_vector_of_the_standard_is_genuine() -> None:
    headers = {
        "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "Webhook-Timestamp": "1614265330",
        "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    key, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert verify(key, headers, body, now_s=1614265330) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize("kind", ["hmac", "ed25519"])
def test_what_anybody_has_changed_is_not_genuine(kind: str) -> None:
    private = secret(Random(1)) if kind == "hmac" else make_private_key()
    key = private if kind == "hmac" else public(private)
    body = b'{"order": 17}'
    headers = signed(private, body=body)
    assert verify(key, headers, body, now_s=NOW_S)
    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotGenuine, match="no key of ours"):
            verify(key, headers, bytes(flipped), now_s=NOW_S)
    given = headers["webhook-signature"]
    version, _, encoded = given.partition(",")
    other = {"v1": "v1a", "v1a": "v1"}[version]
    for changes in (
        {"webhook-id": "another"},
        {"webhook-id": "é\udcff"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW_S - 1)},
        {"webhook-timestamp": "1" * 5_000},
        {"webhook-timestamp": "١٨٠٠٠٠٠٠٠٠"},
        {"webhook-timestamp": f" {NOW_S}"},
        {"webhook-timestamp": f"-{NOW_S}"},
        {"webhook-signature": ""},
        {"webhook-signature": version},
        {"webhook-signature": f"{version},"},
        {"webhook-signature": f"{version},é"},
        {"webhook-signature": f"{version},{encoded[:-8]}"},
        {"webhook-signature": f"{other},{encoded}"},
        {"webhook-signature": f"v2,{encoded}"},
        {"webhook-signature": f"{given}é"},
        {"webhook-signature": "v1,x " * 16 + given},  # no more than 16 are looked at
    ):
        with pytest.raises(NotGenuine):
            verify(key, headers | changes, body, now_s=NOW_S)
    assert verify(key, headers | {"webhook-signature": f"v1,x v9,y {given}"}, body, now_s=NOW_S)
    for off_s in (-300, 300):
        verify(key, headers, body, now_s=NOW_S + off_s)
        with pytest.raises(NotGenuine, match="too far off"):
            verify(key, headers, body, now_s=NOW_S + off_s * 1.01)
        verify(key, headers, body, now_s=NOW_S + off_s * 1.01, tolerance_s=400)
    strangers = [secret(Random(2)), public(make_private_key())]
    with pytest.raises(NotGenuine):
        verify(strangers, headers, body, now_s=NOW_S)
    assert verify([*strangers, key], headers, body, now_s=NOW_S)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        "",
        "x",
        "whsec_",
        "whsec_AAAA",
        "whpk_AAAA",
        "whpk_!",
        "whsk_" + "A" * 86 + "==",
        "WHSEC_" + "A" * 32,
    ],
)
def test_keys_that_are_none_are_an_error_that_does_not_repeat_them(keys: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"^keys: ") as told:
        verify(keys, signed(secret(Random(3))), b"x", now_s=NOW_S)
    assert not (len(keys) > 10 and str(keys) in str(told.value))


def test_only_public_keys_need_cryptography(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ModuleNotFoundError('no', name='cryptography')\n")
    program = (
        "from ringtime_client import verify\n"
        f"headers = {signed('whsec_' + 'A' * 32)!r}\n"
        f"verify('whsec_' + 'A' * 32, headers, b'x', now_s={NOW_S})\n"
        f"verify({public(make_private_key())!r}, headers, b'x', now_s={NOW_S})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    line = "ImportError: to verify with a public key needs pip install 'ringtime-client[ed25519]'"
    assert ended.stderr.splitlines()[-1] == line


async def test_a_private_key_of_ones_own_is_not_taken() -> None:
    async with Ringtime() as ringtime:
        await ringtime.register_app("shop", partitions=1)
        for own in (make_private_key(), "whsec_" + "A" * 32):
            with pytest.raises(InvalidRequest, match="private keys are made here"):
                await ringtime.create_signing_secret("shop", secret=own, kind=SigningKind.ED25519)
        assert await ringtime.list_signing_keys("shop") == []
