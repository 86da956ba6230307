"""Operations of `JobStore`."""

from __future__ import annotations

from uuid import UUID

from ringtime_shared.models.job import KEPT_MS, Job, JobKey
from ringtime_shared.stores.codec.documents import encode_job, read_job, sound_job
from ringtime_shared.stores.protocol import LAST_ID, job_conflict
from ringtime_shared.stores.sqlite.schedules import id_of
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "app_id, job_id, revision, job"
_GET = f"SELECT {_COLUMNS} FROM jobs WHERE app_id = ? AND job_id = ?"
_LIST = f"SELECT {_COLUMNS} FROM jobs WHERE app_id = ? AND job_id < ? ORDER BY job_id DESC LIMIT ?"
_LIST_OPEN = f"SELECT {_COLUMNS} FROM jobs INDEXED BY jobs_open WHERE is_open ORDER BY job_id LIMIT ?"
_PUT = f"REPLACE INTO jobs ({_COLUMNS}, is_open, expires_ms) VALUES (?, ?, ?, ?, ?, ?)"


def replace_job(session: Session, job: Job) -> None:
    stored = _fetch(session, job.key)
    if stored == job:
        return
    if (0 if stored is None else stored.revision) != job.revision - 1:
        raise job_conflict(stored, job)
    values = (job.app_id, job.job_id.bytes, job.revision, encode_job(job))
    session.connection.execute(_PUT, (*values, job.is_open, job.changed_ms + KEPT_MS))


def fetch_job(session: Session, key: JobKey) -> Job | None:
    return sound_job(_fetch(session, key))


def _fetch(session: Session, key: JobKey) -> Job | None:
    found = session.fetch(_GET, (key.app_id, key.job_id.bytes))
    return read_job(*key, *found[0][2:]) if found else None


def list_jobs(session: Session, app_id: str, before: UUID | None, limit: int) -> list[Job]:
    found = session.fetch(_LIST, (app_id, (before or LAST_ID).bytes, limit))
    return [read_job(app_id, id_of(job_id), *record) for _, job_id, *record in found]


def fetch_open_jobs(session: Session, limit: int) -> list[Job]:
    found = session.fetch(_LIST_OPEN, (limit,))
    jobs = (read_job(app_id, id_of(job_id), *record) for app_id, job_id, *record in found)
    return [job for job in jobs if not job.damage]
