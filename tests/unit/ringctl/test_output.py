"""Tables and JSON; colour and bars only where a person looks."""

from __future__ import annotations

import io
import json
import re

import pytest

from ringtime_ringctl.drawing import draw_table
from ringtime_ringctl.output import DRAWN, Column, Output

COLUMNS = (Column("NAME"), Column("N", right=True))
ROWS = [("[red]x", 1_234), ("y", None), ("ok", 5)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_columns_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(COLUMNS, ROWS, title="things")
    assert capsys.readouterr().out == "things\nNAME        N\n[red]x  1,234\ny\nok          5\n"


def test_an_empty_table_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(COLUMNS, [])
    assert capsys.readouterr().out == "NAME  N\n"


@pytest.mark.parametrize("is_plain", [False, True])
def test_colour_on_a_terminal_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, is_plain: bool) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Output(is_plain=is_plain).table(COLUMNS, ROWS)
    drawn = screen.getvalue()
    assert ("\x1b[32m" in drawn) is not is_plain
    assert "[red]x" in re.sub(r"\x1b\[[0-9;]*m", "", drawn)  # an id in brackets is no markup


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    Output().table(COLUMNS, ROWS)
    assert "\x1b[32m" not in screen.getvalue()


def test_a_long_table_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    Output().table(COLUMNS, [("x", 1)] * (DRAWN + 1))
    assert "\x1b" not in screen.getvalue()
    assert screen.getvalue().count("\n") == DRAWN + 2


@pytest.mark.parametrize(("width", "is_drawn"), [(80, True), (30, False)])
def test_ids_are_never_broken_in_two(monkeypatch: pytest.MonkeyPatch, width: int, is_drawn: bool) -> None:
    screen, long_id = Terminal(), "0cab1733-8000-8001-8000-000000000bcf"
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    columns = (Column("ID"), Column("WHY", folds=True))
    Output().table(columns, [(long_id, "a sentence that goes on for quite a while and more")])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert any(long_id in line for line in lines)
    assert any("\u2500" in line for line in lines) is is_drawn
    assert max(map(len, lines)) <= width or not is_drawn


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=True).data({"a": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}


def test_a_bar_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Output().progress("handing over", 3) as bar:
        bar.show(1)
    assert capsys.readouterr() == ("", "")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Output().progress("handing over", 3) as bar:
        bar.show(2, "handing over, 1 left")
    assert "1 left" in screen.getvalue()
    assert "2/3" in screen.getvalue()


SCHEDULES = (
    Column("ID"),
    Column("TRIED SO FAR", right=True),
    Column("GONE"),
    Column("WHY", folds=True),
    Column("AT"),
)
LINE = [("0cab1733", "1,200", "", "could not connect to the receiver", "22:14")]


def test_what_fits_stands_side_by_side() -> None:
    assert draw_table(SCHEDULES, LINE, 80).plain == (
        "ID         TRIED SO FAR   GONE   WHY                                 AT\n"
        "──────────────────────────────────────────────────────────────────────────\n"
        "0cab1733          1,200          could not connect to the receiver   22:14"
    )


def test_titles_and_sentences_are_folded_between_words() -> None:
    assert draw_table(SCHEDULES, LINE, 57).plain == (
        "           TRIED\n"
        "              SO\n"
        "ID           FAR   GONE   WHY                       AT\n"
        "─────────────────────────────────────────────────────────\n"
        "0cab1733   1,200          could not connect to      22:14\n"
        "                          the receiver"
    )


def test_what_does_not_fit_stands_under_its_row_and_an_empty_column_nowhere() -> None:
    assert draw_table(SCHEDULES, LINE, 32).plain == (
        "ID         TRIED SO FAR\n"
        "───────────────────────\n"
        "0cab1733          1,200\n"
        "   WHY could not connect to\n"
        "      the receiver   AT 22:14"
    )
