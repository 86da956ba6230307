"""Callback types beside those that come with Ringtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSettings:
    """Set the same values in every process."""

    types: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")], ...] = ()
    """Classes to load at start, `module:Class`, each made without arguments: see `docs/callback-types.md`.
    One that has the name of a type that comes with Ringtime takes its place."""
