"""Looks which boards are attached, and writes what a bench file would say of those it does not know."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from gateway.config_reference import in_toml
from gateway.identity import printable
from harness.bench.bench_file import Bench, BoardConfig, plain_mac
from harness.bench.identifying import Identify, Identity, identify
from harness.bench.leases import Leases
from harness.bench.tables import table
from harness.board.errors import FlashFailed, PortFailed
from harness.board.esptool import Call
from harness.board.serial_ports import UsbPort, usb_ports
from harness.errors import Misuse

AT_ONCE = 4
"""Ports that are asked at the same time: a hub's, without a machine's becoming busy enough to disturb resets."""
WHY_CHARACTERS = 200
"""Of why nobody answered."""
_NATIVE_USB = (0x303A, 0x1001)  # Espressif's USB Serial/JTAG (esptool: reset.py, loader.py)
_BRIDGES = {0x10C4: "CP210x", 0x1A86: "CH340", 0x0403: "FTDI", 0x303A: "Espressif", 0x067B: "PL2303"}


class Found(msgspec.Struct, frozen=True):
    """A port, and what is behind it.

    Attributes:
        port: as USB names it; None: it was given as a URL.
        url: as it was given, else empty.
        identity: who answered; None: nobody.
        note: why nobody did, or what board of the bench it is.
        known: the board of the bench; None: none of them.
    """

    port: UsbPort | None
    url: str
    identity: Identity | None
    note: str = ""
    known: BoardConfig | None = None

    @property
    def place(self) -> str:
        """USB location, or URL."""
        return self.port.location.partition(":")[0] if self.port else self.url

    @property
    def is_native_usb(self) -> bool:
        """Whether it is the chip's own USB port."""
        return self.port is not None and (self.port.vendor, self.port.product) == _NATIVE_USB


def scan(
    bench: Bench | None = None,
    urls: Sequence[str] = (),
    *,
    ports: Iterable[UsbPort] | None = None,
    ask: Identify = identify,
) -> list[Found]:
    """Ask every port who is there, several at once. Boards are reset by it; those that are held are left alone.

    Args:
        bench: whose boards are known; None: none is.
        urls: ports elsewhere, to be asked as well.
        ports: of this machine; None: those that are attached.
        ask: asks one.
    """
    attached: list[UsbPort | str] = [*(usb_ports() if ports is None else ports), *urls]
    with ThreadPoolExecutor(AT_ONCE, "scan") as threads:
        return list(threads.map(lambda one: _look(one, bench, ask), attached))


def _look(place: UsbPort | str, bench: Bench | None, ask: Identify) -> Found:
    port, url = (place, "") if isinstance(place, UsbPort) else (None, place)
    expected = next((board for board in bench.boards if _is_at(board, port, url)), None) if bench else None
    lease = None
    if bench and expected:
        leases = Leases(bench.lock_dir)
        lease = leases.take(expected, "wsdevice boards scan")
        if lease is None:
            return Found(port, url, None, f"is held by {leases.holder_of(expected.id) or 'somebody'}", expected)
    try:
        identity = ask(Call(port.device if port else url))
    except (FlashFailed, PortFailed, Misuse) as error:
        return Found(port, url, None, printable(str(error).partition("\n")[0], WHY_CHARACTERS), expected)
    finally:
        if lease:
            lease.release()
    known = next((board for board in bench.boards if plain_mac(board.mac) == identity.mac), None) if bench else None
    return Found(port, url, identity, "", known)


def _is_at(board: BoardConfig, port: UsbPort | None, url: str) -> bool:
    """Tell whether a bench file has this board at a port; as far as the file says, which may be out of date."""
    if port is None:
        return board.console.url.partition("?")[0] == url.partition("?")[0]
    places = {port.location, port.location.partition(":")[0]}
    device = os.path.realpath(port.device)
    return any(
        one.usb_location in places or (one.device and os.path.realpath(one.device) == device)
        for one in (board.console, board.flash)
    )


# --- what is shown --------------------------------------------------------------------------------------------


def report(found: Sequence[Found], bench: Bench | None = None) -> str:
    """Make the table of all ports, and a ``[[board]]`` for each board that the bench does not know."""
    if not found:
        return "no serial port on USB is attached; ports elsewhere are asked with --port rfc2217://HOST:PORT\n"
    rows = [_row(one) for one in found]
    text = table(("port", "device", "USB", "serial number", "chip", "MAC", "flash", "is"), rows)
    taken = {board.id for board in bench.boards} if bench else set()
    new = [one for one in found if one.identity and one.known is None and not _is_second_port(one, found)]
    blocks = [block(one, taken) for one in new]
    if blocks:
        text += "\nFor the bench file:\n\n" + "\n".join(blocks)
    return text


def _is_second_port(one: Found, found: Sequence[Found]) -> bool:
    """Tell whether a chip's own USB port is that of a board which is attached by its bridge as well."""
    same = [other for other in found if other.identity and one.identity and other.identity.mac == one.identity.mac]
    return len(same) > 1 and one is not next((other for other in same if not other.is_native_usb), same[0])


def _row(one: Found) -> tuple[str, ...]:
    port, identity = one.port, one.identity
    usb = f"{port.vendor:04x}:{port.product:04x}" if port else ""
    if port and (name := _BRIDGES.get(port.vendor)):
        usb += f" {name}"
    return (
        one.place,
        port.device if port else "",
        usb,
        printable(port.serial_number, 24) if port else "",
        identity.chip if identity else "?",
        identity.mac if identity else "?",
        f"{identity.flash}M" if identity and identity.flash else "",
        f"board {one.known.id}" if one.known and identity else one.note or "new",
    )


def block(one: Found, taken: set[str]) -> str:
    """Write what a bench file says of a board; its id is added to those that are taken."""
    identity = one.identity
    assert identity is not None
    board_id = _free_id(identity, taken)
    taken.add(board_id)
    caps = [] if one.is_native_usb else ["boot_log"]
    caps += [f"psram:{identity.psram}M"] if identity.psram else []
    caps += [f"flash:{identity.flash}M"] if identity.flash else []
    lines = [
        "[[board]]",
        f"id = {in_toml(board_id)}",
        f"chip = {in_toml(identity.chip)}",
        f"mac = {in_toml(identity.mac)}",
        f"console = {{ {'url' if one.url else 'usb_location'} = {in_toml(one.place)} }}",
        *(['flash = { reset = "usb" }'] if one.is_native_usb else []),
        '# power = { kind = "uhubctl", hub = "…", port = …, probed = "…" }',
        f'caps = {in_toml(caps)}  # "wifi", if it may join [network]',
    ]
    return "\n".join(lines) + "\n"


def _free_id(identity: Identity, taken: set[str]) -> str:
    """Make an id of the chip and the end of its MAC, which tells boards apart on their labels, too."""
    name = re.sub(r"^esp32(?=.)", "", identity.chip) + "-" + identity.mac.replace(":", "")[6:]
    return name if name not in taken else f"{name}-{len(taken)}"
