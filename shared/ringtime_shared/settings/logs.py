"""What a service says of itself on stderr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Log lines of the services; see [logs.md](logs.md)."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is written: this, and what is more urgent. SIGUSR1 sets a running process to `debug`, and SIGUSR2
    back."""

    format: Literal["auto", "json", "console"] = "auto"
    """`json`: one JSON object a line; `console`: for people; `auto`: that where stderr is a terminal, else
    JSON."""

    max_per_second: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """How many lines a process writes in a second at most. What is over is counted, and the next line tells
    how many."""

    quiet_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    """A line that would say again what one has said so short a time before is counted instead, and the next
    one tells how often. 0: all are written."""
