"""Faults that strike one command."""

from __future__ import annotations

import pytest

from harness.errors import Misuse
from harness.virtual.command_faults import CommandFaults
from harness.virtual.serial_protocol import Command, Op


def command(op: int, data: bytes = b"ab") -> Command:
    """A command with some data."""
    return Command(op, len(data), 0x10, data)


def test_nothing_is_asked_for():
    """Commands are heard as they are."""
    assert CommandFaults(print).hear(command(Op.SYNC)) == command(Op.SYNC)


def test_nth_command_is_dropped():
    """Only this one, counted from when it was asked for, and others are not counted."""
    struck = []
    faults = CommandFaults(struck.append)
    faults.ask("drop", Op.SYNC, 2)
    heard = [faults.hear(command(op)) for op in (Op.SYNC, Op.READ_REG, Op.SYNC, Op.SYNC)]

    assert [one is None for one in heard] == [False, False, True, False]
    assert struck == ["drop: command 0x08 with 2 bytes of data"]


def test_corrupted_command():
    """One bit is wrong, in the data or, without any, in the checksum; the length is as it was."""
    faults = CommandFaults(lambda _: None)
    faults.ask("corrupt", Op.FLASH_DATA, 1)
    faults.ask("corrupt", Op.FLASH_END, 1)

    assert faults.hear(command(Op.FLASH_DATA)) == Command(Op.FLASH_DATA, 2, 0x10, b"ac")
    assert faults.hear(command(Op.FLASH_END, b"")) == Command(Op.FLASH_END, 0, 0x11, b"")
    assert faults.hear(command(Op.FLASH_DATA)) == command(Op.FLASH_DATA)


def test_several_at_once():
    """Each counts for itself; what is dropped cannot be heard wrong."""
    faults = CommandFaults(lambda _: None)
    for kind, nth in (("drop", 1), ("corrupt", 1), ("drop", 3)):
        faults.ask(kind, Op.SYNC, nth)
    heard = [faults.hear(command(Op.SYNC)) for _ in range(4)]

    assert [one is None for one in heard] == [True, False, True, False]


def test_number_zero():
    """There is no command before the first."""
    with pytest.raises(Misuse, match="got number 0"):
        CommandFaults(print).ask("drop", Op.SYNC, 0)
