"""The key ring: encrypts texts under its primary key, decrypts those of all its keys.

A ciphertext is `rt1.<key id>.<base64url of salt, nonce, ciphertext and tag>`, by AES-256-GCM. `rt1` names
the format; form, key id and the caller's binding are associated data, so none of them can be exchanged.

Bound. The nonce is random, 96 bits, and NIST allows 2^32 messages a key with such nonces, for a collision in
one of 2^32 cases: fifty days at a thousand a second. So no ring key encrypts a message itself. Each process
draws a salt of 128 bits, derives a key of its own by HMAC-SHA-256, and draws another after 2^28 messages.
What is left is the chance that two salts are equal, which a deployment does not live to see.

Source: NIST SP 800-38D, 2007, section 8.3; NIST SP 800-108r1, 2022 (a MAC as key derivation).
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import stat
import time
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ringtime_shared.errors import SecretUnreadable, StartupError
from ringtime_shared.settings import SecretSettings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_log = logging.getLogger(__name__)
FILE_NAME = "KEYS"  #: of the ring in a data folder
NO_KEY = "?"  #: of a text that is said to be a ciphertext, and is none
FIRST_ID = "k1"  #: of the key in a ring that is made
PLAIN_TEXT = (
    "SECRETS LIE IN THE STORE AS PLAIN TEXT: there is no key ring; set secrets.key_file on every process, and"
    " secrets.required to start with one alone (docs/secrets.md)"
)
KEY_BYTES = 32
_HEAD = "# Ringtime key ring: the first key encrypts, all decrypt. Keep a copy, apart from the data.\n"
KEY_PATTERN = r"[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{43}="
FINGERPRINT_CHARS = 12  #: 48 bits
_FORM: Final = "rt1"
_ENTRY = re.compile(KEY_PATTERN)
_CIPHERTEXT = re.compile(r"rt1\.[A-Za-z0-9_-]{1,32}\.[A-Za-z0-9_=-]+")
_ANY_FORM = re.compile(r"rt[0-9]+\.")
_SALT_BYTES, _NONCE_BYTES = 16, 12
_MOST_MESSAGES = 1 << 28  #: under one salt
_CIPHERS = (
    1_024  #: derived keys that are remembered: one for each start of a process that encrypted something
)
_LOOK_AGAIN_S = 1.0
_OTHERS = stat.S_IRWXO


class KeyRing:
    """Keys by id. For one event loop.

    Args:
        keys: of 32 bytes each; the first is the primary.
        reread: reads the ring again, for a key that is not in it; None: there is nothing to read.
    """

    def __init__(
        self, keys: Mapping[str, bytes], reread: Callable[[], Mapping[str, bytes]] | None = None
    ) -> None:
        self._keys = dict(keys)
        self.primary = next(iter(self._keys))
        self._reread = reread
        self._looked_s = 0.0
        self._cipher = lru_cache(maxsize=_CIPHERS)(self._derive)
        self._salt, self._left = b"", 0
        self._marker = hmac.digest(self._keys[self.primary], b"ringtime redaction 1", "sha256")

    @classmethod
    def new(cls) -> KeyRing:
        """Make a ring with one new key, for secrets that end with this process."""
        return cls.of_entries([new_entry(FIRST_ID)])

    @classmethod
    def of_entries(cls, entries: Iterable[str]) -> KeyRing:
        """Make a ring of `id:base64` entries. Raises ValueError, which repeats none of them."""
        return cls(read_entries(entries))

    @classmethod
    def of_file(cls, path: Path) -> KeyRing:
        """Read a key file: an entry a line; empty lines and those that begin with `#` are passed over.

        Raises StartupError: it cannot be read, holds no keys, or others than its owner and group may read it.
        """
        return cls(read_file(path), lambda: read_file(path))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the primary first."""
        return tuple(self._keys)

    def encrypt(self, plain: bytes, binding: bytes) -> str:
        """Return a ciphertext that can be decrypted with the same binding alone. Takes some 2 us."""
        if not self._left:
            self._salt, self._left = os.urandom(_SALT_BYTES), _MOST_MESSAGES
        self._left -= 1
        nonce, head = os.urandom(_NONCE_BYTES), f"{_FORM}.{self.primary}."
        encrypted = self._cipher(self.primary, self._salt).encrypt(nonce, plain, head.encode() + binding)
        return head + urlsafe_b64encode(self._salt + nonce + encrypted).decode()

    def decrypt(self, text: str, binding: bytes) -> bytes:
        """Return what was encrypted with this binding. Raises SecretUnreadable, which says why and repeats
        nothing."""
        if not is_encrypted(text):
            raise SecretUnreadable("it is not in a form that this version reads")
        key_id = key_of(text)
        try:
            raw = urlsafe_b64decode(text[len(_FORM) + len(key_id) + 2 :])
        except ValueError:
            raise SecretUnreadable("it was altered, or is not in its own place") from None
        nonce, encrypted = raw[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES], raw[_SALT_BYTES + _NONCE_BYTES :]
        if key_id not in self._keys:
            self._look_again()
        if key_id not in self._keys:
            raise SecretUnreadable(f"key {key_id} is not in the key ring of this process")
        try:
            cipher = self._cipher(key_id, raw[:_SALT_BYTES])
            return cipher.decrypt(nonce, encrypted, f"{_FORM}.{key_id}.".encode() + binding)
        except (_invalid_tag(), ValueError):  # asked for at a failure alone
            raise SecretUnreadable("it was altered, or is not in its own place") from None

    def fingerprint(self, value: bytes, app_id: str) -> str:
        """Return what tells two values of one app apart, and tells nothing else to who lacks the primary
        key."""
        return hmac.digest(self._marker, app_id.encode() + b"\0" + value, "sha256").hex()[:FINGERPRINT_CHARS]

    def _derive(self, key_id: str, salt: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # here: most processes encrypt nothing

        return AESGCM(hmac.digest(self._keys[key_id], b"ringtime encryption 1" + salt, "sha256"))

    def _look_again(self) -> None:
        """Read the ring once more: a key may have been added since. The primary stays until a restart."""
        now_s = time.monotonic()
        if self._reread is None or now_s - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        try:
            found = self._reread()
        except StartupError as error:
            _log.warning("the key ring cannot be read again: %s", error)
            return
        for key_id, key in found.items():
            self._keys.setdefault(key_id, key)


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


def binding_of(*parts: str) -> bytes:
    """Return what a text is bound to: app, field and row, none of which holds a NUL."""
    return "\0".join(parts).encode()


def is_encrypted(text: str) -> bool:
    """Whether a text has the form of a ciphertext."""
    return text.startswith("rt1.") and _CIPHERTEXT.fullmatch(text) is not None


def has_form(text: str) -> bool:
    """Whether a text begins as a ciphertext does, of this version or another one, be it whole or damaged."""
    return _ANY_FORM.match(text) is not None


def key_of(text: str) -> str:
    """Return the id of the key that a ciphertext is encrypted under, `NO_KEY` of one that is damaged."""
    return text.split(".", 2)[1] if is_encrypted(text) else NO_KEY


def new_entry(key_id: str) -> str:
    """Return the entry of a new random key."""
    return f"{key_id}:{b64encode(os.urandom(KEY_BYTES)).decode()}"


def read_entries(entries: Iterable[str]) -> dict[str, bytes]:
    """Return keys by id, in order. Raises ValueError, which names an entry by its number and never repeats
    it."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(entries, 1):
        if not _ENTRY.fullmatch(entry):
            raise ValueError(f"key {number} must be ID:KEY, the key 32 bytes as base64")
        key_id, _, key = entry.partition(":")
        if key_id in keys:
            raise ValueError(f"key {number} has the id of an earlier one")
        keys[key_id] = b64decode(key)
    if not keys:
        raise ValueError("there is no key")
    return keys


def read_file(path: Path) -> dict[str, bytes]:
    """Return the keys of a file, in order. Raises StartupError."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise StartupError(f"key file {path} is open to others: chmod 600 {path}")
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
        return read_entries(line for line in lines if line and not line.startswith("#"))
    except OSError as error:
        raise StartupError(f"cannot read key file {path}: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError among it, whose text quotes the file
        why = "it is not ASCII" if isinstance(error, UnicodeError) else str(error)
        raise StartupError(f"cannot read key file {path}: {why}") from None


def write_file(path: Path, entries: Iterable[str]) -> None:
    """Write a key file for its owner alone; one that is there already is replaced as a whole, for those who
    could read it. Durable on return. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        new.unlink()  # of one that was killed over it; in a container all have the same process id
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(_HEAD)
            file.writelines(f"{entry}\n" for entry in entries)
            with suppress(FileNotFoundError):
                before = path.stat()
                with suppress(PermissionError):
                    os.fchown(fd, before.st_uid, before.st_gid)
                    os.fchmod(fd, stat.S_IMODE(before.st_mode) & ~_OTHERS)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Have the name of a file outlive a power cut, as what is encrypted under its keys does."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def add_key(path: Path, key_id: str, *, is_primary: bool) -> tuple[str, ...]:
    """Add a new key to a key file, made if there is none; return the ids of all, the primary first.

    Raises StartupError for a file that is no ring, ValueError for an id, OSError.
    """
    stored = read_file(path) if path.exists() else {}
    entries = [f"{name}:{b64encode(key).decode()}" for name, key in stored.items()]
    new = [new_entry(key_id)]
    entries = [*new, *entries] if is_primary else [*entries, *new]
    try:
        ids = tuple(read_entries(entries))
    except ValueError:
        raise ValueError("the id of a key is 1 to 32 of A-Z, a-z, 0-9, _ and -, and given once") from None
    write_file(path, entries)
    return ids


def ring_of(settings: SecretSettings, folder: str = "") -> KeyRing | None:
    """Return the ring that settings give, or else that of a data folder; None: there is none. Raises
    StartupError."""
    if settings.key_file:
        return KeyRing.of_file(Path(settings.key_file))
    if settings.keys:
        return KeyRing.of_entries(settings.keys)
    if folder and (Path(folder) / FILE_NAME).exists():
        return KeyRing.of_file(Path(folder) / FILE_NAME)
    return None


def split_ring(settings: SecretSettings) -> KeyRing | None:
    """Return the ring of a process of a split deployment; None: secrets are to lie in the store as plain
    text. Raises StartupError."""
    ring = ring_of(settings)
    if ring is None and settings.required:
        raise StartupError("secrets.required is set, and neither secrets.key_file nor secrets.keys")
    return ring


def ring_in(folder: Path) -> KeyRing | None:
    """Return the ring of a data folder; it is made if there is none. None: it cannot be, as on a full disk,
    where what is filed is to be fired all the same. Raises StartupError for one that cannot be read."""
    path = folder / FILE_NAME
    try:
        if not path.exists():
            # An id of its own: one made where a ring was lost can stand beside that, once it is found.
            write_file(path, [new_entry(f"{FIRST_ID}-{os.urandom(4).hex()}")])
    except OSError as error:
        _log.warning("cannot make key file %s: %s. %s", path, error.strerror, PLAIN_TEXT)
        return None
    return KeyRing.of_file(path)
