"""What a person or a pipe gets to see."""

from __future__ import annotations

import io

import pytest

from kfcore_local.console import Console, metrics_in, wants_color


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    encoding = "ascii"  # type: ignore[assignment]


def test_a_terminal_gets_colours_unless_the_user_says_no() -> None:
    assert wants_color(Terminal(), {"TERM": "xterm"})
    assert not wants_color(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_color(Terminal(), {"TERM": "dumb"})
    assert not wants_color(Pipe(), {"TERM": "xterm"})


def test_replicas_have_one_width_and_a_colour_each() -> None:
    stream = Terminal()
    console = Console(stream, color=True)
    console.expect(["master-0", "worker-10"])
    console.log("master-0", "hello\n")
    console.log("worker-10", "world\n")
    assert stream.getvalue() == "\x1b[36mmaster-0  │\x1b[0m hello\n\x1b[35mworker-10 │\x1b[0m world\n"


def test_a_pipe_gets_plain_lines_in_its_own_encoding() -> None:
    stream = Pipe()
    console = Console(stream)
    console.log("master-0", "\x1b[31mred\x1b[0m and Grün\x1b]0;title\x07\n")
    console.condition("digits", "Succeeded", "done")
    assert stream.getvalue() == "master-0 | red and Gr?n\ndigits  Succeeded  done\n"


def test_colours_that_a_replica_leaves_open_end_with_its_line() -> None:
    stream = Terminal()
    Console(stream, color=True).log("a", "\x1b[31mred\n")
    assert stream.getvalue().endswith("\x1b[31mred\x1b[0m\n")


def test_of_a_progress_bar_the_last_state_is_shown() -> None:
    stream = Pipe()
    Console(stream).log("a", "10%\r50%\r100%\r\n")
    assert stream.getvalue() == "a | 100%\n"


def test_an_empty_line_leaves_no_space_behind() -> None:
    stream = Pipe()
    Console(stream).log("a", "\n")
    assert stream.getvalue() == "a |\n"


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        ("epoch=3 loss=0.21, accuracy=97.5%", {"epoch": "3", "loss": "0.21", "accuracy": "97.5%"}),
        ("{metricName=lr} (val_loss=1e-4)", {"val_loss": "1e-4"}),
        ("name=value a= =3 url=http://x?a=1&b=2", {}),
        ("temperature=-.5;", {"temperature": "-.5"}),
    ],
)
def test_metrics_are_the_numbers_that_a_line_reports(line: str, metrics: dict[str, str]) -> None:
    assert metrics_in(line) == metrics
