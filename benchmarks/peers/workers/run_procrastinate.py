"""procrastinate on PostgreSQL: worker, creates and count. 64 at once, fetches every 20 ms, with the periodic
rescue of stalled jobs that its documentation describes, each minute."""

import asyncio
import sys

import jobs
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=jobs.DATABASE, min_size=16, max_size=16))
posters: list[jobs.Poster] = []


@app.task(name="post")
async def post(**job: object) -> None:
    await posters[0].post(job)


@app.periodic(cron="* * * * *")
@app.task(name="rescue", queueing_lock="rescue", pass_context=True)
async def rescue(context: object, timestamp: int) -> None:  # noqa: ARG001 - what it is called with
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def batch(made: list) -> None:  # type: ignore[type-arg]
    if len(made) == 1:
        await post.configure(schedule_at=jobs.due(made[0])).defer_async(**made[0])
        return
    deferred = [post.configure(schedule_at=jobs.due(job)).job.evolve(task_kwargs=job) for job in made]
    await app.job_manager.batch_defer_jobs_async(deferred)


async def main() -> None:
    async with app.open_async():
        match sys.argv[1]:
            case "migrate":
                await app.schema_manager.apply_schema_async()
            case "worker":
                posters.append(jobs.Poster())
                await app.run_worker_async(concurrency=64, fetch_job_polling_interval=0.02)
            case "load":
                await jobs.create(batch)
            case "count":
                found = await app.connector.execute_query_one_async(
                    "SELECT count(*) AS held FROM procrastinate_jobs "
                    "WHERE status IN ('todo', 'doing') AND task_name = 'post'"
                )
                print(found["held"])


asyncio.run(main())
