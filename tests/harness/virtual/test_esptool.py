"""The unmodified esptool at a virtual board: each operation, on each chip, with its stub and with the ROM alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.virtual.board import VirtualBoard
from harness.virtual.serial_protocol import Op
from tests.harness.virtual.esptool_operations import CELLS, OPERATIONS, PAYLOAD, Case, Operation, esptool
from tests.harness.virtual.idle import Boots

AT_ONCE = 4
"""Runs of esptool side by side, each at a board of its own: it sleeps for most of its time."""

QUICK = (
    ("esp32", "ROM", "write-flash -z"),
    ("esp32s3", "stub", "write-flash -u"),
    ("esp32c3", "stub", "read-flash"),
    ("esp32c3", "ROM", "verify-flash"),
)
"""What is looked at in each run of the tests; the rest is slow."""


def run_all(operations: list[tuple[Operation, Case]]) -> None:
    """Run them, some at once; show every one that failed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [(operation, pool.submit(operation.run, case)) for operation, case in operations]
    errors = [(operation.command, error) for operation, run in runs if (error := run.exception())]
    assert not errors, "\n\n".join(f"--- {command}\n{error}" for command, error in errors)


def case(chip, loader, folder: Path, name: str) -> Case:
    """A case with a folder of its own."""
    own = folder / name
    own.mkdir()
    return Case(chip, loader, own)


def test_some_operations(tmp_path):
    """One kind of write, read or comparison for each chip and loader."""
    chosen = [
        (operation, case(chip, loader, tmp_path, f"{command}-{chip}"))
        for chip, loader, command in QUICK
        for operation in OPERATIONS
        if operation.command.startswith(f"{command} ")
    ]
    assert len(chosen) == len(QUICK)

    run_all(chosen)


def test_other_ports(tmp_path):
    """A pty and a bare TCP connection have no lines: a board in download mode answers on them, and stays in it."""
    with VirtualBoard("esp32c3", boot=Boots()) as board:
        for port in (board.pty().path, board.raw_tcp().url):
            board.power_on(download=True)
            code, said = esptool(port, ["--before", "no-reset", "--after", "no-reset", "read-mac"], tmp_path)
            assert code == 0, said
            assert board.mac.hex(":") in said
            board.power_off()


def test_corrupted_block(tmp_path):
    """The checksum finds it, esptool sends the block again, and what is on the flash is right."""
    (tmp_path / "payload").write_bytes(PAYLOAD)
    with VirtualBoard("esp32s3", boot=Boots()) as board:
        port = board.rfc2217()
        board.power_on()
        board.corrupt_command(Op.FLASH_DEFL_DATA, 1)
        code, said = esptool(port.url, ["write-flash", "0x1000", "payload"], tmp_path)

        assert code == 0, said
        assert board.flash.read(0x1000, len(PAYLOAD)) == PAYLOAD


def test_bit_rot(tmp_path):
    """A bit that flipped after it was written is found by a comparison, and makes no difference to a board."""
    (tmp_path / "payload").write_bytes(PAYLOAD)
    with VirtualBoard("esp32", boot=Boots()) as board:
        board.flash.program(0x1000, PAYLOAD)
        board.rot(0x1000 + 100, 0x40)
        port = board.rfc2217()
        board.power_on()
        code, said = esptool(port.url, ["verify-flash", "0x1000", "payload"], tmp_path)

        assert code == 2, said
        assert "differ" in said or "Verification failed" in said


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("chip", "loader"), CELLS)
def test_all_operations(tmp_path, chip, loader):
    """The table that the documentation shows."""
    run_all([(operation, case(chip, loader, tmp_path, str(n))) for n, operation in enumerate(OPERATIONS)])


@pytest.mark.slow
def test_plain_client(tmp_path):
    """With pyserial's own client, which takes a round trip of 50 ms for what it says twice for each command."""
    (tmp_path / "payload").write_bytes(b"4 KiB" * 819)
    with VirtualBoard("esp32c3", boot=Boots()) as board:
        port = board.rfc2217()
        board.power_on()
        command = ["--chip", "esp32c3", "--no-stub", "write-flash", "0", "payload"]
        code, said = esptool(port.url, command, tmp_path, plain=True)

        assert code == 0, said
        assert "Hash of data verified." in said
        assert board.flash.read(0, 4095) == b"4 KiB" * 819
