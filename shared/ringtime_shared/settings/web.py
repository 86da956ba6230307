"""The dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The dashboard, `ringtime-web`; and as pages of `ringtime serve`, where address, port and `api_url` are
    the server's own. Certificate and names are those of `server`, and what holds for listening beyond this
    machine holds for it, too."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address that `ringtime-web` listens on. This machine only, unless said otherwise."""

    port: Annotated[int, Meta(ge=0, le=65_535)] = 8090
    """TCP port of `ringtime-web`; 0 takes a free one."""

    api_url: Annotated[str, Meta(pattern=r"^https?://[^\s?#]+$", max_length=1_000)] = "http://127.0.0.1:8080"
    """Where the dashboard reaches the API, with or without `/goscheduler`. Whoever signs in sends an API key
    there."""

    prefix: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$", max_length=200)] = ""
    """What the paths of all pages begin with, as `/ringtime`, where a gateway has the dashboard under a path;
    the gateway passes the path on as it is."""

    is_served: bool = True
    """Whether `ringtime serve` has the dashboard: at `/` for browsers, and below `/ui/`."""

    session_hours: Annotated[float, Meta(ge=0.1, le=720)] = 12.0
    """How long somebody stays signed in, in hours."""

    idle_minutes: Annotated[float, Meta(ge=1, le=1_440)] = 60.0
    """How long somebody stays signed in who asks for nothing, in minutes."""

    max_sessions: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """People signed in at once; the one who was away longest makes room for one more."""
