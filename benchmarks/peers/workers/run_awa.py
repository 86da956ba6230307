"""awa on PostgreSQL by its Python library: worker, creates and count. 64 at once, promotes every 50 ms."""

import asyncio
import sys
from dataclasses import asdict, dataclass

import awa
import jobs


@dataclass
class Post:
    id: int
    due: int
    data: str


async def main() -> None:
    client = awa.AsyncClient(jobs.DATABASE, max_connections=32)
    match sys.argv[1]:
        case "migrate":
            await client.migrate()
        case "worker":
            poster = jobs.Poster()

            @client.task(Post, queue="peers")
            async def post(job: awa.Job) -> None:  # type: ignore[type-arg]
                await poster.post(asdict(job.args))

            # 200 and 250 ms by default; 10 ms cost it four times the processor time.
            await client.start([("peers", 64)], poll_interval_ms=50, promote_interval_ms=50)
            await asyncio.Event().wait()
        case "load":

            async def batch(made: list) -> None:  # type: ignore[type-arg]
                if len(made) == 1:
                    await client.insert(Post(**made[0]), queue="peers", run_at=jobs.due(made[0]))
                    return
                await client.enqueue_many_copy(
                    [Post(**job) for job in made],
                    queue="peers",
                    run_at=jobs.due(made[0]),  # one for all: of those that wait, a hundred fall due together
                )

            await jobs.create(batch)
        case "count":
            stats = [each for each in await client.queue_stats() if each.queue == "peers"]
            print(sum(each.scheduled + each.available + each.retryable + each.running for each in stats))


asyncio.run(main())
