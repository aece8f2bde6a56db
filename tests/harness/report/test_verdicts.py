"""The head of the page."""

from __future__ import annotations

import msgspec

from harness.report.record import REAL, Cell, Record, Verdict
from harness.report.verdicts import attempts, badge, head, matrix
from tests.harness.report.samples import FAILED, FAILING, GOOD, MATRIX, RUN
from tests.harness.report.test_markup import read


def silicon(cell: Cell) -> Cell:
    """The same on a real board."""
    return msgspec.structs.replace(cell, board=msgspec.structs.replace(cell.board, virtual=False, evidence=REAL))


def test_a_verdict_is_told_by_more_than_its_colour():
    """A sign and a word are with it."""
    verdicts: tuple[Verdict, ...] = ("pass", "firmware", "gateway", "rig", "network")

    assert [read(badge(verdict)).text for verdict in verdicts] == [
        "✓ pass", "✕ firmware fault", "✕ gateway fault", "! rig fault", "! network fault",
    ]  # fmt: skip


def test_what_was_tried():
    """One build on one board by name, several by number."""
    assert "kettle 1.4.2 on s3-box (esp32s3)" in read(head(FAILING)).text
    assert "1 of 3 pass, 1 tried again" in read(head(MATRIX)).text


def test_a_version_is_not_said_twice():
    """Where the build's name has it already."""
    build = msgspec.structs.replace(FAILED.build, name="kettle-1.4.2")

    assert (
        "kettle-1.4.2 on"
        in read(head(Record(RUN, "firmware", "", (msgspec.structs.replace(FAILED, build=build),)))).text
    )


def test_a_virtual_board_is_called_one():
    """At the top, with a link to what of it is real; silicon needs no word."""
    assert "virtual board" in read(head(FAILING)).text
    assert "some boards virtual" in read(head(Record(RUN, "pass", "", (GOOD, silicon(FAILED))))).text
    assert "virtual" not in read(head(Record(RUN, "pass", "", (silicon(GOOD),)))).text


def test_what_was_tried_again_is_seen():
    """Each attempt with its board and its reason, and the last one as this result."""
    assert read(attempts(GOOD)).text == (
        "Tried agains3-old ! rig fault the serial port vanished while the flash was writtens3-box ✓ pass this result"
    )
    assert attempts(FAILED) is None


def test_one_cell_is_no_matrix():
    """And of two results in one cell the gravest is shown."""
    twice = (GOOD, msgspec.structs.replace(GOOD, verdict="network", why="lossy", attempts=()))

    assert matrix((GOOD,)) is None
    assert "network fault" in read(matrix(twice)).text
