"""What clients can ask for, without any transport: the HTTP routes and the library call the same service.

Its interface is `IngestService`, made of `IngestParts`, with `signing`, `batches`, `keyed`, `named`,
`listing`, `recurring`, `runs`, `calendars` and `dead_letters` for what belongs to them, and the requests and
answers named here. Behind it:

| module | does |
|---|---|
| `requests` | what is asked for, and the rules it must keep |
| `service` | one method for each thing that can be asked of apps and schedules |
| `apps` | the apps as they were last read, and how long ago |
| `commit` | the promise that an acknowledged row will be seen by a dispatcher |
| `keyed` | creates with an idempotency key |
| `named` | one-time schedules under a client's own names |
| `batches` | many creates, or many cancels, in one request |
| `imports` | schedules of another scheduler, and its ids |
| `dead_letters`, `replay` | deliveries that were given up: list, count, file again |
| `recurring` | recurring schedules: every change of a definition |
| `calendars` | the calendars of apps |
| `census` | how many recurring schedules an app may have, and the end of deleted ones |
| `runs` | the runs of recurring schedules, those to come among them |
| `listing` | an app's schedules by time |
| `jobs`, `job_actions` | bulk jobs, carried out in the background |
| `signing` | secrets of apps |
| `deletions` | deletions of apps, carried out in the background |

It talks to the store, whose driver it is given, and never to a transport: it imports neither `http` nor
starlette, and raises the errors of `ringtime_shared.errors` for somebody else to word.
"""

from ringtime_ingest.service.requests import Cancellation, Kept, NewApp, NewRecurring, NewSchedule, Offer
from ringtime_ingest.service.service import IngestParts, IngestService

__all__ = [
    "Cancellation",
    "IngestParts",
    "IngestService",
    "Kept",
    "NewApp",
    "NewRecurring",
    "NewSchedule",
    "Offer",
]
