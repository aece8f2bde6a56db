"""The reset circuit: its truth table, and the ways of hosts through it."""

from __future__ import annotations

import pytest

from harness.virtual.reset_circuit import HOLD, ResetCircuit


@pytest.mark.parametrize(
    ("dtr", "rts", "in_reset", "io0_low"),
    [(False, False, False, False), (True, False, False, True), (False, True, True, False), (True, True, False, False)],
)
def test_truth_table(dtr, rts, in_reset, io0_low):
    """EN is low with RTS alone, IO0 with DTR alone."""
    circuit = ResetCircuit()
    circuit.change(0.0, dtr=dtr, rts=rts)

    assert (circuit.in_reset, circuit.io0_low) == (in_reset, io0_low)


def test_way_into_download_mode():
    """Both lines are on for a moment: EN stays low in it, and IO0 is low when it rises."""
    circuit = ResetCircuit()
    circuit.change(0.0, rts=True)
    circuit.change(0.1, dtr=True)
    assert circuit.in_reset
    circuit.pass_time(0.1 + HOLD * 0.9)
    assert circuit.in_reset

    circuit.change(0.1 + HOLD * 0.9, rts=False)

    assert not circuit.in_reset
    assert circuit.io0_low
    assert circuit.held_until is None


def test_both_lines_left_on():
    """EN rises at last, with IO0 high: the chip runs."""
    circuit = ResetCircuit()
    circuit.change(0.0, rts=True)
    circuit.change(0.1, dtr=True)
    circuit.change(0.2, dtr=True)  # said again, as esptool does after each change of RTS

    assert circuit.held_until == pytest.approx(0.1 + HOLD)
    circuit.pass_time(circuit.held_until)
    assert not circuit.in_reset
    assert not circuit.io0_low


def test_hard_reset():
    """RTS on and off: EN goes low and rises at once."""
    circuit = ResetCircuit()
    circuit.change(0.0, rts=True)
    circuit.change(0.1, rts=False)

    assert not circuit.in_reset
    assert not circuit.io0_low


def test_port_is_opened_and_closed():
    """A host that turns on both lines, one by one, and drops both at once resets nobody."""
    circuit = ResetCircuit()
    for lines in ({"dtr": True}, {"rts": True}, {"dtr": False, "rts": False}):
        circuit.change(0.0, **lines)
        assert not circuit.in_reset


def test_lines_dropped_in_the_wrong_order():
    """DTR first leaves RTS alone for a moment, which is a reset on real boards, too."""
    circuit = ResetCircuit()
    circuit.change(0.0, dtr=True, rts=True)
    circuit.change(0.0, dtr=False)

    assert circuit.in_reset


def test_hold_ends_with_the_next_reset():
    """Back from "both on" to RTS alone, time does not end the reset."""
    circuit = ResetCircuit()
    circuit.change(0.0, rts=True)
    circuit.change(0.1, dtr=True)
    circuit.change(0.2, dtr=False)
    circuit.pass_time(100.0)

    assert circuit.in_reset


def test_buttons():
    """They pull their pins low, whatever the lines are."""
    circuit = ResetCircuit()
    circuit.change(0.0, boot_pressed=True)
    assert circuit.io0_low
    circuit.change(0.0, reset_pressed=True)
    assert circuit.in_reset
    circuit.change(0.1, dtr=True, rts=True)
    assert circuit.in_reset
    assert circuit.held_until is None

    circuit.change(0.2, dtr=False, rts=False, reset_pressed=False)

    assert not circuit.in_reset
    assert circuit.io0_low
