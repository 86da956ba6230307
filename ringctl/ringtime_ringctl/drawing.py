"""What a terminal gets: tables that fit it, and progress bars.

Imported where there is a terminal alone, for rich takes a tenth of the time until `ringctl` is ready.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, zip_longest
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ringtime_ringctl.columns import Column, turned, widths_of

STYLES = {"ok": "green", "warning": "yellow", "failed": "red", "drained": "yellow", "unowned": "red"}

_GAP = 3  # between columns of a drawn table
_LEAST_FOLDED = 20  # a sentence in less is no pleasure to read


def print_table(columns: Sequence[Column], cells: Sequence[Sequence[str]], *, is_plain: bool) -> None:
    """Draw a table on stdout. `is_plain`: without colour."""
    console = _console(sys.stdout, is_plain)
    console.print(draw_table(columns, cells, console.width), soft_wrap=True)


@contextmanager
def drawn_bar(label: str, total: int | None, *, is_plain: bool) -> Iterator[DrawnBar]:
    """Draw a bar on stderr while the body runs."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_console(sys.stderr, is_plain),
        transient=True,
    ) as progress:
        yield DrawnBar(progress, label, total)


class DrawnBar:
    """A progress bar that is being shown."""

    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def show(self, done: int, label: str | None = None) -> None:
        """Move to `done` of the total."""
        self._progress.update(self._task, completed=done, description=label)


def _console(stream: TextIO, is_plain: bool) -> Console:
    return Console(file=stream, no_color=is_plain or None, highlight=False)


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
    natural = widths_of(columns, cells)
    least = [
        max(_longest_word([column.title]), min(wide, _folded(column, each)))
        for column, wide, each in zip(columns, natural, turned(columns, cells), strict=True)
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
