"""The items of a batch, read one by one from one body, so that a bad one is refused alone.

A body of many items is long, and the event loop has others to serve: it is decoded in windows of 64 KiB,
with a pause after each. An item is read as if it were a body of its own, with the same bounds on bytes and
depth and the same strictness (see `shapes`). What a JSON parser takes and we do not, such as a key that is
given twice, is a fault of that item alone; what leaves it open where an item ends is one of the whole body.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import TypeVar

from ringtime_ingest.http.shapes import (
    TOO_MANY_DIGITS,
    Unreadable,
    check_depth,
    check_surrogates,
    refuse_constant,
    to_decimal,
    to_object,
    to_text,
)
from ringtime_shared.callbacks.http_rules import shown
from ringtime_shared.errors import InvalidRequest

T = TypeVar("T")
_WINDOW = 65_536  #: characters that are decoded at a stretch, unless one item is longer
_SPACE = re.compile(r"[ \t\n\r]*+")
_KEY = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class ItemReader:
    """Reads bodies like `{"schedules": [...]}`.

    Args:
        name: of the list, the only key of the body.
        most: items in the list; at least one.
        most_bytes: of one item.
        max_depth: of one item.
    """

    def __init__(self, name: str, *, most: int, most_bytes: int, max_depth: int) -> None:
        self._name = name
        self._count_rule = f"must hold 1 to {most:,} items"
        self._most = most
        self._most_bytes = most_bytes
        self._max_depth = max_depth
        self._decoder = _Decoder()

    async def read(self, body: bytes, parse: Callable[[object], T]) -> list[T | Exception]:
        """Return the items in order, each as `parse` returns it, or the InvalidRequest that it raises.

        Raises InvalidRequest for what is wrong with the whole body, or with the number of items.
        """
        text = to_text(body)
        items: list[T | Exception] = []
        place, is_over = self._open(text)
        while not is_over:
            place, is_over = self._read_some(text, place, parse, items)
            await asyncio.sleep(0)
        self._close(text, place)
        if not items:
            raise InvalidRequest.of(self._name, self._count_rule)
        return items

    def _open(self, text: str) -> tuple[int, bool]:
        """Return where the first item begins, and whether there is none."""
        place = _skip(text, 0)
        if not text.startswith("{", place):
            raise Unreadable.of("body", "must be a JSON object")
        place = _skip(text, place + 1)
        if text.startswith("}", place):
            raise InvalidRequest.of(self._name, f"required: a list that {self._count_rule}")
        key, place = _key(text, place)
        if key.lower() != self._name.lower():
            raise _unknown(key)
        place = _skip(text, _skip_one(text, place, ":"))
        if not text.startswith("[", place):
            raise Unreadable.of(self._name, "must be a list")
        place = _skip(text, place + 1)
        return (place + 1, True) if text.startswith("]", place) else (place, False)

    def _close(self, text: str, place: int) -> None:
        """Check that nothing follows the list."""
        place = _skip(text, place)
        if text.startswith(",", place):
            key, _ = _key(text, _skip(text, place + 1))
            raise _unknown(key) if key.lower() != self._name.lower() else Unreadable.of(key, "given twice")
        place = _skip(text, _skip_one(text, place, "}"))
        if place < len(text):
            raise _no_json("Extra data", place)

    def _read_some(
        self, text: str, begin: int, parse: Callable[[object], T], items: list[T | Exception]
    ) -> tuple[int, bool]:
        """Read the items of one window; return where the next one begins, and whether there is none."""
        fault = Unreadable.of("body", "must be JSON")
        for size in (_WINDOW, self._most_bytes):
            window = text[begin : begin + size]
            at = _skip(window, 0)
            try:
                while True:
                    self._decoder.flaw = None
                    value, end = self._decoder.raw_decode(window, at)
                    after = _skip(window, end)
                    if window[after : after + 1] not in ("]", ","):
                        raise json.JSONDecodeError("Expecting ',' delimiter", window, after)
                    if len(items) == self._most:
                        raise InvalidRequest.of(self._name, self._count_rule)
                    items.append(self._item(value, window[at:end], self._decoder.flaw, parse))
                    if window[after] == "]":
                        return begin + after + 1, True
                    at = _skip(window, after + 1)
            except json.JSONDecodeError as error:
                fault = _no_json(
                    f"{error.msg}, or an item of more than {size:,} characters", begin + error.pos
                )
            except RecursionError:
                raise Unreadable.of("body", f"must not be nested deeper than {self._max_depth}") from None
            if at:
                return begin + at, False
        raise fault

    def _item(
        self, value: object, text: str, flaw: Unreadable | None, parse: Callable[[object], T]
    ) -> T | Exception:
        if flaw is not None:
            return flaw
        try:
            check_depth(text.encode(), self._max_depth)
            if "\\u" in text:
                check_surrogates(value)
            return parse(value)
        except InvalidRequest as error:
            return error


class _Decoder(json.JSONDecoder):
    """Goes on to the end of an item whatever it finds in it; `flaw` is the first thing that must not be."""

    def __init__(self) -> None:
        super().__init__(
            object_pairs_hook=self._object,
            parse_float=to_decimal,
            parse_int=self._int,
            parse_constant=self._constant,
        )
        self.flaw: Unreadable | None = None

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        try:
            return to_object(pairs)
        except Unreadable as error:
            self.flaw = self.flaw or error
            return {}

    def _int(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:  # Python's own limit on the digits of one number
            self.flaw = self.flaw or Unreadable.of("body", TOO_MANY_DIGITS)
            return 0

    def _constant(self, text: str) -> None:
        try:
            refuse_constant(text)
        except Unreadable as error:
            self.flaw = self.flaw or error


def _skip(text: str, place: int) -> int:
    """Return where the next token begins."""
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _skip_one(text: str, place: int, token: str) -> int:
    place = _skip(text, place)
    if not text.startswith(token, place):
        raise _no_json(f"Expecting '{token}'", place)
    return place + 1


def _key(text: str, place: int) -> tuple[str, int]:
    found = _KEY.match(text, place)
    try:
        return str(json.loads(found[0] if found else "")), place + len(found[0] if found else "")
    except json.JSONDecodeError:
        raise _no_json("Expecting a key", place) from None


def _unknown(key: str) -> Unreadable:
    return Unreadable.of(shown(key) or "body", "is not known here")


def _no_json(fault: str, place: int) -> Unreadable:
    return Unreadable.of("body", f"must be JSON: {fault} at character {place}")
