"""Say once what would otherwise be said at each turn of a loop."""

from __future__ import annotations

import logging
from collections.abc import Hashable

_MOST_KEYS = 1_000


class OnceLog:
    """Warnings that are written once for each key, as far as `_MOST_KEYS` are remembered."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[Hashable, None] = {}  # oldest first

    def warn(self, key: Hashable, message: str, *values: object) -> None:
        """Write the message unless one of this key was written."""
        if key in self._said:
            return
        if len(self._said) >= _MOST_KEYS:
            del self._said[next(iter(self._said))]
        self._said[key] = None
        self._log.warning(message, *values)
