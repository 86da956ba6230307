"""Callback types of your own in a deployment: named in the settings, loaded by every pod at start."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module

from ringtime_shared.callbacks.foreign import describe
from ringtime_shared.callbacks.protocol import CallbackType
from ringtime_shared.errors import StartupError

NAME_RULE = "a name of 1 to 64 letters, digits, _, . and -"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_name(name: object) -> bool:
    """Whether a callback type may be called that."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def load_callback_types(specs: Sequence[str]) -> dict[str, CallbackType]:
    """Return the types of `module:Class`, by name. Each class is called without arguments.

    Raises StartupError, which says which one cannot be imported, cannot be made, or is no callback type.
    """
    kinds: dict[str, CallbackType] = {}
    for spec in specs:
        kind = _load(spec)
        if kind.name in kinds:
            raise StartupError(f"callbacks.types: {spec} is the second type named {kind.name}")
        kinds[kind.name] = kind
    return kinds


def _load(spec: str) -> CallbackType:
    module, _, name = spec.partition(":")
    try:
        kind = getattr(import_module(module), name)()
        is_kind, called = isinstance(kind, CallbackType), getattr(kind, "name", None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may also call `sys.exit`
        raise StartupError(f"callbacks.types: {spec}: {describe(error)}") from error
    if not is_kind:
        raise StartupError(f"callbacks.types: {spec} must have ringtime's CallbackType as a base")
    if not is_name(called):
        raise StartupError(f"callbacks.types: {spec} needs {NAME_RULE}")
    loaded: CallbackType = kind
    return loaded
