"""Imports of a library without another that it takes if it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def absent(package: str) -> Iterator[None]:
    """Let what is imported meanwhile not find a package, though it is installed; who has it keeps it."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)  # None: Python refuses to import it
    known = modules.get(package)
    modules[package] = None
    try:
        yield
    finally:
        del modules[package]
        if known is not None:
            modules[package] = known
