"""API keys: `rt_<id>_<secret><checksum>`, and what is kept of them.

A key is told once, to who has it issued, and is nowhere else. Each id is given to one key only. A key is
never changed: it is issued, and revoked, retired or left to expire; another grant is another key. An app has
as many keys as it needs, so one is replaced without a gap: issue the next, hand it out, and let the first
retire some time later.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol
from zlib import crc32

from ringtime_shared.access.grants import Grant, Scope, grant_of
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.errors import InvalidRequest, LimitReached, NotFound, Violation

MOST_KEYS = 10_000  #: of one deployment
MOST_APPS = 100  #: that one key names
MOST_LABEL_CHARS = 100
ENDED_KEPT_MS = 90 * 86_400_000  #: how long a key that was revoked or has expired is listed still
PAGE = 500
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS, _SECRET_CHARS, _SUM_CHARS = 12, 43, 6  #: of 62 digits: 71, 256 and 35 bits
_SECRET_BYTES = 32
_ANY = "[0-9A-Za-z]"
ID_PATTERN = f"{_ANY}{{{_ID_CHARS}}}"
KEY_PATTERN = f"rt_({ID_PATTERN})_{_ANY}{{{_SECRET_CHARS + _SUM_CHARS}}}"
_KEY = re.compile(KEY_PATTERN.encode())
_ID = re.compile(ID_PATTERN)


class KeyParts(NamedTuple):
    """What a key says that has the form of one."""

    key_id: str
    digest: bytes  #: SHA-256 of the whole key


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is kept of a key."""

    key_id: str
    digest: bytes
    grant: Grant
    label: str
    created_ms: int
    expires_ms: int | None = None  #: good before this instant; None: until it is revoked
    requests_per_second: int | None = None  #: over all pods; None: as the settings say
    creates_per_second: int | None = None
    retires_ms: int | None = None  #: another one took its place: good before this instant
    revoked_ms: int | None = None
    used_ms: int | None = None  #: about when it was used last: within some minutes; None: never
    damage: str = ""  #: what is stored of it cannot be read, and why; it is no key then

    def ends_ms(self) -> int | None:
        """Return from when on it lets nobody in, as far as is known; None: for ever."""
        known = [each for each in (self.expires_ms, self.retires_ms, self.revoked_ms) if each is not None]
        return min(known, default=None)

    def ended_ms(self, now_ms: int) -> int | None:
        """Return since when it lets nobody in; None: it does."""
        ends_ms = self.ends_ms()
        return ends_ms if ends_ms is not None and (ends_ms <= now_ms or self.revoked_ms is not None) else None

    def state(self, now_ms: int) -> str:
        """Return how it is, in a word for people."""
        if self.damage:
            return "cannot be read"
        if self.revoked_ms is not None:
            return "revoked"
        return "active" if self.ended_ms(now_ms) is None else "expired"


class KeyStore(Protocol):
    """The keys of a deployment. Every method may raise StoreUnavailable, writes also OutcomeUnknown; each may
    be repeated."""

    async def put_key(self, key: ApiKey) -> None:
        """Keep a new key. One of this id that is there was put by an earlier try, and stays as it is."""
        ...

    async def fetch_key(self, key_id: str) -> ApiKey | None:
        """Return a key as every acknowledged write has left it: one trip. One that cannot be read has its id
        and its `damage`."""
        ...

    async def list_keys(self, after: str, limit: int) -> list[ApiKey]:
        """Return keys by id, those after this one, at most `limit`; "": from the first."""
        ...

    async def revoke_key(self, key_id: str, at_ms: int) -> None:
        """Note that a key is revoked. There is no way back. Raises NotFound."""
        ...

    async def retire_key(self, key_id: str, at_ms: int) -> None:
        """Note from when on a key is not good any more, because another took its place. Raises NotFound."""
        ...

    async def note_key_use(self, key_id: str, at_ms: int) -> None:
        """Note when a key was used, which may be forgotten after a year."""
        ...

    async def drop_key(self, key_id: str) -> None:
        """Forget a key. It is for who calls to see that it lets nobody in any more."""
        ...


def read_key(text: bytes) -> KeyParts | None:
    """Return what a key says; None: it has not the form of one, or was mistyped. No store is asked."""
    match = _KEY.fullmatch(text)
    if match is None or text[-_SUM_CHARS:] != _checksum(text[:-_SUM_CHARS]):
        return None
    return KeyParts(str(match[1], "ascii"), sha256(text).digest())


