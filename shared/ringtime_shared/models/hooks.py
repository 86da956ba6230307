"""Hooks: callbacks with how a schedule ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from ringtime_shared.ids import COUNTER_BITS, MAX_COUNT, MAX_NONCES, IdParts, Kind, app_number_of, pack_id


class HookEvent(StrEnum):
    """What a hook tells of; the words are those of the API."""

    SUCCESS = "onSuccess"  #: it was delivered
    FAILURE = "onFailure"  #: it was given up
    MISSED = "onMissed"  #: it came due too late, or was passed over, and was not sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where a hook goes; what `callback` is of a schedule."""

    callback_type: str
    #: JSON object, as the callback type understands it; not in the repr, which gets logged
    callback_details: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The hooks of an app, or of a schedule, which has them instead of its app's."""

    on_success: Hook | None = None
    on_failure: Hook | None = None
    on_missed: Hook | None = None
    has_payload: bool = False  #: hooks are sent the payload of the schedule as well

    def given(self) -> dict[HookEvent, Hook]:
        """Return the hooks that there are."""
        hooks = {
            HookEvent.SUCCESS: self.on_success,
            HookEvent.FAILURE: self.on_failure,
            HookEvent.MISSED: self.on_missed,
        }
        return {event: hook for event, hook in hooks.items() if hook is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class HookOf:
    """What the row of a hook tells of. Such a row has no hooks itself."""

    schedule_id: UUID
    event: HookEvent
    replay: int = 0  #: 0: of the schedule itself; n: of its n-th replay

    @property
    def key(self) -> str:
        """The same for every hook that tells of the same end, however often it was filed and sent."""
        return f"{self.schedule_id}.{self.replay}.{self.event}"


def hook_id(hook_of: HookOf, *, slot_ms: int, partition: int) -> UUID:
    """Return the id of the row of a hook whose home is filed here: the same for all who file it there."""
    rest = int.from_bytes(sha256(f"hook\0{hook_of.key}".encode()).digest(), "big")
    return pack_id(
        IdParts(
            slot_ms=slot_ms,
            kind=Kind.RUN,
            partition=partition,
            app_number=app_number_of(hook_of.schedule_id),
            nonce=rest >> COUNTER_BITS & MAX_NONCES - 1,
            counter=rest & MAX_COUNT - 1,
        )
    )
