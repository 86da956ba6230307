"""What each route does: parse, ask the service, answer.

The seed's code has plural paths and nests a schedule as `data.schedule`; its README shows singular ones
and, for a create, the schedule itself as `data`. Both are served.
"""

BASE = "/goscheduler"
