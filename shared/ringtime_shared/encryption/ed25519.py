"""Signing keys of Ed25519, written as Standard Webhooks writes them.

A private key is `whsk_` and the base64 of 64 bytes: the 32 that it is made from, then the public key, so that
who only shows the public key needs no arithmetic (`ringtime_shared.models.app.public_key_of`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringtime_shared.models.app import PRIVATE_PREFIX

_SEED_BYTES = 32
_MOST_KEPT = 1_024  #: opening a key costs about as much as signing with it


def make_private_key() -> str:
    """Return a new random key."""
    key = Ed25519PrivateKey.generate()
    both = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + b64encode(both).decode()


def sign(private_key: str, content: bytes) -> bytes:
    """Return the signature, 64 bytes."""
    return _opened(private_key).sign(content)


@lru_cache(maxsize=_MOST_KEPT)
def _opened(private_key: str) -> Ed25519PrivateKey:
    both = b64decode(private_key.removeprefix(PRIVATE_PREFIX))
    return Ed25519PrivateKey.from_private_bytes(both[:_SEED_BYTES])
