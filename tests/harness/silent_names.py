"""Name servers that are silent for some names, in a real server process.

`RINGTIME_CALLBACKS_TYPES=tests.harness.silent_names:SilentNames` loads it: from then on a lookup of a name
under `silent.test` takes as long as the system's resolver takes with a name server that never answers.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.errors import Violation

ZONE = "silent.test"
_SILENCE_S = 10.0  #: a name server asked twice, for five seconds each
_system = socket.getaddrinfo


def _getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    if isinstance(host, str) and host.endswith(ZONE):
        time.sleep(_SILENCE_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _system(host, *arguments, **options)


class SilentNames(CallbackType):
    """Calls nothing; it is there to be loaded."""

    name = "silent-names"

    def __init__(self) -> None:
        socket.getaddrinfo = _getaddrinfo

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        return Reply(ok=True)
