"""Reset sequences in esptool's notation."""

from __future__ import annotations

import pytest

from harness.board import reset_sequences
from harness.board.errors import BadSequence
from harness.board.reset_sequences import LONGEST_WAIT, Lines, Wait, one_at_a_time, parse


def test_each_step():
    """Steps of one line keep the other; both at once; waits; blanks and empty steps do not matter."""
    assert parse("D1|r1| W0.5 |U0, 1||R0|") == (
        Lines(dtr=True, rts=False),
        Lines(dtr=True, rts=True),
        Wait(0.5),
        Lines(dtr=False, rts=True),
        Lines(dtr=False, rts=False),
    )


@pytest.mark.parametrize("sequence", ["", "|", "X1", "D2", "D", "U1", "U1,2", "W", "W-1", "Wx", "D0|what", "W1e9"])
def test_no_sequence(sequence: str):
    """What is none is refused with the step that is wrong."""
    with pytest.raises(BadSequence, match="expected"):
        parse(sequence)


def test_longest_wait():
    """A wait of the longest time is taken, one past it is a typing error."""
    assert parse(f"W{LONGEST_WAIT}") == (Wait(LONGEST_WAIT),)
    with pytest.raises(BadSequence, match="at most 30 s"):
        parse(f"W{LONGEST_WAIT + 0.1}")


@pytest.mark.parametrize("name", ["RUN", "RUN_USB", "DOWNLOAD", "DOWNLOAD_USB"])
def test_esptool_reads_ours(name: str):
    """Each of our sequences is one for Espressif's tools, too, of as many steps."""
    theirs = pytest.importorskip("esp_pylib.serial_reset", reason="comes with esptool 5.2 or later")
    ours = getattr(reset_sequences, name)
    assert len(theirs.parse_custom_reset_sequence(ours)) == len(parse(ours))


def test_ends_with_the_chip_running():
    """Each of our sequences leaves both lines off."""
    for sequence in (reset_sequences.RUN, reset_sequences.DOWNLOAD, reset_sequences.DOWNLOAD_USB):
        lines = [step for step in parse(sequence) if isinstance(step, Lines)]
        assert lines[-1] == Lines(dtr=False, rts=False)


def test_one_at_a_time():
    """Without steps of both lines, RTS goes before DTR and DTR comes before RTS; at first nothing is known of them."""
    assert one_at_a_time(reset_sequences.DOWNLOAD) == "R1|D0|W0.1|D1|R0|W0.05|D0"
    assert one_at_a_time("D0|R1|W0.1|U1,0") == "R0|D0|R1|W0.1|D1|R0"
    assert one_at_a_time("") == ""
