"""Scripts and styles, read once from this package and compressed once."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, as it is sent."""

    kind: str
    body: bytes
    packed: bytes  #: gzip
    version: str  #: of its bytes: an address with it may be kept for ever


@cache
def static_files() -> dict[str, StaticFile]:
    """Return all by name."""
    found = {}
    for path in files("ringtime_web").joinpath("static").iterdir():
        suffix = path.name[path.name.rfind(".") :]
        if suffix in _KINDS:
            body = path.read_bytes()
            version = sha256(body).hexdigest()[:12]
            found[path.name] = StaticFile(_KINDS[suffix], body, gzip.compress(body, 9, mtime=0), version)
    return found
