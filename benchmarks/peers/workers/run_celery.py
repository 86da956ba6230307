"""Celery on Redis: worker, creates and count. gevent with 100 places, acknowledged late."""

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402 - after the patch
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
import jobs  # noqa: E402
import urllib3  # noqa: E402
from celery import Celery  # noqa: E402

app = Celery("peers", broker=f"redis://{jobs.DATABASE}/0")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,  # a job that is being done when the worker dies comes again
    task_reject_on_worker_lost=True,
    broker_pool_limit=64,
    # 10 by default: acknowledgements fail with "Too many connections" beside 100 places.
    broker_transport_options={"max_connections": 300},
    broker_connection_retry_on_startup=True,
)
http = urllib3.PoolManager(maxsize=200, block=False)


@app.task(name="post")
def post(**job: object) -> None:
    url = jobs.url(job["id"], job["due"])  # type: ignore[arg-type]
    answer = http.request("POST", url, body=json.dumps(job), retries=False)
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}")


def create(job: dict) -> None:  # type: ignore[type-arg]
    post.apply_async(kwargs=job, eta=jobs.due(job))


def load() -> int:
    order = jobs.ordered()
    if order.per_s:
        began_s = time.monotonic()
        tasks = []
        for number in range(order.count):
            gevent.sleep(max(began_s + number / order.per_s - time.monotonic(), 0))
            tasks.append(gevent.spawn(create, order.paced(number)))
        gevent.joinall(tasks, raise_error=True)
        return order.count
    made = itertools.count()
    batches = order.batches()

    def in_turn() -> None:
        for batch in batches:
            for job in batch:
                create(job)
                next(made)

    gevent.joinall([gevent.spawn(in_turn) for _ in range(order.at_once)], raise_error=True)
    return next(made)


if sys.argv[1] == "worker":
    app.worker_main(["worker", "-P", "gevent", "-c", "100", "-l", "WARNING"])
elif sys.argv[1] == "load":
    print(load())
else:
    with app.connection_for_read() as connection:
        redis = connection.default_channel.client
        print(redis.llen("celery") + redis.hlen("unacked"))
