"""What every service does between its command line and its first task."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import uvloop

from ringtime_shared.entry import leave_interrupted
from ringtime_shared.errors import RingtimeError
from ringtime_shared.logs.process import ignore_signals, listen_for_signals, start_log
from ringtime_shared.process.descriptors import raise_limit
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.settings.goscheduler import Conf, Conversion, read_conf

_log = logging.getLogger(__name__)
_NO_CONF = Conversion((), ())

#: For the system's resolver, read at the first lookup: a silent name server is asked twice for a second each,
#: not twice for five, because a thread that waits for it cannot be interrupted.
_RES_OPTIONS = "timeout:1 attempts:2"

#: When Python's collector looks at what is new, at what it kept once, at everything: see `settle_memory`.
_COLLECTED_AT = (5_000, 20, 50)


def run_service(
    main: Callable[[Settings], Coroutine[Any, Any, None]],
    *,
    service: str,
    config: Path | None,
    flags: Mapping[str, object],
    conf: Conf | None = None,
    split: Callable[[Settings], Settings] = lambda settings: settings,
) -> None:
    """Load the settings, set up the log, take all file descriptors there are, run `main` on uvloop.

    A RingtimeError is printed as one line, and the exit code is 1; it is 130 for a second Ctrl-C, which no
    `main` takes.

    Args:
        service: what its log lines call it.
        flags: values of the command line by key (`server.port`); None stands for a flag not given.
        conf: a configuration of goscheduler's, under `config`; the log says what of it has no effect.
        split: called with the settings before there is a loop; returns those that `main` is to run with, in
            each process that is to run it.
    """
    os.environ.setdefault("RES_OPTIONS", _RES_OPTIONS)
    try:
        of_conf = _NO_CONF if conf is None else read_conf(conf, os.environ)
        settings = load_settings(config, os.environ, flags=flags, under=of_conf.given)
        start_log(settings.logs, service)
        for each in of_conf.unused:
            _log.info("without effect here: %s", each)
        ignore_signals()
        raise_limit()
        uvloop.run(_run(main, split(settings)))
    except RingtimeError as error:
        sys.exit(f"Error: {one_line(str(error))}")
    except KeyboardInterrupt:
        leave_interrupted()


async def _run(main: Callable[[Settings], Coroutine[Any, Any, None]], settings: Settings) -> None:
    listen_for_signals(settings.logs)
    await main(settings)


def settle_memory() -> None:
    """Keep the garbage collector off what is there for good; for a process of ours that has started.

    By default it looks at everything each time that a quarter more was kept: an ingest pod whose caches
    filled stood still for up to 70 ms thirty times in 48,000 creates, and spent a fifth of their processor
    time on it. What was made up to now is not looked at again. What comes later is, less often than by
    default: garbage that no count of references frees waits for some thousand objects longer, and there is
    little of it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)


def one_line(text: str) -> str:
    """Return a message with its white space folded; the drivers' own have line breaks."""
    return " ".join(text.split())


def process_name(role: str) -> str:
    """Return a name no other live process has: the role, the host and the process id."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}"
