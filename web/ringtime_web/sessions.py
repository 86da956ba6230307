"""Who is signed in. Held in the memory of this process and nowhere else: a browser has a random number.

So a key is never stored, neither in a browser nor on a disk; whoever restarts the process signs everybody
out. Where several processes are behind one address, a browser must always come to the same one.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from ringtime_shared.access.grants import Scope

MOST_PER_KEY = 20  #: so that the holder of one key signs nobody else out
_BYTES = 32
_SEAL_CHARS = 32


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and what the API says he may do: so pages offer nothing else. The API decides."""

    who: str
    scopes: frozenset[str]
    apps: tuple[str, ...] | None  #: None: all

    def may(self, scope: str) -> bool:
        return scope in self.scopes


ANYBODY = Person("anybody", frozenset(scope.value for scope in Scope), None)  #: where there are no keys
NOBODY = Person("nobody", frozenset(), ())


@dataclass(slots=True)
class Session:
    """Somebody who is signed in."""

    key: str = field(repr=False)
    person: Person
    begun_ms: int
    seen_ms: int


class Sessions:
    """The sessions of one process, at most so many.

    Args:
        boot_ms: a clock that never goes back.
    """

    def __init__(
        self,
        *,
        boot_ms: Callable[[], int],
        life_ms: int,
        idle_ms: int,
        most: int,
        most_per_key: int = MOST_PER_KEY,
    ) -> None:
        self._boot_ms = boot_ms
        self._life_ms = life_ms
        self._idle_ms = idle_ms
        self._most = most
        self._most_per_key = most_per_key
        self._secret = secrets.token_bytes(_BYTES)
        self._all: OrderedDict[bytes, Session] = (
            OrderedDict()
        )  # by digest of what the browser has; idle first

    def __len__(self) -> int:
        return len(self._all)

    def begin(self, key: str, person: Person) -> str:
        """Sign the holder of a key in; return what his browser is to show from now on."""
        now_ms = self._boot_ms()
        same = [digest for digest, session in self._all.items() if session.key == key]
        for digest in same[: max(0, len(same) + 1 - self._most_per_key)]:
            del self._all[digest]
        while len(self._all) >= self._most:
            self._all.popitem(last=False)
        token = new_token()
        self._all[_digest(token)] = Session(key, person, now_ms, now_ms)
        return token

    def find(self, token: str, *, is_asked: bool = True) -> Session | None:
        """Return whose browser shows this; None: nobody's, or not any more.

        Args:
            is_asked: by somebody; a page that asks by itself does not keep a session that nobody uses.
        """
        digest = _digest(token)
        session = self._all.get(digest)
        if session is None:
            return None
        now_ms = self._boot_ms()
        if now_ms - session.begun_ms >= self._life_ms or now_ms - session.seen_ms >= self._idle_ms:
            del self._all[digest]
            return None
        if is_asked:
            session.seen_ms = now_ms
            self._all.move_to_end(digest)
        return session

    def end(self, token: str) -> None:
        """Sign out."""
        self._all.pop(_digest(token), None)

    def form_token(self, token: str) -> str:
        """Return what forms must have in them that a browser with this token sends: a page of another site
        can make the browser send its cookie, but cannot know this."""
        return hmac.digest(self._secret, token.encode(), "sha256").hex()

    def is_own_form(self, token: str, given: str) -> bool:
        """Whether a form comes from a page that this browser got here."""
        return bool(token) and hmac.compare_digest(self.form_token(token).encode(), given.encode())

    def seal(self, token: str, told: str) -> str:
        """Return what proves to the browser with this token that we told it this: somebody else's link cannot
        have it say so."""
        return hmac.digest(self._secret, f"told\n{token}\n{told}".encode(), "sha256").hex()[:_SEAL_CHARS]

    def is_sealed(self, token: str, told: str, given: str) -> bool:
        """Whether we told it."""
        return hmac.compare_digest(self.seal(token, told).encode(), given.encode())


def new_token() -> str:
    """Return a number that nobody can guess."""
    return secrets.token_urlsafe(_BYTES)


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
