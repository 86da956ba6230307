"""What every service does between its command line and its first task."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import uvloop

from ringtime_shared.descriptors import raise_limit
from ringtime_shared.errors import RingtimeError
from ringtime_shared.settings import Settings, load_settings


def run_service(
    main: Callable[[Settings], Coroutine[Any, Any, None]], *, config: Path | None, flags: Mapping[str, object]
) -> None:
    """Load the settings, take all file descriptors there are, run `main` on uvloop; print a RingtimeError as
    one line and exit with 1.

    Args:
        flags: values of the command line by key (`server.port`); None stands for a flag not given.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    raise_limit()
    try:
        uvloop.run(main(load_settings(config, os.environ, flags=flags)))
    except RingtimeError as error:
        sys.exit(f"Error: {error}")


def process_name(role: str) -> str:
    """Return a name no other live process has: the role, the host and the process id."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}"
