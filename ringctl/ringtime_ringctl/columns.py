"""Columns of a table, and the table where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len


class Column(NamedTuple):
    """A column of a table, the most telling first: on a narrow terminal the last ones stand under their row.

    Numbers are `right`. A sentence `folds` between its words; names and ids are kept whole.
    """

    title: str
    right: bool = False
    folds: bool = False


def turned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the cells of each column."""
    return [[row[at] for row in cells] for at in range(len(columns))]


def widths_of(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is when nothing is folded."""
    return [
        max(map(cell_len, [column.title, *each]))
        for column, each in zip(columns, turned(columns, cells), strict=True)
    ]


def plain_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines of columns two spaces apart, for logs, pipes and documents; long cells are kept whole."""
    widths = widths_of(columns, cells)
    for row in ([column.title for column in columns], *cells):
        aligned = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(aligned).rstrip()