def is_key_id(text: str) -> bool:
    """Whether a text may be the id of a key."""
    return _ID.fullmatch(text) is not None


def make_key(
    scopes: Iterable[Scope],
    apps: Iterable[str] | None,
    *,
    label: str,
    now_ms: int,
    expires_ms: int | None = None,
    requests_per_second: int | None = None,
    creates_per_second: int | None = None,
) -> tuple[str, ApiKey]:
    """Return a new key, which is told to nobody but who asked for it, and what is kept of it.

    Raises InvalidRequest.
    """
    grant = grant_of(scopes, apps)
    if violations := _check(grant, label, now_ms, expires_ms):
        raise InvalidRequest(violations)
    key_id = "".join(secrets.choice(_DIGITS) for _ in range(_ID_CHARS))
    secret = _to_digits(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _SECRET_CHARS)
    begin = f"rt_{key_id}_{secret}".encode()
    text = begin + _checksum(begin)
    key = ApiKey(
        key_id=key_id,
        digest=sha256(text).digest(),
        grant=grant,
        label=label,
        created_ms=now_ms,
        expires_ms=expires_ms,
        requests_per_second=requests_per_second,
        creates_per_second=creates_per_second,
    )
    return text.decode(), key


async def issue_key(
    store: KeyStore,
    scopes: Iterable[Scope],
    apps: Iterable[str] | None,
    *,
    label: str,
    now_ms: int,
    expires_ms: int | None = None,
) -> tuple[str, ApiKey]:
    """Make a key and have the store keep it; return both as `make_key` does. Raises as that and
    `keep_key`."""
    text, key = make_key(scopes, apps, label=label, now_ms=now_ms, expires_ms=expires_ms)
    await keep_key(store, key, now_ms)
    return text, key


async def keep_key(store: KeyStore, key: ApiKey, now_ms: int) -> None:
    """Have the store keep a new key. Keys that ended long ago are forgotten.

    Raises LimitReached when there are as many keys as there may be.
    """
    count = 0
    for each in await fetch_all_keys(store):
        ended_ms = each.ended_ms(now_ms)
        if ended_ms is not None and ended_ms < now_ms - ENDED_KEPT_MS:
            await store.drop_key(each.key_id)
        else:
            count += 1
    if count >= MOST_KEYS:
        raise LimitReached(f"there are {count:,} keys already; those that ended count for 90 days", "keys")
    await store.put_key(key)


async def fetch_all_keys(store: KeyStore) -> list[ApiKey]:
    """Return all keys by id, at most twice as many as there may be."""
    found: list[ApiKey] = []
    while len(found) < 2 * MOST_KEYS:
        page = await store.list_keys(found[-1].key_id if found else "", PAGE)
        found += page
        if not page:
            break
    return found


async def revoke_key(store: KeyStore, key_id: str, now_ms: int) -> None:
    """Revoke a key; to revoke it again is no error, and changes nothing. Raises NotFound."""
    key = await store.fetch_key(key_id) if is_key_id(key_id) else None
    if key is None:
        raise NotFound("key", key_id)
    if key.revoked_ms is None:
        await store.revoke_key(key_id, now_ms)


def _check(grant: Grant, label: str, now_ms: int, expires_ms: int | None) -> list[Violation]:
    wrong = []
    if not grant.scopes:
        wrong.append(Violation("scopes", f"must name at least one of {', '.join(Scope)}"))
    if grant.apps is not None and not 1 <= len(grant.apps) <= MOST_APPS:
        wrong.append(Violation("apps", f"must name 1 to {MOST_APPS}, or be left to all"))
    wrong += [Violation("apps", each.rule) for app_id in grant.apps or () for each in check_app_id(app_id)][
        :1
    ]
    if grant.apps is not None and Scope.RING_OPERATE in grant.scopes:
        wrong.append(Violation("scopes", f"{Scope.RING_OPERATE} is about all apps, and goes with all"))
    if not 1 <= len(label) <= MOST_LABEL_CHARS or not label.isprintable():
        wrong.append(Violation("label", f"must be 1 to {MOST_LABEL_CHARS} printable characters"))
    if expires_ms is not None and expires_ms <= now_ms:
        wrong.append(Violation("expires", "must be in the future"))
    return wrong


def _checksum(text: bytes) -> bytes:
    return _to_digits(crc32(text), _SUM_CHARS).encode()


def _to_digits(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
