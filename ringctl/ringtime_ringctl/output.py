"""How commands show things: tables on a terminal, plain columns elsewhere, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import click
import orjson

from ringtime_ringctl.columns import Column, plain_table

__all__ = ["DRAWN", "Bar", "Cell", "Column", "Output"]

DRAWN = 1_000  #: rows of a drawn table; more are for a program, or a pager
Cell = str | int | None


class Bar(Protocol):
    """A progress bar."""

    def show(self, done: int, label: str | None = None) -> None:
        """Move to `done` of the total."""


class _Unseen:
    """A bar where nobody looks."""

    def show(self, done: int, label: str | None = None) -> None:
        pass


class Output:
    """Where a command's result goes: stdout. Progress and errors go to stderr."""

    def __init__(self, *, is_json: bool = False, is_plain: bool = False) -> None:
        """`is_plain`: no colour, even on a terminal."""
        self.is_json = is_json
        self._is_plain = is_plain

    def data(self, value: object) -> None:
        """Write the result as JSON. Objects with UUIDs, dataclasses and string keys are fine."""
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        click.echo(text.decode(), nl=False)

    def line(self, text: str = "") -> None:
        """Write a line of text."""
        click.echo(text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, title: str = "") -> None:
        """Write a table; None is an empty cell, numbers get separators."""
        cells = [[_to_text(cell) for cell in row] for row in rows]
        if title:
            self.line(title)
        if sys.stdout.isatty() and len(cells) <= DRAWN:
            from ringtime_ringctl.drawing import print_table

            print_table(columns, cells, is_plain=self._is_plain)
        else:
            for line in plain_table(columns, cells):
                self.line(line)

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Bar]:
        """Show a bar on stderr while the body runs, if a person is looking.

        Args:
            total: what `Bar.show` counts up to; None: nobody knows.
        """
        if not sys.stderr.isatty():
            yield _Unseen()
            return
        from ringtime_ringctl.drawing import drawn_bar

        with drawn_bar(label, total, is_plain=self._is_plain) as bar:
            yield bar


def _to_text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else cell
