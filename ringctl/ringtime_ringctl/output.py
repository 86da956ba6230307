"""How commands show things: tables on a terminal, plain columns elsewhere, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TextIO

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "drained": "yellow", "unowned": "red"}

DRAWN = 1_000  #: rows of a drawn table; rich takes a millisecond for each
_GAP = 3  # between columns of a drawn table
_LEAST_FOLDED = 20  # a sentence in less is no pleasure to read
Cell = str | int | None


class Column(NamedTuple):
    """A column of a table. Numbers are `right`; sentences may be folded, names and ids are kept whole."""

    title: str
    right: bool = False
    folds: bool = False


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
        console = self._console(sys.stdout)
        if sys.stdout.isatty() and len(cells) <= DRAWN and least_width(columns, cells) <= console.width:
            _draw(console, columns, cells)
        else:
            for line in plain_table(columns, cells):
                self.line(line)

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Bar]:
        """Show a bar on stderr while the body runs, if a person is looking.

        Args:
            total: what `Bar.show` counts up to; None: nobody knows.
        """
        console = self._console(sys.stderr)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            yield Bar(progress, label, total)

    def _console(self, stream: TextIO) -> Console:
        return Console(file=stream, no_color=self._is_plain or None, highlight=False)


class Bar:
    """A progress bar that is being shown."""

    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def show(self, done: int, label: str | None = None) -> None:
        """Move to `done` of the total."""
        self._progress.update(self._task, completed=done, description=label)


def _draw(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.folds, overflow="fold")
    for row in cells:
        # Text, not str: an id in square brackets is no markup.
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table)


def least_width(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> int:
    """Return how wide a terminal must be to draw the table without breaking an id in two."""
    widths = _widths(columns, cells)
    return sum(
        (min(width, _LEAST_FOLDED) if column.folds else width) + _GAP
        for column, width in zip(columns, widths, strict=True)
    )


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(map(len, column)) for column in zip([column.title for column in columns], *cells, strict=True)
    ]


def plain_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines of columns two spaces apart, for logs, pipes and documents; long cells are kept whole."""
    widths = _widths(columns, cells)
    for row in ([column.title for column in columns], *cells):
        aligned = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(aligned).rstrip()


def _to_text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else cell
