"""Operations of `JobStore`: plain reads; LWTs on the revision for changes.

`open_jobs` says which jobs may have something left to do. Its entry is written before the job, and deleted
after the job has ended: whoever dies in between leaves an entry too many, which the next look puts right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self
from uuid import UUID

from ringtime_shared.models.job import KEPT_MS, Job, JobKey, made_ms
from ringtime_shared.stores.cassandra.lwt import change
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_job, read_job, sound_job
from ringtime_shared.stores.protocol import LAST_ID, job_conflict

_PART = 0
_STRAY_MS = 600_000  #: an entry as old as this without a job was left by a create that failed
_TTL = f"USING TTL {KEPT_MS // 1_000}"

_GET = "SELECT revision, job FROM $jobs WHERE app_id = ? AND job_id = ?"
_LIST = "SELECT job_id, revision, job FROM $jobs WHERE app_id = ? AND job_id < ? LIMIT ?"
_CREATE = f"INSERT INTO $jobs (revision, job, app_id, job_id) VALUES (?, ?, ?, ?) IF NOT EXISTS {_TTL}"
_REPLACE = f"UPDATE $jobs {_TTL} SET revision = ?, job = ? WHERE app_id = ? AND job_id = ? IF revision = ?"
_PUT_OPEN = f"INSERT INTO $open_jobs (part, job_id, app_id) VALUES (?, ?, ?) {_TTL}"
_LIST_OPEN = "SELECT app_id, job_id FROM $open_jobs WHERE part = ? LIMIT ?"
_DELETE_OPEN = "DELETE FROM $open_jobs WHERE part = ? AND job_id = ? AND app_id = ?"


class JobTables:
    """`JobStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get, self._list, self._create, self._replace, *of_open = statements
        self._put_open, self._list_open, self._delete_open = of_open
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        statements = (_GET, _LIST, _CREATE, _REPLACE, _PUT_OPEN, _LIST_OPEN, _DELETE_OPEN)
        return cls(session, await session.prepare(*statements), now_ms)

    async def replace_job(self, job: Job) -> None:
        values = (job.revision, encode_job(job), *job.key)
        before = job.revision - 1
        if before:
            await self._change(job, self._replace.bind(*values, before))
        else:
            await self._session.write([self._put_open.bind(_PART, job.job_id, job.app_id)])
            await self._change(job, self._create.bind(*values))
        if not job.is_open:
            await self._close([job.key])

    async def _change(self, job: Job, statement: Any) -> None:
        stored: Job | None = await change(
            self._session,
            statement,
            lambda: self._fetch_serial(job.key),
            wanted=job,
            is_before=lambda found: (0 if found is None else found.revision) == job.revision - 1,
            what=f"the change of job {job.job_id}",
        )
        if stored != job:
            raise job_conflict(stored, job)

    async def _fetch_serial(self, key: JobKey) -> Job | None:
        records = await self._session.read(self._get.bind(*key), is_serial=True)
        return read_job(*key, *records[0]) if records else None

    async def _close(self, keys: Sequence[JobKey]) -> None:
        await self._session.write([self._delete_open.bind(_PART, job_id, app_id) for app_id, job_id in keys])

    async def fetch_job(self, key: JobKey) -> Job | None:
        records = await self._session.read(self._get.bind(*key))
        return sound_job(read_job(*key, *records[0]) if records else None)

    async def list_jobs(self, app_id: str, before: UUID | None, limit: int) -> list[Job]:
        records = await self._session.read(self._list.bind(app_id, before or LAST_ID, limit))
        return [read_job(app_id, *record) for record in records]

    async def fetch_open_jobs(self, limit: int) -> list[Job]:
        keys = [JobKey(*each) for each in await self._session.read(self._list_open.bind(_PART, limit))]
        if not keys:
            return []
        answers = await self._session.read_all([self._get.bind(*key) for key in keys])
        found = {
            key: read_job(*key, *record)
            for key, records in zip(keys, answers, strict=True)
            for record in records
        }
        stray_ms = self._now_ms() - _STRAY_MS
        over = [
            key
            for key in keys
            if (key in found and not found[key].is_open)
            or (key not in found and made_ms(key.job_id) < stray_ms)
        ]
        if over:
            await self._close(over)
        return [job for job in found.values() if job.is_open]
