"""How commands show things: tables on a terminal, plain columns elsewhere, JSON when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, zip_longest
from typing import NamedTuple, TextIO

import click
import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "drained": "yellow", "unowned": "red"}

DRAWN = 1_000  #: rows of a drawn table; more are for a program, or a pager
_GAP = 3  # between columns of a drawn table
_LEAST_FOLDED = 20  # a sentence in less is no pleasure to read
Cell = str | int | None


class Column(NamedTuple):
    """A column of a table, the most telling first: on a narrow terminal the last ones stand under their row.

    Numbers are `right`. A sentence `folds` between its words; names and ids are kept whole.
    """

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
        if sys.stdout.isatty() and len(cells) <= DRAWN:
            console.print(draw_table(columns, cells, console.width), soft_wrap=True)
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


def draw_table(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> Text:
    """Return a table for a terminal of `width` columns.

    Titles and sentences are folded between words. If the columns do not fit even so, those without a cell go,
    and the last ones are stacked: they stand under their row, each cell with its title before it.
    """
    if len(fit_columns(columns, cells, width)) < len(columns):
        mask = [at == 0 or any(row[at] for row in cells) for at in range(len(columns))]
        columns = list(compress(columns, mask))
        cells = [list(compress(row, mask)) for row in cells]
    widths = fit_columns(columns, cells, width)
    beside, below = columns[: len(widths)], columns[len(widths) :]
    lines = [*_head(beside, widths), Text("\u2500" * _total(widths))] if beside else []
    for row in cells:
        lines += _side_by_side(beside, row[: len(widths)], widths) if beside else [Text()]
        lines += _stacked(below, row[len(widths) :], width)
    return Text("\n").join(lines)


def fit_columns(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return how wide to draw each of the first columns: as many as `width` holds, perhaps none."""
    natural = _widths(columns, cells)
    least = [
        max(_longest_word([column.title]), min(wide, _folded(column, each)))
        for column, wide, each in zip(columns, natural, _turned(columns, cells), strict=True)
    ]
    count = len(columns)
    while count and _total(least[:count]) > width:
        count -= 1
    widths = least[:count]
    spare = max(0, width - _total(widths))
    for at in sorted(range(count), key=lambda at: not columns[at].folds):  # sentences before titles
        more = min(natural[at] - widths[at], spare)
        widths[at] += more
        spare -= more
    return widths


def _folded(column: Column, cells: Sequence[str]) -> int:
    """Return how narrow the cells of a column may be: no word is broken, and no name or id."""
    if column.folds:
        return max(_LEAST_FOLDED, _longest_word(cells))
    return max(map(cell_len, cells), default=0)


def _longest_word(texts: Sequence[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _head(columns: Sequence[Column], widths: Sequence[int]) -> list[Text]:
    titles = [_fold(column.title, width) for column, width in zip(columns, widths, strict=True)]
    height = max(map(len, titles))
    return _lines(columns, [[""] * (height - len(title)) + title for title in titles], widths)


def _side_by_side(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> list[Text]:
    parts = [
        _fold(cell, width) if column.folds else [cell]
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]
    return _lines(columns, parts, widths)


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[Text]:
    """Put folded cells side by side."""
    lines = []
    for parts in zip_longest(*cells, fillvalue=""):
        line = Text()  # not markup: an id may be in square brackets
        for column, part, width in zip(columns, parts, widths, strict=True):
            blank = " " * (width - cell_len(part))
            line.append(" " * _GAP if line else "")
            line.append(
                f"{blank}{part}" if column.right else f"{part}{blank}",
                "" if column.folds else STYLES.get(part, ""),
            )
        line.rstrip()
        lines.append(line)
    return lines


def _stacked(columns: Sequence[Column], row: Sequence[str], width: int) -> list[Text]:
    lines: list[str] = []
    for column, cell in zip(columns, row, strict=True):
        item = f"{column.title} {cell}"
        if not cell:
            continue
        if lines and cell_len(lines[-1]) + _GAP + cell_len(item) <= width:
            lines[-1] += f"{' ' * _GAP}{item}"
        else:
            first, *more = _fold(item, width - 2 * _GAP)
            lines += [f"{' ' * _GAP}{first}", *(f"{' ' * 2 * _GAP}{each}" for each in more)]
    return [Text(line) for line in lines]


def _fold(text: str, width: int) -> list[str]:
    """Return lines of whole words; only a single word may be longer than `width`."""
    lines = [""]
    for word in text.split():
        if not lines[-1]:
            lines[-1] = word
        elif cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _turned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the cells of each column."""
    return [[row[at] for row in cells] for at in range(len(columns))]


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is when nothing is folded."""
    return [
        max(map(cell_len, [column.title, *each]))
        for column, each in zip(columns, _turned(columns, cells), strict=True)
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
