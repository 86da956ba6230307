"""What is to become of what came due between a backup and its restore.

A store that is restored is as it was: all that was sent since is waiting in it again, and overdue. Nothing in it
says what was sent, so whoever restores it decides, and must:

| came due | means |
|---|---|
| send | send it. What was sent already is sent once more, under the ids that its receivers know |
| skip | take it as sent up to an instant: when what was backed up ended. It is recorded MISS; what came due after that is sent late |
| hold | deactivate every app: nothing is taken or sent until somebody has looked, and activates them one by one |

Skipping goes by the slot of a filing, so a retry that was due is passed over like a first attempt, and a run of
a recurring schedule is, too, after its step: its chain goes on. Nobody is told of it by a hook, since it was most
likely sent. The instant stays in the store, and does no harm later: every slot that is filed from now on is above
it. Bulk jobs that send things again are ended with skip and hold: what was backed up may have gone on with them.

In each case no id is made twice: see `ids`.
"""  # noqa: E501 - a table

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from ringtime_shared.apps.states import deactivate
from ringtime_shared.ids import nonces_to_pass
from ringtime_shared.models.job import Job, JobAction, JobState
from ringtime_shared.stores.protocol import AppStore, JobStore, MetaStore

ENDED = "the store was restored from a backup"
_SENDING = (JobAction.RECONCILE, JobAction.RETRY)
_MOST_JOBS = 100_000


class CameDue(StrEnum):
    """What becomes of what came due since a backup."""

    SEND = "send"
    SKIP = "skip"
    HOLD = "hold"


class RestoredStore(AppStore, JobStore, MetaStore, Protocol):
    """What settling a restore needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was done, or would be."""

    held: tuple[str, ...]  #: apps that were active
    ended_jobs: int


async def settle_restore(
    store: RestoredStore, came_due: CameDue, *, sent_until_ms: int, now_ms: int, is_applied: bool = True
) -> Settled:
    """Make a store that was restored, and that no server runs on, one that servers may be started on.

    May be called again, with another decision.

    Args:
        sent_until_ms: for SKIP: up to when what came due is taken as sent; not later than now.
        is_applied: False: only say what would be done.

    Raises Damaged, StoreUnavailable, OutcomeUnknown, and VersionConflict where somebody changes apps
    meanwhile.
    """
    if is_applied:  # first: should the rest fail, no id is made twice all the same
        await store.note_restore(sent_until_ms if came_due is CameDue.SKIP else 0, nonces_to_pass())
    jobs = [] if came_due is CameDue.SEND else await _sending_jobs(store)
    active = [
        app for app in await store.fetch_apps() if app.active and app.deletion is None and not app.damage
    ]
    held = active if came_due is CameDue.HOLD else []
    if is_applied:
        for app in held:
            await store.replace_app(deactivate(app, now_ms))
        for job in jobs:
            await store.replace_job(_ended(job, now_ms))
    return Settled(held=tuple(app.app_id for app in held), ended_jobs=len(jobs))


async def _sending_jobs(store: JobStore) -> list[Job]:
    return [job for job in await store.fetch_open_jobs(_MOST_JOBS) if job.action in _SENDING]


def _ended(job: Job, now_ms: int) -> Job:
    return replace(
        job,
        revision=job.revision + 1,
        state=JobState.CANCELLED,
        error=ENDED,
        worker="",
        leased_until_ms=0,
        changed_ms=now_ms,
        ended_ms=now_ms,
    )
