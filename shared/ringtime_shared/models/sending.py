"""How a schedule, or each run of a recurring one, is sent, and what follows, where that is not as of most."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringtime_shared.models.hooks import HookOf, Hooks


class Priority(StrEnum):
    """Which of an app's callbacks to one destination goes first, when they have to wait."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How a schedule is sent, and what follows, where that is not as of most."""

    is_base64: bool = False  #: the payload is the base64 of the bytes that are sent
    timeout_ms: int | None = None  #: of one attempt, instead of its app's
    priority: Priority = Priority.NORMAL
    hooks: Hooks | None = None  #: None: its app's
    hook_of: HookOf | None = None  #: it is the row of a hook
    #: an answer of 202 is not its end: the receiver says when it is done, and has so long for it
    completion_ms: int | None = None
    #: its payload is stored encrypted and shown to nobody; see `ringtime_shared.encryption`
    is_private: bool = False
    #: the id of its twin, which goscheduler has of it; "": it has none. See `ringtime_shared.shadow`
    twin: str = ""
    is_encrypted: bool = False  #: of a private one: its payload is a ciphertext, as a store has it
