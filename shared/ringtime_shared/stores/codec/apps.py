"""Apps."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from msgspec.json import Decoder

from ringtime_shared.ids import MAX_APPS, MAX_PARTITIONS
from ringtime_shared.models.app import App, AppConfiguration, Deletion, Resize, SigningSecret
from ringtime_shared.models.shadow import Shadow
from ringtime_shared.stores.codec.cells import (
    Columns,
    Count,
    Json,
    Millis,
    Shape,
    encode_slim,
    fault_of,
    read_json,
)

APP_COLUMNS = (
    "app_id, number, writable, polled, active, version, created_ms, configuration, secrets, resize,"
    " halted_ms, deletion, shadow"
)

_Partitions = Annotated[int, Meta(ge=1, le=MAX_PARTITIONS)]


class _AppColumns(Columns):
    app_id: str
    number: Annotated[int, Meta(ge=0, lt=MAX_APPS)]
    writable: _Partitions
    polled: _Partitions
    active: bool | Annotated[int, Meta(ge=0, le=1)]
    version: Count
    created_ms: Millis
    configuration: Json
    secrets: Json | None
    resize: Json | None
    halted_ms: Millis | None
    deletion: Json | None
    shadow: Json | None


_APP = Shape(_AppColumns)
NO_NUMBER = -1  #: of an app whose number cannot be read either

decode_configuration = Decoder(AppConfiguration).decode
_decode_deletion = Decoder(Deletion).decode
_decode_resize = Decoder(Resize).decode
_decode_shadow = Decoder(Shadow).decode
_decode_secrets = Decoder(tuple[SigningSecret, ...]).decode


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


def encode_deletion(deletion: Deletion | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if deletion is None else encode_slim(deletion).decode()


def encode_shadow(shadow: Shadow | None) -> str | None:
    """Return a JSON object; None stays None."""
    return None if shadow is None else encode_slim(shadow).decode()


def read_app(record: tuple[Any, ...]) -> App:
    """Read a record of `APP_COLUMNS`; of one that is damaged, what can be told of it and its `damage`."""
    (
        app_id,
        number,
        writable,
        polled,
        active,
        version,
        created_ms,
        configuration,
        secrets,
        resize,
        halted_ms,
        deletion,
        shadow,
    ) = record
    try:
        _APP.check(record)
        if polled < writable:
            raise ValueError(f"polled: {polled}, less than the {writable} writable partitions")
        return App(
            app_id=app_id,
            number=number,
            writable=writable,
            polled=polled,
            active=bool(active),
            version=version,
            created_ms=created_ms,
            configuration=read_json("configuration", decode_configuration, configuration, least=1),
            secrets=read_json("secrets", decode_secrets, secrets or "[]"),
            resize=None if resize is None else read_json("resize", _decode_resize, resize),
            halted_ms=halted_ms,
            deletion=None if deletion is None else read_json("deletion", _decode_deletion, deletion),
            shadow=None if shadow is None else read_json("shadow", _decode_shadow, shadow),
        )
    except ValueError as error:
        return App(
            app_id=app_id if isinstance(app_id, str) else str(app_id),
            number=number if isinstance(number, int) and 0 <= number < MAX_APPS else NO_NUMBER,
            writable=0,
            polled=0,
            active=False,
            version=0,
            created_ms=0,
            damage=fault_of(error),
        )
