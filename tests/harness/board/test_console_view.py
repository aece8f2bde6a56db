"""A console as one test has it."""

from __future__ import annotations

import pytest

from harness.board.console_lines import Line
from harness.board.console_view import ConsoleView
from harness.board.errors import LineMissing
from harness.board.line_record import LineRecord


class Record(LineRecord):
    """A console without a port.

    Attributes:
        written: to it.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("b1", None)
        self.state = "open"
        self.written: list[str] = []
        self.say(*lines)

    def say(self, *lines: str) -> None:
        """Have it say lines."""
        self._take("".join(f"{line}\n" for line in lines).encode())

    def write_line(self, text: str) -> None:
        """Take a line."""
        self.written.append(text)


def view_of(record: Record) -> ConsoleView:
    """View it from now on."""
    return ConsoleView(record)  # type: ignore[arg-type]


def test_from_now_on():
    """What was said before the test is not found, unless it is asked for; what is said later is."""
    record = Record("before")
    view = view_of(record)
    record.say("first", "second")

    with pytest.raises(LineMissing, match="before"):
        view.expect("before", 0.0)
    assert view.expect("before", 0.0, since=0).number == 0
    assert view.expect("first", 0.0).number == 1


def test_in_the_order_in_which_it_is_asked():
    """Each line is looked for behind the one before; a look elsewhere moves nothing on."""
    record = Record()
    view = view_of(record)
    record.say("a", "b", "a")

    assert view.expect("a", 0.0).number == 0
    assert view.expect("a", 0.0, since=1).number == 2
    assert view.expect("b", 0.0).number == 1
    assert view.expect("a", 0.0).number == 2
    with pytest.raises(LineMissing):
        view.expect("b", 0.0)


def test_what_the_harness_waits_for_is_its_own():
    """It takes nothing from the test, and another test's view nothing either."""
    record = Record()
    view, other = view_of(record), view_of(record)
    record.say("a")
    record.expect("a", 0.0)
    other.expect("a", 0.0)

    assert view.expect("a", 0.0).text == "a"


def test_all_else_is_the_consoles():
    """Lines, their number, the last ones, who watches, and what is written."""
    record = Record("before")
    view = view_of(record)
    seen: list[Line] = []
    detach = view.watch(seen.append)
    record.say("now")
    detach()
    record.say("later")
    view.write_line("typed")

    assert [line.text for line in view.lines()] == ["before", "now", "later"]
    assert [line.text for line in view.lines(2)] == ["later"]
    assert view.tail(2) == ["now", "later"]
    assert view.position == 3
    assert [line.text for line in seen] == ["now"]
    assert record.written == ["typed"]
