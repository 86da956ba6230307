"""APScheduler 4 on PostgreSQL: worker, creates and count. Its data store and event broker on asyncpg."""

import asyncio
import sys

import jobs
from apscheduler import AsyncScheduler
from apscheduler.datastores.sqlalchemy import SQLAlchemyDataStore
from apscheduler.eventbrokers.asyncpg import AsyncpgEventBroker
from apscheduler.triggers.date import DateTrigger
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

posters: list[jobs.Poster] = []


async def post(**job: object) -> None:
    await posters[0].post(job)


async def main() -> None:
    url = jobs.DATABASE.replace("postgres://", "postgresql+asyncpg://")
    engine = create_async_engine(url, pool_size=16, max_overflow=0)
    if sys.argv[1] == "count":
        async with engine.connect() as connection:
            held = "SELECT (SELECT count(*) FROM schedules) + (SELECT count(*) FROM jobs)"
            print((await connection.execute(text(held))).scalar_one())
        return
    broker = AsyncpgEventBroker.from_async_sqla_engine(engine)
    async with AsyncScheduler(SQLAlchemyDataStore(engine), broker) as scheduler:
        await scheduler.configure_task("post", func=post)
        if sys.argv[1] == "worker":
            posters.append(jobs.Poster())
            await scheduler.run_until_stopped()
        elif sys.argv[1] == "load":

            async def batch(made: list) -> None:  # type: ignore[type-arg]
                for job in made:
                    trigger = DateTrigger(jobs.due(job))
                    await scheduler.add_schedule("post", trigger, kwargs=job, id=str(job["id"]))

            await jobs.create(batch)


# A job names its function by module, which for a program has to be one that can be imported.
sys.modules["run_apscheduler"] = sys.modules["__main__"]
post.__module__ = "run_apscheduler"
asyncio.run(main())
