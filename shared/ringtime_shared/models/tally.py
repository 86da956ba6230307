"""How many rows of an app one process has filed, by when they are forgotten."""

from __future__ import annotations

from typing import NamedTuple

DAY_MS = 86_400_000


class Tally(NamedTuple):
    """A count, as it stands: a later one of the same app, day and holder takes its place."""

    app_number: int
    day: int  #: on which the rows expire, in days since 1970
    holder: int  #: the nonce of the process that filed them
    rows: int
