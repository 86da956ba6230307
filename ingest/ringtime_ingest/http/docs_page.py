"""The reference at `/docs`: one page of HTML made from the OpenAPI document. Nothing else is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import orjson

Node = Mapping[str, Any]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h2{border-top:1px solid #d0d7de;padding-top:1.5rem;font-size:1.15rem}h2 code{font-size:1.05rem}
.verb{display:inline-block;min-width:4.5rem;text-transform:uppercase;font-weight:700;color:#0a5bb5}
code,pre{font-family:ui-monospace,monospace;background:#f3f5f7;border-radius:4px;padding:.1rem .25rem}
pre{padding:.75rem;overflow:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #e4e8ec}
a{color:#0a5bb5}.must{color:#9a3412;font-size:.85em}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e4e8ec}code,pre{background:#22272c}
td,th,h2{border-color:#333a41}.verb,a{color:#7ab7ff}.must{color:#fdba74}}
"""


def render_docs(document: Node) -> bytes:
    """Return the page."""
    info = document["info"]
    operations = [
        _operation(verb, path, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info['description'])}</p>",
        '<p>The same as <a href="/openapi.json">OpenAPI 3.1</a>.</p>',
        *operations,
        "<h1>Objects</h1>",
        *schemas,
        "</body></html>",
    ]
    return "\n".join(page).encode()


def _operation(verb: str, path: str, operation: Node) -> str:
    anchor = escape(operation["operationId"])
    parts = [
        f'<h2 id="{anchor}"><span class="verb">{escape(verb)}</span> <code>{escape(path)}</code></h2>',
        f"<p>{escape(operation['summary'])}.</p>",
    ]
    if operation["parameters"]:
        names = (
            f"<code>{escape(each['name'])}</code> ({escape(each['in'])})" for each in operation["parameters"]
        )
        parts.append(f"<p>Parameters: {', '.join(names)}.</p>")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        example = orjson.dumps(content["example"], option=orjson.OPT_INDENT_2).decode()
        parts.append(f"<p>Body: {_type(content['schema'])}, for example</p><pre>{escape(example)}</pre>")
    rows = (
        f"<tr><td><code>{escape(code)}</code></td><td>{_marked(answer['description'])}</td>"
        f"<td>{_type(answer['content']['application/json']['schema'])}</td></tr>"
        for code, answer in operation["responses"].items()
    )
    parts.append(f"<table><tr><th>HTTP</th><th>means</th><th>body</th></tr>{''.join(rows)}</table>")
    return "".join(parts)


def _schema(name: str, schema: Node) -> str:
    required = schema.get("required", [])
    rows = (
        f"<tr><td><code>{escape(key)}</code>{'' if key in required else ' <small>optional</small>'}</td>"
        f"<td>{_type(each)}</td><td>{_marked(each.get('description', ''))}</td></tr>"
        for key, each in schema["properties"].items()
    )
    head = "<tr><th>key</th><th>type</th><th>meaning</th></tr>"
    return f'<h2 id="{escape(name)}">{escape(name)}</h2><table>{head}{"".join(rows)}</table>'


def _type(schema: Node) -> str:
    """Return a schema in a few words, with links to the named ones."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for either in ("anyOf", "oneOf"):
        if either in schema and "properties" not in schema:
            return " or ".join(_type(each) for each in schema[either])
    if "const" in schema:
        return f"<code>{escape(orjson.dumps(schema['const']).decode())}</code>"
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if "properties" in schema:
        return (
            "{ "
            + ", ".join(f"{escape(key)}: {_type(each)}" for key, each in schema["properties"].items())
            + " }"
        )
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    kind = schema.get("type", "any")
    words = kind if isinstance(kind, str) else " or ".join(kind)
    return escape(words + (f" ({schema['format']})" if "format" in schema else ""))


def _marked(text: str) -> str:
    """Return escaped text with `code` set as such."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
