"""What is attached, and what a bench file would say of it."""

from __future__ import annotations

import re
import threading

import pytest

from harness.bench.bench_file import ConsoleConfig, FlashConfig
from harness.bench.bench_loading import load
from harness.bench.identifying import Identity
from harness.bench.leases import Holder, Leases
from harness.bench.scan import AT_ONCE, report, scan
from harness.board.errors import NoSync, PortBusy
from harness.board.serial_ports import UsbPort
from harness.errors import Misuse
from tests.harness.bench.benches import a_bench, a_board

BRIDGE = UsbPort("/dev/ttyUSB0", "1-1.1", 0x10C4, 0xEA60, "0001", "CP2102N")
OTHER = UsbPort("/dev/ttyUSB1", "1-1.2", 0x1A86, 0x7523, "", "USB Serial")
NATIVE = UsbPort("/dev/ttyACM0", "1-1.3:1.0", 0x303A, 0x1001, "24:6F:28:AA:BB:03", "USB JTAG/serial debug unit")
URL = "rfc2217://rig2:4001"


class Chips:
    """Chips behind ports, as esptool would find them."""

    def __init__(self, **by_port):
        self.by_port = {
            "/dev/ttyUSB0": Identity("esp32s3", "24:6f:28:aa:bb:01", 16, 8),
            "/dev/ttyUSB1": Identity("esp32", "24:6f:28:aa:bb:02", 4),
            "/dev/ttyACM0": Identity("esp32c3", "24:6f:28:aa:bb:03"),
            URL: Identity("esp32c3", "24:6f:28:aa:bb:04", 4),
        } | by_port
        self.asked = []

    def __call__(self, call):
        """Answer as the chip at a port."""
        self.asked.append(call.port)
        answer = self.by_port[call.port]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_new_boards():
    """Each port is shown with who is there, and each new board as a block for the file."""
    text = report(scan(None, [URL], ports=[BRIDGE, OTHER, NATIVE], ask=Chips()))

    lines = text.splitlines()
    assert [re.split(r" {2,}", line) for line in lines[:5]] == [
        ["port", "device", "USB", "serial number", "chip", "MAC", "flash", "is"],
        ["1-1.1", "/dev/ttyUSB0", "10c4:ea60 CP210x", "0001", "esp32s3", "24:6f:28:aa:bb:01", "16M", "new"],
        ["1-1.2", "/dev/ttyUSB1", "1a86:7523 CH340", "esp32", "24:6f:28:aa:bb:02", "4M", "new"],
        ["1-1.3", "/dev/ttyACM0", "303a:1001 Espressif", "24:6F:28:AA:BB:03", "esp32c3", "24:6f:28:aa:bb:03", "new"],
        [URL, "esp32c3", "24:6f:28:aa:bb:04", "4M", "new"],
    ]
    assert "\n".join(lines[5:]) == (
        """
For the bench file:

[[board]]
id = "s3-aabb01"
chip = "esp32s3"
mac = "24:6f:28:aa:bb:01"
console = { usb_location = "1-1.1" }
# power = { kind = "uhubctl", hub = "…", port = …, probed = "…" }
caps = ["boot_log", "psram:8M", "flash:16M"]  # "wifi", if it may join [network]

[[board]]
id = "esp32-aabb02"
chip = "esp32"
mac = "24:6f:28:aa:bb:02"
console = { usb_location = "1-1.2" }
# power = { kind = "uhubctl", hub = "…", port = …, probed = "…" }
caps = ["boot_log", "flash:4M"]  # "wifi", if it may join [network]

[[board]]
id = "c3-aabb03"
chip = "esp32c3"
mac = "24:6f:28:aa:bb:03"
console = { usb_location = "1-1.3" }
flash = { reset = "usb" }
# power = { kind = "uhubctl", hub = "…", port = …, probed = "…" }
caps = []  # "wifi", if it may join [network]

[[board]]
id = "c3-aabb04"
chip = "esp32c3"
mac = "24:6f:28:aa:bb:04"
console = { url = "rfc2217://rig2:4001" }
# power = { kind = "uhubctl", hub = "…", port = …, probed = "…" }
caps = ["boot_log", "flash:4M"]  # "wifi", if it may join [network]"""
    )


def test_blocks_are_a_bench_file(tmp_path):
    """What is printed can be pasted."""
    text = report(scan(None, [URL], ports=[BRIDGE, OTHER, NATIVE], ask=Chips()))
    file = tmp_path / "bench.toml"
    file.write_text('schema = 1\n[bench]\nname = "lab"\n' + text[text.index("[[board]]") :])

    assert [board.mac[-2:] for board in load(file).boards] == ["01", "02", "03", "04"]


def test_ids_are_free():
    """Two boards whose MACs end alike, or one that is known by that name, do not get the same id."""
    twin = Identity("esp32s3", "7c:df:a1:aa:bb:01", 16)
    bench_free = report(scan(None, [], ports=[BRIDGE, OTHER], ask=Chips(**{"/dev/ttyUSB1": twin})))

    assert 'id = "s3-aabb01"' in bench_free
    assert 'id = "s3-aabb01-1"' in bench_free


