"""The reference of all settings, made from the groups' docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap

from ringtime_shared.settings.catalog import SettingField, catalog, group_class, group_names

_HEAD = """\
# Settings

Made from the code by `make docs`; change the docstrings in `shared/ringtime_shared/settings`.

A value comes from, later ones winning: the default, the file named by `--config` (TOML or JSON, one table a
group), the environment, the command line. The variable of a setting is `RINGTIME_`, the group, `_` and the
name, in capitals: `dispatch.tick_ms` is `RINGTIME_DISPATCH_TICK_MS`. In a variable, commas separate the items
of a list.
`PORT` sets `server.port` and wins over `RINGTIME_SERVER_PORT`. `--conf` names a configuration of
goscheduler's instead, or as well: [compatibility.md](compatibility.md#configuration).

Unknown keys, unknown `RINGTIME_` variables and bad values stop the start, all named at once. Passed over are
`RINGTIME_TEST_*`, which name servers for the tests; `RINGTIME_KEY`, `RINGTIME_KEY_FILE`, `RINGTIME_CA_FILE`,
`RINGTIME_CLIENT_CERT_FILE` and `RINGTIME_CLIENT_KEY_FILE`, which are for clients; and what Kubernetes sets
for a Service whose name starts with `ringtime` (`*_SERVICE_HOST`, `*_SERVICE_PORT`, `*_PORT_8080_TCP`, and a
`*_PORT` that reads `tcp://...`).
"""


def describe_settings() -> str:
    """Return the Markdown reference: one table a group."""
    return "\n".join([_HEAD, *(_section(group) for group in group_names())])


def _section(group: str) -> str:
    described = group_class(group)
    docs = _field_docs(described)
    rows = [_row(field, docs[field.name]) for field in catalog().values() if field.group == group]
    head = ["| key | default | takes | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {group}", "", _one_line(inspect.getdoc(described) or ""), "", *head, *rows, ""])


def _row(field: SettingField, doc: str) -> str:
    cells = [f"`{field.key}`", f"`{_shown(field.default)}`", field.allowed, doc]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value) or "none"
    return '""' if value == "" else "none" if value is None else str(value)


def _field_docs(described: type) -> dict[str, str]:
    """Return the text under each field; Python itself keeps none. Raises KeyError later if one is missing."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(described))).body[0]
    docs: dict[str, str] = {}
    name = ""
    for node in tree.body if isinstance(tree, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docs[name] = _one_line(str(node.value.value))
            name = ""
    return docs


def _one_line(text: str) -> str:
    return " ".join(text.split())
