"""The page of what an app may set, made from its entries: `python -m ringtime_shared.apps.reference`."""

from __future__ import annotations

import sys

from ringtime_shared.api.configuration import keys
from ringtime_shared.models.setting import Entry
from ringtime_shared.settings.catalog import catalog

_HEAD = """\
# Settings of an app

Made from the code by `make docs`; change the entries in `shared/ringtime_shared/models/app.py`,
`retry.py`.

An app sets these under `configuration` when it is registered, and later by the route of that name or by
`ringctl apps configure`; a schedule may set what is under `retryPolicy`, too. What neither sets is left to
the server: the column says which of its [settings](settings.md) holds then, and what that is by default. 0
and `null` are as good as left out. `hooks`, who is told how schedules end, are set as a whole:
[hooks.md](hooks.md).

| key | unit | takes | left out | meaning |
|---|---|---|---|---|
"""
#: the most that is no setting of the server's, in words
_BOUNDS = {"max_age_s": "as long as the app's schedules are kept"}


def describe_app_settings() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_row(name, entry) for name, (_, entry) in keys().items())


def _row(name: str, entry: Entry) -> str:
    setting = entry.setting
    unset = _default(setting.unset) if "." in setting.unset else setting.unset
    return f"| `{name}` | {setting.unit} | {_takes(entry)} | {unset} | {setting.doc} |\n"


def _takes(entry: Entry) -> str:
    if entry.kind is str:
        return entry.setting.shape
    if entry.kind is bool:
        return "true or false"
    if not entry.is_number:
        return "a list of texts"
    most = entry.setting.most
    told = f"{most:,}" if isinstance(most, int) else _BOUNDS.get(most) or _default(f"limits.{most}")
    return ("a whole number" if entry.kind is int else "a number") + f" from 1 to {told}"


def _default(key: str) -> str:
    """Return the value of a server's setting by default, and its key. Raises KeyError if there is none."""
    value = catalog()[key].default
    if isinstance(value, tuple):
        told = ", ".join(map(str, value))
    else:
        told = "none" if value is None else f"{value:,}"
    return f"{told} (`{key}`)"


if __name__ == "__main__":
    sys.stdout.write(describe_app_settings())
