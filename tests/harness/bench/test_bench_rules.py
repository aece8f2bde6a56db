"""What settings ask of each other, and boards of one another."""

from __future__ import annotations

import pytest

from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig, NetworkConfig, PowerConfig
from harness.bench.bench_rules import check

URL = ConsoleConfig(url="rfc2217://rig:4001")
SOCKET = ConsoleConfig(url="socket://rig:4001")
USB = ConsoleConfig(usb_location="1-1.4")
AWAY = NetworkConfig(gateway_host="10.0.0.1", ssid="lab")


def board(number=1, **others):
    """Make a board that is fine but for what is given."""
    given = {"id": f"b{number}", "chip": "esp32s3", "mac": f"24:6f:28:aa:bb:{number:02x}"}
    return BoardConfig(**given | {"console": ConsoleConfig(url=f"rfc2217://rig:{4000 + number}")} | others)


def breaches(*boards, network=AWAY):
    """Return what is wrong, as lines."""
    return [
        f"{'.'.join(map(str, breach.places[0][1:]))}: expected {breach.expected}, found {breach.found}"
        for breach in check(network, dict(enumerate(boards)))
    ]


@pytest.mark.parametrize(
    "fine",
    [
        board(),
        board(console=USB),
        board(console=ConsoleConfig(device="/dev/serial/by-id/usb-Silicon_Labs_CP2102N_0001-if00-port0")),
        board(console=ConsoleConfig(device="/dev/ttyAMA0")),
        board(console=SOCKET, flash=FlashConfig(reset="none")),
        board(console=USB, flash=FlashConfig(via="usb", usb_location="1-1.5", reset="usb"), caps=("boot_log",)),
        board(console=USB, flash=FlashConfig(reset="usb")),
        board(power=PowerConfig(kind="uhubctl", hub="1-1", port=1, probed="2026-02-28")),
        board(power=PowerConfig(kind="person")),
        board(power=PowerConfig(kind="en"), caps=("power", "reset", "boot_log", "wifi", "psram:2M", "x-relay")),
    ],
)
def test_fine(fine):
    """What a bench may well have is no fault."""
    assert breaches(fine) == []


