"""The key ring that secrets are stored under."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

#: an id and 32 bytes as base64
KeyEntry = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{43}=$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """The keys that signing secrets, credentials of callbacks and, where an app asks for it, payloads are
    encrypted with before they are stored. Set the same in every process; `docs/secrets.md` has how keys are
    made and exchanged. `ringtime serve` makes a ring in its data folder if neither is set."""

    key_file: str = ""
    """The key ring: a file with one key a line, `ID:KEY`, the key 32 random bytes as base64; the first one
    encrypts. Others than its owner and group must not be able to read it. Empty: see `keys`."""

    keys: tuple[KeyEntry, ...] = field(default=(), repr=False)
    """The key ring itself, for where a file cannot be given: the first key encrypts. Empty, and no
    `key_file`: in a split deployment secrets lie in the store as plain text, which is said at each start."""

    required: bool = False
    """Whether a split deployment refuses to start without a key ring."""
