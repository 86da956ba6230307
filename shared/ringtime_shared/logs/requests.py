"""Which request a line belongs to, told by the context it is written in.

Nothing is looked up, and no id made, before a line is written: a request that nobody has to say anything of
pays a fifth of a microsecond. Tasks that a request has started go on with a copy of its context, and may
outlive it; so what the context has is emptied when the request is over.
"""

from __future__ import annotations

import random
import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from ringtime_shared.api.audit import REQUEST_ID, REQUEST_ID_PATTERN

Scope = MutableMapping[str, Any]  #: of ASGI
_KEY = "ringtime.request_id"  #: in the scope
_HEADER = REQUEST_ID.lower().encode()
_ID = re.compile(REQUEST_ID_PATTERN)
#: Lines of this context belong to the one request in the list that is set, until that is cleared.
under_way: ContextVar[list[Scope] | None] = ContextVar("request", default=None)


def name_request(scope: Scope, given: str = "") -> str:
    """Return the id of a request: what it was called before, or brings, or one that it gets now.

    Args:
        given: what it brings, if that was read already.
    """
    known: str | None = scope.get(_KEY)
    if known is None:
        known = scope[_KEY] = given or _brought(scope) or str(UUID(int=random.getrandbits(128), version=4))
    return known


def request_id() -> str | None:
    """Return the id of the request that this context belongs to; None: it belongs to none."""
    held = under_way.get()
    return name_request(held[0]) if held else None


def _brought(scope: Scope) -> str:
    texts = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
    return texts[0] if len(texts) == 1 and _ID.fullmatch(texts[0]) else ""
