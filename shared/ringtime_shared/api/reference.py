"""The page of what an app may set, made from its entries: `python -m ringtime_shared.api.reference`."""

from __future__ import annotations

import sys

from ringtime_shared.api.configuration import keys
from ringtime_shared.models.setting import Entry

_HEAD = """\
# Settings of an app

Made from the code by `make docs`; change the entries in `shared/ringtime_shared/models`, `app.py` and
`retry.py`.

An app sets these under `configuration` when it is registered, and by `ringctl apps configure` later. A
schedule may set what is under `retryPolicy`, too. What neither sets is left to the server, whose own
settings are in [settings.md](settings.md). 0 and `null` are as good as left out.

| key | unit | takes | left out | meaning |
|---|---|---|---|---|
"""


def describe_app_settings() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_row(name, entry) for name, (_, entry) in keys().items())


def _row(name: str, entry: Entry) -> str:
    setting = entry.setting
    unset = f"`{setting.unset}`" if "." in setting.unset else setting.unset
    return f"| `{name}` | {setting.unit} | {_takes(entry)} | {unset} | {setting.doc} |\n"


def _takes(entry: Entry) -> str:
    most = entry.setting.most
    if not entry.is_number:
        return "list of texts"
    number = "a whole number" if entry.kind is int else "a number"
    return f"{number} from 1 to " + (
        f"{most:,}" if isinstance(most, int) else _BOUNDS.get(most, f"`limits.{most}`")
    )


#: in words, what is not a setting of the server
_BOUNDS = {
    "attempts": "`limits.max_http_attempts`",
    "age_s": "as long as the app's schedules are kept",
}

if __name__ == "__main__":
    sys.stdout.write(describe_app_settings())
