"""What a process tells of itself, to Prometheus first of all.

| module | has |
|---|---|
| `names` | every instrument: name, labels, buckets, help. `docs/metrics.md` is made from it |
| `registry` | `Metrics`, what one process measures, and `UNMEASURED`, where nobody does |
| `apps`, `app_series` | counts of single apps in bounded memory, and the series of the busiest |
| `store_calls` | a store whose calls are timed |
| `page` | what Prometheus reads, in pieces |
| `goscheduler` | the same under goscheduler's names |
| `export`, `statsd` | how it leaves the process: at the port, and by UDP |

Every name is used in one place, where the thing happens that it names. Nothing is counted twice: what a node
needs to know of itself it reads from here, or what is read here from it.
"""

from ringtime_shared.metrics.registry import UNMEASURED, Metrics

__all__ = ["UNMEASURED", "Metrics"]
