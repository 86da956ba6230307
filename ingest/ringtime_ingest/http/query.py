"""What a list is asked for in its URL."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from starlette.requests import Request

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.api.labels import Labels
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.schedules.row_filter import parse_labels

_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_WALL_TIME = "%Y-%m-%d %H:%M:%S"  # goscheduler's
_LOOKS_LIKE_WALL_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


class Query:
    """The parameters of one request, each given once; an empty value is the same as none.

    What is wrong with them is collected, so that an answer can tell all of it: see `check`.
    """

    def __init__(self, request: Request, names: Collection[str], repeated: Collection[str] = ()) -> None:
        """`repeated`: those of the names that may be given more than once."""
        self.wrong: list[Violation] = []
        self._texts: dict[str, str] = {}
        self._many: dict[str, list[str]] = {name: [] for name in repeated}
        for name, text in request.query_params.multi_items():
            if name in repeated:
                self._many[name] += [text] if text else []
            elif name in names and self._texts.setdefault(name, text) != text:
                self.wrong.append(Violation(name, "given twice, with different values"))

    def text(self, name: str) -> str:
        """Return a parameter as it was sent; "": there is none."""
        return self._texts.get(name, "")

    def texts(self, name: str) -> list[str]:
        """Return a parameter that may be given more than once, as it was sent."""
        return self._many[name]

    def labels(self, name: str) -> Labels:
        """Return labels, each given as `key:value`."""
        try:
            return parse_labels(self._many[name], name)
        except InvalidRequest as error:
            self.wrong += error.violations
            return ()

    def size(self, name: str, usual: int, most: int) -> int:
        """Return how long a page is to be."""
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and len(text) <= 9):
            self.wrong.append(Violation(name, f"must be a whole number from 1 to {most}"))
            return usual
        return int(text or usual)

    def whole(self, name: str) -> int | None:
        """Return a whole number that is not negative; None: there is none."""
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
            self.wrong.append(Violation(name, "must be a whole number, and not negative"))
            return None
        return int(text) if text else None

    def instant(self, name: str, zone: tzinfo | None = None) -> int | None:
        """Return an instant in ms; None: there is none.

        Args:
            zone: of a wall time as goscheduler writes it; None: such times are refused.
        """
        text = self.text(name)
        if not text:
            return None
        try:
            if zone is not None and _LOOKS_LIKE_WALL_TIME.fullmatch(text):
                return _in_zone(text, zone)
            return parse_instant(Decimal(text) if _NUMBER.fullmatch(text) else text)
        except ValueError as error:
            hint = "; an offset's + is sent as %2B" if " " in text else ""
            self.wrong.append(Violation(name, f"{error}{hint}"))
            return None

    def zone(self, name: str) -> tzinfo:
        """Return a time zone by its IANA name, UTC if there is none."""
        text = self.text(name)
        if not text:
            return UTC
        try:
            return ZoneInfo(text)
        except (KeyError, ValueError, OSError):  # not found; a path; the name of a directory
            pass
        self.wrong.append(Violation(name, "must be the name of a time zone, like Europe/Berlin"))
        return UTC

    def check(self) -> None:
        """Raise InvalidRequest if anything is wrong."""
        if self.wrong:
            raise InvalidRequest(self.wrong)


def _in_zone(text: str, zone: tzinfo) -> int:
    """Return a wall time as ms; of two instants the first, and of none the one an hour later."""
    try:
        at = datetime.strptime(text, _WALL_TIME).replace(tzinfo=zone)
        seconds = int(at.timestamp())
    except (ValueError, OverflowError):
        raise ValueError("must be a day and time that there is") from None
    if seconds < 0:
        raise ValueError("must not be before 1970")
    return seconds * 1_000
