"""The table of all instruments in docs/metrics.md, made from names: `python -m ringtime_shared.metrics`."""

from __future__ import annotations

from ringtime_shared.metrics.names import ALL, LABEL_VALUES, Instrument

BEGIN, END = "<!-- made by `make docs` -->\n", "<!-- until here -->\n"


def describe_instruments() -> str:
    """Return the table as Markdown."""
    head = "| name | kind | in | labels | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(map(_row, ALL))


def with_instruments(page: str) -> str:
    """Return a page with the table in its place. Raises ValueError if it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + describe_instruments() + END + after


def _row(each: Instrument) -> str:
    labels = "; ".join(_label(each, label) for label in each.labels)
    roles = ", ".join(each.roles)
    about = each.help
    if each.buckets:
        about += f" Up to {', '.join(f'{bound:g}' for bound in each.buckets)}."
    return f"| `{each.name}` | {each.kind} | {roles} | {labels} | {about} |\n"


def _label(each: Instrument, label: str) -> str:
    values = LABEL_VALUES.get(f"{label} of {each.name}") or LABEL_VALUES.get(label)
    return f"`{label}`: {', '.join(values)}" if values else f"`{label}`"
