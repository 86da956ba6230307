"""Configuration, secrets and resize of an app, as JSON; the same for all durable drivers.

Keys that are not known are passed over, so what a later version wrote can be read.
"""

from __future__ import annotations

import msgspec

from ringtime_shared.models.app import AppConfiguration, Resize, SigningSecret
from ringtime_shared.stores.slim import encode_slim

decode_configuration = msgspec.json.Decoder(AppConfiguration).decode
_decode_resize = msgspec.json.Decoder(Resize).decode
_decode_secrets = msgspec.json.Decoder(tuple[SigningSecret, ...]).decode


def encode_configuration(configuration: AppConfiguration) -> str:
    """Return a JSON object without the fields that are None."""
    return encode_slim(configuration).decode()


def encode_secrets(secrets: tuple[SigningSecret, ...]) -> str:
    """Return a JSON array."""
    return encode_slim(secrets).decode()


def decode_secrets(text: str | None) -> tuple[SigningSecret, ...]:
    """Read a JSON array; None, as an app from before there were secrets has it, holds none."""
    return () if text is None else _decode_secrets(text)


def encode_resize(resize: Resize | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if resize is None else encode_slim(resize).decode()


def decode_resize(text: str | None) -> Resize | None:
    """Read a JSON object; None, as an app from before there were resizes has it, is none."""
    return None if text is None else _decode_resize(text)
