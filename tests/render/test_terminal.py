import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import aiayn
from aiayn.render.terminal import Terminal, counter, printable, progress

NAMES = [
    "runs/[en-de] y",
    "news[de].en",
    "[/x]",
    "[bold]x[/bold]",
    ":smile: :de:",
    "a\\[b",
    "x" * 300,
    "[link=https://x]y[/link]",
    "100% {task.description} {0}",
    "日本語の名前",
]
"""What people call their folders, files and test sets."""


def shown(show, width=80, terminal=False):
    file = io.StringIO()
    console = Terminal(file=file, width=width, force_terminal=terminal, color_system=None)
    show(console)
    return file.getvalue()


def table_of(name):
    table = Table(title=name, caption=name, title_justify="left")
    table.add_column(name)
    table.add_column("figure", justify="right")
    table.add_row(name, "0.451–0.987")
    return table


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("terminal", [False, True])
def test_names_and_figures_are_shown_whole_and_as_they_are(name, width, terminal):
    assert shown(lambda console: console.print(name), width, terminal) == f"{name}\n"
    lines = shown(lambda console: console.print(table_of(name)), width, terminal).splitlines()
    assert sum(name in line for line in lines) == 4, "title, head, cell and caption"
    assert any(name in line and "0.451–0.987" in line for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_at_work_is_shown_as_it_is(name):
    def show(console):
        with progress(console) as bar:
            bar.add_task(name, total=2)
            bar.refresh()

    assert name in shown(show, width=1_000, terminal=True)


def test_a_table_wider_than_a_terminal_leaves_the_width_as_it_was():
    def show(console):
        console.print(table_of("x" * 300))
        assert console.width == 40

    shown(show, width=40)


def test_nothing_moves_where_nobody_sees_it():
    def show(console):
        for bar in (progress(console), counter(console, "lines")):
            with bar:
                bar.add_task("name", total=None)

    assert not shown(show)
    with_terminal = shown(lambda console: progress(console, hidden=True).start(), terminal=True)
    assert not with_terminal


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain, Ünïcode 日本", "plain, Ünïcode 日本"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_is_no_character_on_a_screen_is_spelled_out(text, wanted):
    assert printable(text) == wanted
    line = shown(lambda console: console.print(text.replace("\n", "")))
    assert line == printable(text.replace("\n", "")) + "\n"


def test_every_console_and_every_bar_is_made_in_one_place():
    made_elsewhere = [
        f"{path.name}:{node.lineno}"
        for path in Path(aiayn.__file__).parent.rglob("*.py")
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Console", "Progress", "track", "TextColumn")
    ]
    # The pictures in the README, and the two views that stay while a run trains.
    assert {each.split(":")[0] for each in made_elsewhere} <= {
        "run_tables.py",
        "progress.py",
        "ablation.py",
    }


def test_an_ascii_terminal_gets_lines_of_ascii():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    Terminal(file=file).print(table_of("é →"))
    file.flush()
    assert raw.getvalue().count(b"\\xe9 \\u2192") == 4
    assert b"+-" in raw.getvalue(), "a frame of ASCII"


def test_markup_of_a_console_made_elsewhere_would_change_a_name():
    file = io.StringIO()
    Console(file=file).print("[en-de] y")
    assert file.getvalue() != "[en-de] y\n", "or this module has no reason"