def test_known_boards(tmp_path):
    """A board of the bench is called by its id, wherever it is plugged in now."""
    moved = a_board(2, "esp32", console=ConsoleConfig(usb_location="1-1.9"))
    bench = a_bench(tmp_path, a_board(1, console=ConsoleConfig(usb_location="1-1.1")), moved)

    text = report(scan(bench, [], ports=[BRIDGE, OTHER], ask=Chips()), bench)

    assert [line.rpartition("  ")[2] for line in text.splitlines()] == ["is", "board b1", "board b2"]


def test_two_ports_of_a_board():
    """A board that is attached by its bridge and by its own USB port is one board, reached by the bridge."""
    both = Identity("esp32s3", "24:6f:28:aa:bb:01", 16)
    text = report(scan(None, [], ports=[NATIVE, BRIDGE], ask=Chips(**{"/dev/ttyACM0": both, "/dev/ttyUSB0": both})))

    assert text.count("[[board]]") == 1
    assert 'usb_location = "1-1.1"' in text


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (
            PortBusy("/dev/ttyUSB0", "another program has it open: 12 (picocom)"),
            "/dev/ttyUSB0: another program has it ",
        ),
        (NoSync("identify", "it does not answer\nlines"), "identify: it does not answer"),
        (Misuse("expected one of esp32, …, got 'ESP32-P4'"), "expected one of esp32, …, got 'ESP32-P4'"),
    ],
)
def test_nobody_answers(error, note):
    """Why a port could not be asked stands in its line; the others are asked all the same."""
    text = report(scan(None, [], ports=[BRIDGE, OTHER], ask=Chips(**{"/dev/ttyUSB0": error})))

    assert note in text.splitlines()[1]
    assert re.search(r"0001 +\? +\? +", text.splitlines()[1])
    assert "esp32-aabb02" in text


def test_held(tmp_path):
    """A board that somebody holds is not reset under their hands."""
    board = a_board(1, console=ConsoleConfig(usb_location="1-1.1"))
    bench, chips = a_bench(tmp_path, board), Chips()
    with Leases(bench.lock_dir, Holder(123, "ann", "lab")).take(board):
        found = scan(bench, [], ports=[BRIDGE, OTHER], ask=chips)

    assert chips.asked == ["/dev/ttyUSB1"]
    assert "is held by pid 123 (ann@lab)" in report(found, bench).splitlines()[1]


def test_held_remote_and_native(tmp_path):
    """So is not one that is reached by a URL, or through its own USB port."""
    remote = a_board(1, console=ConsoleConfig(url=f"{URL}?ign_set_control"))
    native = a_board(2, flash=FlashConfig(via="usb", usb_location="1-1.3"))
    bench, chips = a_bench(tmp_path, remote, native), Chips()
    leases = Leases(bench.lock_dir)
    with leases.take(remote), leases.take(native):
        scan(bench, [URL], ports=[NATIVE], ask=chips)

    assert chips.asked == []


def test_held_by_a_path(tmp_path):
    """Nor one that the file names by a link, as those below /dev/serial/by-id are."""
    link = tmp_path / "usb-Silicon_Labs_CP2102N_0001-if00-port0"
    link.symlink_to("/dev/ttyUSB0")
    console = a_board(1, console=ConsoleConfig(device=str(link)))
    flashed = a_board(2, flash=FlashConfig(via="usb", device="/dev/ttyACM0"))
    bench, chips = a_bench(tmp_path, console, flashed), Chips()
    leases = Leases(bench.lock_dir)
    with leases.take(console), leases.take(flashed):
        scan(bench, [], ports=[BRIDGE, OTHER, NATIVE], ask=chips)

    assert chips.asked == ["/dev/ttyUSB1"]


def test_lease_ends(tmp_path):
    """After a scan nothing is held; while it asks, the board is."""
    board = a_board(1, console=ConsoleConfig(usb_location="1-1.1"))
    bench, seen = a_bench(tmp_path, board), []
    leases = Leases(bench.lock_dir)

    def ask(call):
        seen.append(leases.holder_of("b1").test)
        raise NoSync("x", "y")

    scan(bench, [], ports=[BRIDGE], ask=ask)

    assert seen == ["wsdevice boards scan"]
    assert leases.holder_of("b1") is None


def test_several_at_once():
    """A hub's ports are asked together."""
    together = threading.Barrier(AT_ONCE)
    ports = [UsbPort(f"/dev/ttyUSB{number}", f"1-1.{number}", 0, 0, "", "") for number in range(AT_ONCE)]

    def ask(call):
        together.wait(5)
        raise NoSync("x", "y")

    assert len(scan(None, [], ports=ports, ask=ask)) == AT_ONCE


def test_nothing_attached():
    """No port is no table; how remote ones are asked is said."""
    assert report(scan(None, [], ports=[], ask=Chips())) == (
        "no serial port on USB is attached; ports elsewhere are asked with --port rfc2217://HOST:PORT\n"
    )
