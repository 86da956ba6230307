"""What the machine has for a node: how many poller instances it may own, by memory, and how many attempts it
may make at once, by descriptors."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ringtime_shared.process.descriptors import descriptor_limit, fit_attempts
from ringtime_shared.settings import DispatchSettings, Settings

_BYTES_EACH = 3_000  #: three times what one takes without rows
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def fit_to_machine(settings: Settings) -> Settings:
    """Return the settings, with no more attempts at once than there are descriptors for."""
    return replace(settings, dispatch=fit_attempts(settings.dispatch, descriptor_limit()))


def most_owned(settings: DispatchSettings) -> int:
    """Return the setting, or what half of the memory holds."""
    return settings.max_owned or max(memory_bytes() // 2 // _BYTES_EACH, 1)


def memory_bytes(cgroups: tuple[str, ...] = _CGROUPS) -> int:
    """Return the memory of the machine, or of the container if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in cgroups:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdecimal():  # "max" where there is no limit
            limits.append(int(text))
    return min(limits)
