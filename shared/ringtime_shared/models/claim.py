"""Which schedule an idempotency key, or a name, stands for; which change of one a slot is for; and which
second was chosen for a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class ClaimKind(StrEnum):
    """What a claimed text is."""

    KEY = "key"  #: an idempotency key of a create
    NAME = "name"  #: the name of a one-time schedule
    SLOT = "slot"  #: a schedule and a slot: only one change of it is ever filed there
    SECOND = "second"  #: a run: the digest is the second of its window that was chosen for it


class ClaimKey(NamedTuple):
    """A text that an app has claimed, or may; those of two kinds have nothing to do with each other."""

    app_id: str
    kind: ClaimKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The schedule that a text stands for, decided before that schedule is filed."""

    key: ClaimKey
    schedule_id: UUID  #: also says where the home row is filed
    digest: str  #: of what was asked for
    claimed_ms: int  #: when; the create time of the schedule
    busy_until_ms: int  #: up to then whoever claimed it is most likely writing the schedule
    expires_ms: int  #: the text is free again from then on
