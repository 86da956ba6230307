"""One text encrypted and decrypted, in its place alone; the ring from files, the environment and a data
folder."""

from __future__ import annotations

import logging
import os
import stat
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from ringtime_shared.encryption import keyring
from ringtime_shared.encryption.keyring import (
    KeyRing,
    binding_of,
    key_of,
    new_entry,
    ring_in,
    ring_of,
    split_ring,
)
from ringtime_shared.errors import SecretUnreadable, SettingsError, StartupError
from ringtime_shared.settings import SecretSettings, load_settings

OLD, NEW = new_entry("old"), new_entry("new")
PLACE = binding_of("shop", "callback", "1")


def test_what_is_encrypted_decrypts_in_its_place_alone() -> None:
    ring = KeyRing.of_entries([NEW, OLD])
    text = ring.encrypt(b"secret", PLACE)
    assert (key_of(text), b"secret" in urlsafe_b64decode(text.split(".")[2])) == ("new", False)
    assert ring.decrypt(text, PLACE) == b"secret"
    assert ring.encrypt(b"secret", PLACE) != text
    head, _, body = text.rpartition(".")
    for altered, place in (
        (text, binding_of("shop", "callback", "2")),
        (text, binding_of("toys", "callback", "1")),
        (f"{head}.{body[:-4]}AAAA", PLACE),
        (f"rt1.old.{body}", PLACE),
        (f"{head}.AAAA", PLACE),
        (f"{head}.A", PLACE),
        (f"rt2.new.{body}", PLACE),
    ):
        with pytest.raises(SecretUnreadable, match=r"altered|form"):
            ring.decrypt(altered, place)


def test_a_key_that_is_no_primary_decrypts_and_one_that_is_missing_is_named() -> None:
    text = KeyRing.of_entries([OLD]).encrypt(b"secret", PLACE)
    assert KeyRing.of_entries([NEW, OLD]).decrypt(text, PLACE) == b"secret"
    with pytest.raises(SecretUnreadable, match="key old is not in the key ring"):
        KeyRing.of_entries([NEW]).decrypt(text, PLACE)


def test_no_key_encrypts_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_MOST_MESSAGES", 2)
    ring = KeyRing.new()
    salts = [urlsafe_b64decode(ring.encrypt(b"", PLACE).split(".")[2])[:16] for _ in range(5)]
    assert [salts.count(salt) for salt in dict.fromkeys(salts)] == [2, 2, 1]


def test_a_fingerprint_tells_values_of_one_app_apart_and_is_keyed() -> None:
    ring, other = KeyRing.new(), KeyRing.new()
    mark = ring.fingerprint(b"4111", "shop")
    assert mark == ring.fingerprint(b"4111", "shop")
    assert len({mark, ring.fingerprint(b"4112", "shop"), ring.fingerprint(b"4111", "toys")}) == 3
    assert mark != other.fingerprint(b"4111", "shop")


def test_a_file_is_read_and_read_again_for_a_key_that_was_added(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keyring.write_file(path, [OLD])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ring = KeyRing.of_file(path)
    keyring.write_file(path, [NEW, OLD])
    text = KeyRing.of_file(path).encrypt(b"secret", PLACE)
    assert ring.decrypt(text, PLACE) == b"secret"
    assert ring.primary == "old", "until a restart"


def test_a_key_is_added_for_those_who_could_read_the_file_also_after_one_who_was_killed_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    keyring.write_file(path, [OLD])
    path.chmod(0o640)
    (tmp_path / f".keys.{os.getpid()}").write_text("half of a k")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: owners.append((uid, gid)))
    assert keyring.add_key(path, "k2", is_primary=False) == ("old", "k2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino], "what is in it, then its name"
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (OLD, 0o604, "is open to others"),
        ("", 0o600, "there is no key"),
        ("# a comment\n", 0o600, "there is no key"),
        (f"{OLD}\n{OLD}", 0o600, "key 2 has the id"),
        (f"{OLD}\nhunter2", 0o600, "key 2 must be"),
        ("ключ", 0o600, "is not ASCII"),
    ],
    ids=range(6),  # keys are drawn anew in each process
)
def test_a_file_that_is_no_ring_is_refused_and_not_repeated(
    tmp_path: Path, content: str, mode: int, why: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(StartupError, match=why) as caught:
        ring_of(SecretSettings(key_file=str(path)))
    assert "hunter2" not in str(caught.value)
    assert OLD.partition(":")[2] not in str(caught.value)


def test_the_ring_of_a_data_folder_is_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = ring_in(tmp_path)
    assert made is not None
    again = ring_in(tmp_path)
    assert again is not None
    assert again.decrypt(made.encrypt(b"secret", PLACE), PLACE) == b"secret"
    assert [path.name for path in tmp_path.iterdir()] == ["KEYS"]
    assert stat.S_IMODE((tmp_path / "KEYS").stat().st_mode) == 0o600
    with caplog.at_level(logging.WARNING):
        assert ring_in(tmp_path / "nowhere") is None
    assert "PLAIN TEXT" in caplog.text


def test_a_ring_that_was_lost_and_the_one_made_since_stand_in_one_file(tmp_path: Path) -> None:
    lost = ring_in(tmp_path)
    (tmp_path / "KEYS").rename(tmp_path / "found")
    made = ring_in(tmp_path)
    assert lost is not None
    assert made is not None
    with pytest.raises(SecretUnreadable, match=f"key {lost.primary} is not in the key ring"):
        made.decrypt(lost.encrypt(b"secret", PLACE), PLACE)
    lines = [(tmp_path / name).read_text() for name in ("KEYS", "found")]
    (tmp_path / "KEYS").write_text("".join(lines))
    both = ring_in(tmp_path)
    assert both is not None
    assert [both.decrypt(ring.encrypt(b"secret", PLACE), PLACE) for ring in (lost, made)] == [b"secret"] * 2


def test_settings_give_a_ring_or_none_or_refuse_to_start() -> None:
    ring = ring_of(load_settings(None, {"RINGTIME_SECRETS_KEYS": f"{NEW},{OLD}"}).secrets)
    assert ring is not None
    assert (ring.primary, ring.key_ids) == ("new", ("new", "old"))
    assert split_ring(SecretSettings()) is None
    with pytest.raises(StartupError, match=r"secrets\.required"):
        split_ring(SecretSettings(required=True))
    for environ in (
        {"RINGTIME_SECRETS_KEYS": "hunter2"},
        {"RINGTIME_SECRETS_KEYS": f"{OLD},{OLD}"},
        {"RINGTIME_SECRETS_KEYS": OLD, "RINGTIME_SECRETS_KEY_FILE": os.devnull},
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(None, environ)
        assert "hunter2" not in str(caught.value)
