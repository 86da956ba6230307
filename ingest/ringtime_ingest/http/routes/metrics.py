"""What Prometheus reads from the API, of the process that answers: `GET /metrics`, how many requests it has
answered; and of an app, for its owner, what it has counted of that.

Names and labels of `/metrics` are goscheduler's, `request` for its routes as well. Nothing there names an
app, but how much everybody asks for is nobody's to read who is not granted it: Prometheus sends a key, too.
All else is at a port of its own (`ringtime_shared.metrics.export`), where no tenant reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import Answer
from ringtime_ingest.http.gate import DURATION, RequestCounts
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.routes import BASE
from ringtime_ingest.service import IngestService
from ringtime_shared.access import Scope
from ringtime_shared.metrics.page import TYPE, app_page
from ringtime_shared.metrics.registry import Buckets

#: goscheduler's words for its routes; a route of ours is called by subject and verb
_WORDS: Mapping[str, str] = {
    "app_register": "register_app",
    "app_fetch": "GetApps",
    "app_activate": "activate_app",
    "app_deactivate": "deactivate_app",
    "schedule_fetch_page": "GetAppSchedule",
    "schedule_create": "create_schedule",
    "schedule_create_flat": "create_schedule",
    "schedule_fetch": "GetSchedule",
    "schedule_cancel": "DeleteSchedule",
    "recurring_fetch_runs_by_id": "GetScheduleRuns",
    "recurring_fetch_crons": "GetCronSchedule",
    "job_ask": "BulkAction",
}
_OTHER = "other"  #: no route's: a path or a method that there is not, or refused at the gate


def render(counted: RequestCounts) -> str:
    """Return requests that were answered, as Prometheus reads them."""
    counts: Counter[tuple[str, str]] = Counter()
    for (endpoint, is_good), count in counted.counts.items():
        counts[_word_of(endpoint), "Success" if is_good else "Fail"] += count
    totals: Counter[str] = Counter()
    for (word, _), count in counts.items():
        totals[word] += count
    return "".join(
        [
            "# HELP http_requests_total Requests that were answered, by what they asked for.\n",
            "# TYPE http_requests_total counter\n",
            *(f'http_requests_total{{request="{word}"}} {totals[word]}\n' for word in sorted(totals)),
            "# HELP request_status The same, by whether they got it.\n",
            "# TYPE request_status counter\n",
            *(
                f'request_status{{request="{word}",status="{status}"}} {counts[word, status]}\n'
                for word, status in sorted(counts)
            ),
            "# HELP http_requests_duration How long requests took, in seconds.\n",
            "# TYPE http_requests_duration histogram\n",
            *_durations(counted.took),
        ]
    )


def _durations(durations: Mapping[object, Buckets]) -> Iterator[str]:
    bounds = [*map(str, DURATION.buckets), "+Inf"]
    of_words: dict[str, list[Buckets]] = {}
    for endpoint, took in durations.items():
        of_words.setdefault(_word_of(endpoint), []).append(took)
    for word, several in sorted(of_words.items()):
        counts = list(accumulate(map(sum, zip(*(each.counts for each in several), strict=True))))
        label = f'request="{word}"'
        for bound, count in zip(bounds, counts, strict=True):
            yield f'http_requests_duration_bucket{{{label},le="{bound}"}} {count}\n'
        yield f"http_requests_duration_count{{{label}}} {counts[-1]}\n"
        yield f"http_requests_duration_sum{{{label}}} {sum(each.total for each in several)}\n"


class MetricsRoutes:
    """Show the counts."""

    def __init__(self, counts: RequestCounts, service: IngestService) -> None:
        self._counts = counts
        self._service = service

    def all(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Declared("/metrics", self.fetch, ["GET"], Scope.METRICS_READ),
            *(
                Declared(f"{BASE}/{word}/{{app_id}}/metrics", self.fetch_of_app, ["GET"], Scope.METRICS_READ)
                for word in ("apps", "app")
            ),
        ]

    async def fetch(self, request: Request) -> Response:
        return Answer(render(self._counts).encode(), 200, kind=TYPE)

    async def fetch_of_app(self, request: Request) -> Response:
        (app,) = await self._service.fetch_apps(request.path_params["app_id"])
        return Answer(app_page(self._service.metrics, app.app_id), 200, kind=TYPE)


def _word_of(endpoint: object) -> str:
    kind, _, verb = getattr(endpoint, "__qualname__", "").rpartition(".")
    if not kind.endswith("Routes"):
        return _OTHER
    subject = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.removesuffix("Routes")).lower()
    return _WORDS.get(f"{subject}_{verb}", f"{subject}_{verb}")
