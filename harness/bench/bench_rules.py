"""What the settings of a bench file ask of each other, and boards of one another."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.config_reference import shown
from harness.bench import capabilities
from harness.bench.bench_file import BoardConfig, NetworkConfig, PowerConfig, plain_mac
from harness.bench.toml_lines import Place

# Names the system gives by the order in which ports appear; /dev/ttyS0 and /dev/ttyAMA0 are sockets on the machine.
_BY_ORDER = re.compile(r"(?i)(/dev/)?(tty|cu\.)?(USB|ACM|usbmodem|SLAB_USBtoUART)\d*|COM\d+|(/dev/)?pts/\d+")
_POWER_KEYS = {
    "uhubctl": ("hub", "port", "program", "options"),
    "shell": ("off", "on", "status"),
}


class Breach(NamedTuple):
    """A rule that does not hold; the first of the places is to blame, the others are what it stands on."""

    places: tuple[Place, ...]
    expected: str
    found: str = ""


def check(network: NetworkConfig, boards: Mapping[int, BoardConfig]) -> Iterator[Breach]:
    """Check every rule over boards by their number in the file."""
    for number, board in boards.items():
        place: Place = ("board", number)
        for breaches in (_console, _flash, _power, _caps):
            for breach in breaches(board):
                yield Breach(tuple((*place, *rest) for rest in breach.places), breach.expected, breach.found)
    yield from _shared(boards)
    yield from _network(network, boards)


# --- one board ------------------------------------------------------------------------------------------------


def _console(board: BoardConfig) -> Iterator[Breach]:
    console = board.console
    ways = [way for way in ("url", "usb_location", "device") if getattr(console, way)]
    if len(ways) != 1:
        yield Breach((("console",),), "one of url, usb_location and device", " and ".join(ways) or "none")
    yield from _not_by_order(("console", "device"), console.device)
    if console.url and not _has_port(console.url):
        yield Breach((("console", "url"),), "a URL with host and port, such as rfc2217://rig2:4001", shown(console.url))


def _not_by_order(place: Place, device: str) -> Iterator[Breach]:
    if _BY_ORDER.fullmatch(device):
        yield Breach(
            (place,),
            "usb_location, or a path below /dev/serial/by-id: a name of this kind goes to whatever is plugged in "
            "first, and would lead to another board some day",
            shown(device),
        )


def _has_port(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.port)
    except ValueError:
        return False


def _flash(board: BoardConfig) -> Iterator[Breach]:
    flash, via, reset = board.flash, ("flash", "via"), ("flash", "reset")
    ways = [way for way in ("usb_location", "device") if getattr(flash, way)]
    if flash.via == "console" and ways:
        yield Breach((("flash", ways[0]), via), 'none with via = "console"')
    if flash.via == "usb" and len(ways) != 1:
        yield Breach((via,), "one of usb_location and device beside it", " and ".join(ways) or "none")
    yield from _not_by_order(("flash", "device"), flash.device)
    if board.chip == "esp32" and (flash.via == "usb" or flash.reset == "usb"):
        place = via if flash.via == "usb" else reset
        yield Breach((place, ("chip",)), "another: an ESP32 has no USB port of its own", '"usb"')
    elif flash.via == "console" and flash.reset == "usb" and board.console.url:
        yield Breach((reset, ("console", "url")), "another: esptool does it only on a port of this machine", '"usb"')
    elif flash.via == "console" and flash.reset != "none" and not board.console.has_lines:
        yield Breach((reset, ("console", "url")), '"none", since socket:// carries no reset lines', shown(flash.reset))


def _power(board: BoardConfig) -> Iterator[Breach]:
    power = board.power
    for kind, keys in _POWER_KEYS.items():
        for key in keys:
            if kind != power.kind and getattr(power, key) != getattr(PowerConfig(), key):
                yield Breach((("power", key), ("power", "kind")), f'none; it is for kind = "{kind}"')
    if power.kind == "uhubctl" and not (power.hub and power.port):
        yield Breach((("power",),), "hub and port for uhubctl")
    if power.kind == "shell" and not (power.off and power.on):
        yield Breach((("power",),), "off and on, a command each")
    if power.kind == "en" and not board.console.has_lines:
        yield Breach((("power", "kind"), ("console", "url")), "another: socket:// carries no reset lines", '"en"')
    if power.kind == "virtual":
        yield Breach((("power", "kind"),), "another: it is for the boards of a virtual bench", '"virtual"')
    if power.probed and not _is_date(power.probed):
        yield Breach((("power", "probed"),), "a day of the calendar", shown(power.probed))


def _is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _caps(board: BoardConfig) -> Iterator[Breach]:
    place: Place = ("caps",)
    for cap in board.caps:
        if not capabilities.is_capability(cap):
            meant = capabilities.meant(cap)
            question = f"; did you mean {meant}?" if meant else ", or one of your own that begins with x-"
            yield Breach((place,), "known capabilities" + question, shown(cap))
    if "power" in board.caps and board.power.kind == "none":
        yield Breach((place, ("power", "kind")), "no power, or a [board.power] with a kind", '"power"')
    if "reset" in board.caps and not board.console.has_lines:
        yield Breach((place, ("console", "url")), "no reset, since socket:// carries no reset lines", '"reset"')
    if "boot_log" in board.caps and board.flash.via == "console" and board.flash.reset == "usb":
        expected = "no boot_log: a chip's own USB port comes back after a reset when the first lines are gone"
        yield Breach((place, ("flash", "reset")), expected, '"boot_log"')


# --- boards of one another ------------------------------------------------------------------------------------


def _shared(boards: Mapping[int, BoardConfig]) -> Iterator[Breach]:
    """Find what two boards cannot both have; the later one is to blame."""
    rules: tuple[tuple[Place, Callable[[BoardConfig], object], str], ...] = (
        (("id",), lambda board: board.id.casefold(), "an id of its own"),
        (("mac",), lambda board: plain_mac(board.mac), "a MAC of its own"),
        (("console",), _port, "a console of its own"),
        (("power",), _socket, "a power port of its own"),
    )
    for rest, value_of, expected in rules:
        first: dict[object, BoardConfig] = {}
        for number, board in boards.items():
            value = value_of(board)
            if value and (other := first.setdefault(value, board)) is not board:
                yield Breach((("board", number, *rest),), expected, f"that of board {other.id}")


def _port(board: BoardConfig) -> str:
    console = board.console
    return console.url.partition("?")[0].casefold() or console.usb_location or console.device


def _socket(board: BoardConfig) -> tuple[str, int] | None:
    return (board.power.hub, board.power.port) if board.power.kind == "uhubctl" else None


def _network(network: NetworkConfig, boards: Mapping[int, BoardConfig]) -> Iterator[Breach]:
    on_air = [board for board in boards.values() if "wifi" in board.caps and not board.virtual]
    if on_air and not network.ssid:
        yield Breach((("network", "ssid"),), f"the access point's name, since board {on_air[0].id} has wifi", "none")
    if on_air and _is_loopback(network.gateway_host):
        expected = f"an address of this machine that board {on_air[0].id} can reach over Wi-Fi"
        yield Breach((("network", "gateway_host"),), expected, shown(network.gateway_host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
