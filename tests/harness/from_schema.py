"""Values that a JSON Schema calls valid, for the part of it that our OpenAPI document uses.

An unknown keyword is an error, so that no rule of the document goes untested.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Node = dict[str, Any]
_KNOWN = {
    *("type", "enum", "const", "anyOf", "oneOf", "not", "format", "pattern", "minLength", "maxLength"),
    *(
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "items",
        "minItems",
        "maxItems",
        "properties",
        "required",
    ),
    *("additionalProperties", "propertyNames", "maxProperties", "description", "$ref"),
}
_MOST_TEXT, _MOST_ITEMS = 60, 4


class FromSchema:
    """Makes strategies of the schemas of one document. A `not` is left to whoever validates the values.

    Hypothesis looks into a strategy when it is first drawn from, which takes longer than drawing:
    make one of a schema once, and draw from it often.
    """

    def __init__(self, document: Node) -> None:
        self._named = document["components"]["schemas"]
        self._made: dict[str, st.SearchStrategy[Any]] = {}

    def values(self, schema: Node) -> st.SearchStrategy[Any]:
        """Return a strategy of values that are valid, or hardly ever not."""
        assert schema.keys() <= _KNOWN, schema.keys() - _KNOWN
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in self._made:
                self._made[name] = self.values(self._named[name])
            return self._made[name]
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "properties" in schema:
            ways = schema.get("oneOf") or schema.get("anyOf") or [{}]
            return st.one_of(*(self._objects(schema, way) for way in ways))
        if "anyOf" in schema:
            return st.one_of(*(self.values(each) for each in schema["anyOf"]))
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return st.one_of(*(self._of_kind(kind, schema) for kind in kinds))

    def _of_kind(self, kind: str, schema: Node) -> st.SearchStrategy[Any]:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        match kind:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(least, most)
            case "number":
                above, below = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
                fractions = st.floats(
                    least,
                    most,
                    exclude_min=above,
                    exclude_max=below,
                    allow_nan=False,
                    allow_infinity=False,
                )
                first = least + 1 if above and least is not None else least
                return fractions | st.integers(first, most - 1 if below and most is not None else most)
            case "string":
                return self._texts(schema)
            case "array":
                most = min(schema.get("maxItems", _MOST_ITEMS), _MOST_ITEMS)
                return st.lists(
                    self.values(schema["items"]), min_size=schema.get("minItems", 0), max_size=most
                )
            case "object":
                names = self._texts(schema.get("propertyNames", {}))
                inner = schema.get("additionalProperties")
                values = st.text(max_size=5) if inner is None else self.values(inner)
                return st.dictionaries(names, values, max_size=_MOST_ITEMS)
        raise AssertionError(f"unknown type: {kind}")

    def _texts(self, schema: Node) -> st.SearchStrategy[str]:
        most = min(schema.get("maxLength", _MOST_TEXT), _MOST_TEXT)
        if schema.get("format") == "date-time":
            offsets = st.sampled_from(["Z", "+05:30", "-23:59", "+00:00"])
            return st.builds(lambda at, offset: at.isoformat() + offset, st.datetimes(), offsets)
        if "pattern" in schema:
            pattern = schema["pattern"].removesuffix("$") + r"\Z"
            return st.from_regex(pattern, alphabet=st.characters(codec="ascii"))
        return st.text(max_size=most, alphabet=st.characters(codec="utf-8"))

    def _objects(self, schema: Node, way: Node) -> st.SearchStrategy[Node]:
        """Objects in one of the ways in which fields may go together; null stands for left out."""
        properties = dict(schema["properties"])
        for name, rule in way.get("properties", {}).items():
            if rule == {"not": {"type": "null"}} or rule == {"type": "array"}:
                properties[name] = _without_null(properties[name])
            else:
                properties[name] = rule
        for name in way.get("not", {}).get("required", []):
            del properties[name]
        required = {*schema.get("required", []), *way.get("required", [])}
        return st.fixed_dictionaries(
            {name: self.values(each) for name, each in properties.items() if name in required},
            optional={name: self.values(each) for name, each in properties.items() if name not in required},
        )


def _without_null(schema: Node) -> Node:
    if "anyOf" in schema:
        return {**schema, "anyOf": [each for each in schema["anyOf"] if each != {"type": "null"}]}
    kind = schema["type"]
    return {**schema, "type": kind[0]} if isinstance(kind, list) else schema
