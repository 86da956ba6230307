"""The log of a process: set up once, and louder or quieter while it runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from ringtime_shared.logs.bounds import Bounds
from ringtime_shared.logs.form import formatter
from ringtime_shared.settings import LogSettings

LOUDER, AS_SET = signal.SIGUSR1, signal.SIGUSR2
#: the packages that say more at `debug`: what libraries say then is of use to nobody but their authors
_OURS = (
    "ringtime",
    "ringtime_client",
    "ringtime_dispatcher",
    "ringtime_ingest",
    "ringtime_shared",
    "ringtime_web",
)
_log = logging.getLogger(__name__)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes what `Bounds` lets pass. `emit` is called by one thread at a time."""

    def __init__(self, stream: TextIO, bounds: Bounds, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._bounds = bounds
        self._now_s = now_s

    def emit(self, record: logging.LogRecord) -> None:
        verdict = self._bounds.judge(record, self._now_s())
        if verdict.is_written:
            record.repeated = verdict.repeated or None
            record.dropped = verdict.dropped or None
            super().emit(record)


def start_log(settings: LogSettings, service: str) -> None:
    """Write what is logged in this process, by its libraries too, as the settings say.

    Args:
        service: what this process is called in its lines.
    """
    is_for_people = sys.stderr.isatty() if settings.format == "auto" else settings.format == "console"
    handler = _Handler(sys.stderr, Bounds(settings.quiet_s, settings.max_per_second))
    handler.setFormatter(formatter(service, is_json=not is_for_people, has_colours=sys.stderr.isatty()))
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_crash_of_thread
    set_level(settings.level)


def set_level(level: str) -> None:
    """Write what is of this level, and what is more urgent."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(number, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(number)


def ignore_signals() -> None:
    """Let the signals of `listen_for_signals` be without effect until that is called: by default they end a
    process."""
    for number in (LOUDER, AS_SET):
        signal.signal(number, signal.SIG_IGN)


def listen_for_signals(settings: LogSettings) -> None:
    """Set the level to `debug` at SIGUSR1, and back to that of the settings at SIGUSR2. In a running loop."""
    loop = asyncio.get_running_loop()
    for number, level in ((LOUDER, "debug"), (AS_SET, settings.level)):
        loop.add_signal_handler(number, _change_level, level)


def _change_level(level: str) -> None:
    set_level("info")  # or the next line might be left out
    _log.info("the level of the log is %s from now on", level)
    set_level(level)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        _log.critical("the process ends: a bug", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _log_crash_of_thread(told: threading.ExceptHookArgs) -> None:
    name = "" if told.thread is None else told.thread.name
    if told.exc_value is not None:
        _log.critical("thread %s ended: a bug", name, exc_info=told.exc_value)