NO_BOOT_LOG = "no boot_log: a chip's own USB port comes back after a reset when the first lines are gone"
BY_ORDER = (
    "expected usb_location, or a path below /dev/serial/by-id: a name of this kind goes to whatever is plugged in "
    "first, and would lead to another board some day"
)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (board(console=ConsoleConfig()), "0.console: expected one of url, usb_location and device, found none"),
        (
            board(console=ConsoleConfig(url="socket://h:1", device="/dev/x"), flash=FlashConfig(reset="none")),
            "0.console: expected one of url, usb_location and device, found url and device",
        ),
        (board(console=ConsoleConfig(device="/dev/ttyUSB0")), f'0.console.device: {BY_ORDER}, found "/dev/ttyUSB0"'),
        (board(console=ConsoleConfig(device="/dev/ttyACM13")), f'0.console.device: {BY_ORDER}, found "/dev/ttyACM13"'),
        (board(console=ConsoleConfig(device="COM3")), f'0.console.device: {BY_ORDER}, found "COM3"'),
        (board(console=ConsoleConfig(device="/dev/pts/4")), f'0.console.device: {BY_ORDER}, found "/dev/pts/4"'),
        (
            board(flash=FlashConfig(via="usb", device="/dev/ttyACM0")),
            f'0.flash.device: {BY_ORDER}, found "/dev/ttyACM0"',
        ),
        (
            board(console=ConsoleConfig(url="rfc2217://rig")),
            '0.console.url: expected a URL with host and port, such as rfc2217://rig2:4001, found "rfc2217://rig"',
        ),
        (
            board(console=ConsoleConfig(url="rfc2217://rig:99999")),
            '0.console.url: expected a URL with host and port, such as rfc2217://rig2:4001, found "rfc2217://rig:99999"',
        ),
        (board(flash=FlashConfig(device="/dev/x")), '0.flash.device: expected none with via = "console", found '),
        (
            board(flash=FlashConfig(via="usb")),
            "0.flash.via: expected one of usb_location and device beside it, found none",
        ),
        (
            board(chip="esp32", flash=FlashConfig(via="usb", device="/dev/x")),
            '0.flash.via: expected another: an ESP32 has no USB port of its own, found "usb"',
        ),
        (
            board(chip="esp32", console=USB, flash=FlashConfig(reset="usb")),
            '0.flash.reset: expected another: an ESP32 has no USB port of its own, found "usb"',
        ),
        (
            board(flash=FlashConfig(reset="usb")),
            '0.flash.reset: expected another: esptool does it only on a port of this machine, found "usb"',
        ),
        (
            board(console=SOCKET),
            '0.flash.reset: expected "none", since socket:// carries no reset lines, found "classic"',
        ),
        (
            board(power=PowerConfig(kind="shell", off=("x",), on=("y",), hub="1-1")),
            '0.power.hub: expected none; it is for kind = "uhubctl", found ',
        ),
        (board(power=PowerConfig(kind="uhubctl", hub="1-1")), "0.power: expected hub and port for uhubctl, found "),
        (
            board(power=PowerConfig(kind="shell", off=("x",))),
            "0.power: expected off and on, a command each, found ",
        ),
        (
            board(console=SOCKET, flash=FlashConfig(reset="none"), power=PowerConfig(kind="en")),
            '0.power.kind: expected another: socket:// carries no reset lines, found "en"',
        ),
        (
            board(power=PowerConfig(kind="virtual")),
            '0.power.kind: expected another: it is for the boards of a virtual bench, found "virtual"',
        ),
        (
            board(power=PowerConfig(kind="person", probed="2026-02-30")),
            '0.power.probed: expected a day of the calendar, found "2026-02-30"',
        ),
        (
            board(caps=("bot_log",)),
            '0.caps: expected known capabilities; did you mean boot_log?, found "bot_log"',
        ),
        (
            board(caps=("zzz",)),
            '0.caps: expected known capabilities, or one of your own that begins with x-, found "zzz"',
        ),
        (
            board(caps=("power",)),
            '0.caps: expected no power, or a [board.power] with a kind, found "power"',
        ),
        (
            board(console=SOCKET, flash=FlashConfig(reset="none"), caps=("reset",)),
            '0.caps: expected no reset, since socket:// carries no reset lines, found "reset"',
        ),
        (
            board(console=USB, flash=FlashConfig(reset="usb"), caps=("boot_log",)),
            f'0.caps: expected {NO_BOOT_LOG}, found "boot_log"',
        ),
    ],
)
def test_one_board(wrong, expected):
    """Each rule names the setting to blame, what would be right, and what is there; and no other rule repeats it."""
    assert breaches(wrong) == [expected]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"id": "B1"}, "1.id: expected an id of its own, found that of board b1"),
        ({"mac": "24-6F-28-AA-BB-01"}, "1.mac: expected a MAC of its own, found that of board b1"),
        (
            {"console": ConsoleConfig(url="rfc2217://RIG:4001?ign_set_control")},
            "1.console: expected a console of its own, found that of board b1",
        ),
        (
            {"power": PowerConfig(kind="uhubctl", hub="1-1", port=1)},
            "1.power: expected a power port of its own, found that of board b1",
        ),
    ],
)
def test_two_boards(other, expected):
    """No two boards have the same name, MAC, console or power port: the later one is told whose it is."""
    first = board(1, power=PowerConfig(kind="uhubctl", hub="1-1", port=1))

    assert breaches(first, board(2, **other)) == [expected]


def test_network():
    """Boards on the air need an access point, and a gateway where they can reach it."""
    assert breaches(board(caps=("wifi",)), network=NetworkConfig()) == [
        "ssid: expected the access point's name, since board b1 has wifi, found none",
        'gateway_host: expected an address of this machine that board b1 can reach over Wi-Fi, found "127.0.0.1"',
    ]


@pytest.mark.parametrize(("host", "found"), [("localhost", 1), ("::1", 1), ("rig.lab", 0), ("10.0.0.1", 0)])
def test_gateway_host(host, found):
    """Any loopback address is one that boards cannot reach; a name may be theirs."""
    assert len(breaches(board(caps=("wifi",)), network=NetworkConfig(gateway_host=host, ssid="lab"))) == found


def test_network_of_virtual_boards():
    """A virtual board is on this machine: the loopback address is a good one."""
    assert breaches(board(caps=("wifi",), virtual=True), network=NetworkConfig()) == []
