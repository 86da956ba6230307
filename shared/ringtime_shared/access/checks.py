"""The keys as one process knows them: from what a request says to who its caller is."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from ringtime_shared.access.grants import Caller
from ringtime_shared.access.keys import KEY_PATTERN, ApiKey, KeyStore, read_key
from ringtime_shared.clock import Clock
from ringtime_shared.errors import (
    Damaged,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    Unauthenticated,
)
from ringtime_shared.once import OnceLog

FRESH_MS = 5_000  #: how long a read may be relied on, from before it was sent
AGAIN_MS = 3_000  #: how old it is when a request has it done again, and is not kept waiting
_TRY_AGAIN_MS = 250  #: after a read failed
_USE_MS = 60_000  #: between two notes of one key's use
_MOST_KNOWN = 10_000  #: keys; and as many ids that are none
_MOST_WAITING = 64  #: requests that wait for reads of ids that are not known here
_NEVER_MS = 1 << 62
_NO_DIGEST = bytes(sha256().digest_size)  #: of no key
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(" + KEY_PATTERN.encode() + rb") *")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """What a read has shown of one id."""

    begun_ms: int  #: boot time before the read was sent
    digest: bytes  #: of the key; `_NO_DIGEST`: there is no such key
    caller: Caller | None  #: None: it lets nobody in
    ends_ms: int  #: wall time from which on it does not
    used_ms: int  #: wall time of its use, as far as it was noted
    again_ms: int  #: boot time from which on it may be read again


_NOBODY = _Known(1 << 62, _NO_DIGEST, None, _NEVER_MS, 0, 0)


class KeyChecks:
    """Tells callers by their keys. For one event loop."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # Apart, so that ids which anybody can make up push no key out.
        self._keys: OrderedDict[bytes, _Known] = OrderedDict()
        self._others: OrderedDict[bytes, _Known] = OrderedDict()
        self._reads: dict[bytes, asyncio.Task[_Known | RingtimeError]] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._warn = OnceLog(_log).warn

    async def close(self) -> None:
        """End what goes on in the background."""
        tasks = [*self._reads.values(), *self._notes]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def recall(self, authorization: bytes) -> Caller | None:
        """Return who says this in `Authorization`, if that is known here and now; None: `check` knows.

        No I/O: the way of nearly every request.
        """
        match = _BEARER.fullmatch(authorization)
        if match is None:
            return None
        known = self._keys.get(match[2], _NOBODY)  # for whom the same is done, in the same time
        boot_ms = self._clock.boot_ms()
        if boot_ms - known.begun_ms >= FRESH_MS or self._clock.now_ms() >= known.ends_ms:
            return None
        if not compare_digest(sha256(match[1]).digest(), known.digest):
            return None
        if boot_ms - known.begun_ms >= AGAIN_MS and boot_ms >= known.again_ms:
            self._use(match[2], known, boot_ms)
        return known.caller

    async def check(self, authorization: bytes) -> Caller:
        """Return who says this, having asked the store if need be.

        Raises Unauthenticated for whatever is wrong with it, and StoreUnavailable when that cannot be told
        now.
        """
        match = _BEARER.fullmatch(authorization)
        key = None if match is None else read_key(match[1])
        if match is None or key is None:
            raise Unauthenticated
        key_id: bytes = match[2]
        boot_ms = self._clock.boot_ms()
        known = self._others.get(key_id, self._keys.get(key_id))
        if known is None or boot_ms - known.begun_ms >= FRESH_MS:
            known = await self._await_read(key_id, boot_ms)
        if not compare_digest(key.digest, known.digest):
            raise Unauthenticated
        if known.caller is None or self._clock.now_ms() >= known.ends_ms:
            self._warn(key.key_id, "API key %s is refused: its time is over, or it was revoked", key.key_id)
            raise Unauthenticated
        self._note_use(key_id, known)
        return known.caller

    async def _await_read(self, key_id: bytes, boot_ms: int) -> _Known:
        """Return what a read of this id shows, one that began just now or is under way."""
        stale = self._keys.get(key_id)
        if stale is None:
            if self._waiting >= _MOST_WAITING:
                raise StoreUnavailable("too many keys that are not known here; try again")
            self._waiting += 1
        elif boot_ms < stale.again_ms and key_id not in self._reads:
            raise StoreUnavailable("whether the key is good cannot be told now; try again")
        try:
            found = await asyncio.shield(self._read(key_id))
        finally:
            if stale is None:
                self._waiting -= 1
        if isinstance(found, RingtimeError):
            raise found
        if self._clock.boot_ms() - found.begun_ms >= FRESH_MS:
            raise StoreUnavailable("the read of the key took too long to be relied on; try again")
        return found

    def _read(self, key_id: bytes) -> asyncio.Task[_Known | RingtimeError]:
        """Return the read of this id that is under way; there is one at a time."""
        task = self._reads.get(key_id)
        if task is None:
            task = self._reads[key_id] = asyncio.create_task(self._fetch(key_id), name="read a key")
        return task

    async def _fetch(self, key_id: bytes) -> _Known | RingtimeError:
        begun_ms = self._clock.boot_ms()
        try:
            found = await self._store.fetch_key(key_id.decode())
        except (StoreUnavailable, OutcomeUnknown) as error:
            return self._failed(key_id, str(error))
        except Exception:  # noqa: BLE001 - many may wait for this, and none for its bug
            _log.exception("a key could not be read: a bug")
            return self._failed(key_id, "the key could not be read")
        else:
            return self._keep(key_id, found, begun_ms)
        finally:
            del self._reads[key_id]

    def _failed(self, key_id: bytes, reason: str) -> StoreUnavailable:
        known = self._keys.get(key_id)
        if known is not None:
            known.again_ms = self._clock.boot_ms() + _TRY_AGAIN_MS
        return StoreUnavailable(f"whether the key is good cannot be told now: {reason}")

    def _keep(self, key_id: bytes, found: ApiKey | None, begun_ms: int) -> _Known:
        is_good = found is not None and not found.damage and found.revoked_ms is None
        if found is not None and found.damage:
            self._warn(found.key_id, "%s; it is refused", Damaged("key", found.key_id, found.damage))
        caller = None
        if found is not None and is_good:
            caller = Caller(
                f"key {found.key_id}",
                found.grant,
                found.key_id,
                found.label,
                found.requests_per_second,
                found.creates_per_second,
            )
        ends_ms = None if found is None else found.ends_ms()
        before = self._keys.get(key_id)
        noted_ms = 0 if before is None else before.used_ms  # perhaps on its way to the store
        known = _Known(
            begun_ms=begun_ms,
            digest=_NO_DIGEST if found is None else found.digest or _NO_DIGEST,
            caller=caller,
            ends_ms=_NEVER_MS if ends_ms is None else ends_ms,
            used_ms=max(noted_ms, 0 if found is None or found.used_ms is None else found.used_ms),
            again_ms=begun_ms,
        )
        kept, other = (self._others, self._keys) if caller is None else (self._keys, self._others)
        other.pop(key_id, None)
        kept[key_id] = known
        kept.move_to_end(key_id)
        if len(kept) > _MOST_KNOWN:
            kept.popitem(last=False)
        return known

    def _use(self, key_id: bytes, known: _Known, boot_ms: int) -> None:
        """Have a key read again that is in use, while what is known of it goes on."""
        known.again_ms = boot_ms + _TRY_AGAIN_MS
        self._read(key_id)
        self._note_use(key_id, known)

    def _note_use(self, key_id: bytes, known: _Known) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - known.used_ms < _USE_MS:
            return
        known.used_ms = now_ms
        task = asyncio.create_task(self._put_use(key_id.decode(), now_ms), name="note the use of a key")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _put_use(self, key_id: str, now_ms: int) -> None:
        try:
            await self._store.note_key_use(key_id, now_ms)
        except (StoreUnavailable, OutcomeUnknown) as error:
            _log.info("the use of key %s is not noted: %s", key_id, error)
        except Exception:  # noqa: BLE001 - nobody awaits this
            _log.exception("the use of key %s is not noted: a bug", key_id)
