"""What a bench file says: the boards of a rig, how each is reached, flashed and switched off, and their network.

`harness.bench.bench_loading` reads it from TOML. The descriptions here are what ``docs/bench.md`` shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from harness.bench.errors import BenchIncomplete, NoSuchBoard
from harness.firmware.chips import CHIPS, Chip, ChipName

SCHEMA = 1
"""Of the bench file; a change that older files would not survive raises it."""
CONSOLE_BAUD = 115200
"""Of ROMs, and of ESP-IDF unless it was built otherwise (CONFIG_ESP_CONSOLE_UART_BAUDRATE)."""
FLASH_BAUD = 921600
"""The fastest rate that the usual UART bridges (CP210x, CH340, FTDI) share."""

PowerKind: TypeAlias = Literal["none", "en", "uhubctl", "shell", "person", "virtual"]

_LEAST_BAUD, _MOST_BAUD = 9600, 5_000_000  # ESP32 technical reference: UART, baud rates to 5 Mbit/s
_NOT_IN_FILES = Meta(extra={"not_in_files": True})
_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,47}\Z"
_MAC = r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\Z"
_VARIABLE = r"^([A-Z_][A-Z0-9_]*)?\Z"  # in capitals: a password put here by mistake seldom is
_DATE = r"^(\d{4}-\d{2}-\d{2})?\Z"
# esptool: custom_reset_sequence in its configuration file: D, R, U and W with their values, between bars.
_RESET = r"^(classic|usb|none|custom:([DR][01]|U[01],[01]|W\d+(\.\d+)?)(\|([DR][01]|U[01],[01]|W\d+(\.\d+)?))*)\Z"


class ConsoleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The serial port the board talks on; one of `url`, `usb_location` and `device` says how to reach it."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^((rfc2217|socket)://.+)?\Z",
            description="A port elsewhere: `rfc2217://host:port`, or `socket://host:port`, which has no reset lines.",
            extra={"expected": "a URL that begins with rfc2217:// or socket://"},
        ),
    ] = ""
    usb_location: Annotated[
        str,
        Meta(
            pattern=r"^(\d+-\d+(\.\d+)*(:\d+\.\d+)?)?\Z",
            description="The USB socket its cable is in, as `wsdevice boards scan` and `lsusb -t` number it.",
            extra={"expected": "a place in the tree of USB hubs, such as 1-1.4.2"},
        ),
    ] = ""
    device: Annotated[
        str,
        Meta(description="A path that stays with the board: below `/dev/serial/by-id`, or a link of your udev rules."),
    ] = ""
    baud: Annotated[int, Meta(ge=_LEAST_BAUD, le=_MOST_BAUD, description="Of the running firmware.")] = CONSOLE_BAUD

    @property
    def has_lines(self) -> bool:
        """Whether DTR and RTS reach the board, and with them EN and IO0."""
        return not self.url.startswith("socket://")


class FlashConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How esptool reaches the board's boot loader."""

    via: Annotated[
        Literal["console", "usb"],
        Meta(
            description="`console`: the port of the console; `usb`: the chip's own USB port, at `usb_location` or "
            "`device`."
        ),
    ] = "console"
    usb_location: Annotated[
        str,
        Meta(
            pattern=r"^(\d+-\d+(\.\d+)*(:\d+\.\d+)?)?\Z",
            description='With `via = "usb"`: its place in the tree of hubs.',
            extra={"expected": "a place in the tree of USB hubs, such as 1-1.4.2"},
        ),
    ] = ""
    device: Annotated[str, Meta(description='With `via = "usb"`: a path that stays with the board.')] = ""
    baud: Annotated[int, Meta(ge=_LEAST_BAUD, le=_MOST_BAUD, description="Once esptool's stub runs.")] = FLASH_BAUD
    reset: Annotated[
        str,
        Meta(
            pattern=_RESET,
            description="How the boot loader is entered: `classic` (DTR and RTS of a UART bridge), `usb` (the chip's "
            "own USB port), `none` (it is in the boot loader already), or `custom:` and a sequence of esptool's.",
            extra={"expected": "classic, usb, none, or custom: and a sequence as esptool takes it, D0|R1|W0.1|D1|R0"},
        ),
    ] = "classic"


class PowerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the board is switched off and on."""

    kind: Annotated[
        PowerKind,
        Meta(
            description="`none`: it cannot be; `en`: EN is held low through RTS, which stops the chip but not its "
            "supply; `uhubctl`: a USB hub that switches its ports; `shell`: commands of yours; `person`: someone is "
            "asked on the terminal; `virtual`: the supply of a virtual board."
        ),
    ] = "none"
    hub: Annotated[
        str,
        Meta(
            pattern=r"^(\d+-\d+(\.\d+)*|\d+)?\Z",
            description="uhubctl: the hub, as its `-l` takes it.",
            extra={"expected": "a hub's location as uhubctl prints it, such as 1-1.4"},
        ),
    ] = ""
    port: Annotated[int, Meta(ge=0, le=31, description="uhubctl: the port of the hub; they count from 1.")] = 0
    program: Annotated[str, Meta(description="uhubctl: the program, with its path where it is not in PATH.")] = (
        "uhubctl"
    )
    options: Annotated[
        tuple[str, ...],
        Meta(
            description="uhubctl: further options, such as `-N` (do not look at what is attached) and `-f` (switch a "
            "hub that does not say it can).",
            extra={"expected": "a list of texts"},
        ),
    ] = ()
    off: Annotated[
        tuple[str, ...],
        Meta(
            description="shell: the command that switches off, a word an item.", extra={"expected": "a list of texts"}
        ),
    ] = ()
    on: Annotated[
        tuple[str, ...],
        Meta(description="shell: the command that switches on.", extra={"expected": "a list of texts"}),
    ] = ()
    status: Annotated[
        tuple[str, ...],
        Meta(
            description="shell: a command that prints `on` or `off`; without one, what was switched is believed.",
            extra={"expected": "a list of texts"},
        ),
    ] = ()
    seconds: Annotated[
        float, Meta(gt=0, le=600, description="A command may take so long; a person, ten times that.")
    ] = 10.0
    off_seconds: Annotated[
        float,
        Meta(ge=0, le=600, description="Off in a power cycle; capacitors keep a board alive for a part of it."),
    ] = 2.0
    probed: Annotated[
        str,
        Meta(
            pattern=_DATE,
            description="The day someone saw, on this port, that the board goes dark: some hubs only say so. Recovery "
            "does not count on a supply without it.",
            extra={"expected": 'a date as text, such as "2026-11-20"'},
        ),
    ] = ""


class BoardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One board."""

    id: Annotated[
        str,
        Meta(
            pattern=_ID,
            description="What people call it; the same in every bench file of a machine, since the lock is named so.",
            extra={"expected": "a name of 1 to 48 letters, digits, dots, dashes and underscores"},
        ),
    ]
    chip: Annotated[ChipName, Meta(description="What it is; esptool is asked whether it is so.")]
    mac: Annotated[
        str,
        Meta(
            pattern=_MAC,
            description="The MAC in its fuses, as esptool prints it: what makes this board this board.",
            extra={"expected": "a MAC such as 24:6f:28:aa:bb:cc, as esptool prints it"},
        ),
    ]
    console: ConsoleConfig = ConsoleConfig()
    flash: FlashConfig = FlashConfig()
    power: PowerConfig = PowerConfig()
    caps: Annotated[
        tuple[str, ...],
        Meta(description="What it has that tests may need.", extra={"expected": "a list of capabilities"}),
    ] = ()
    virtual: Annotated[bool, Meta(description="It is no silicon, and reports say so.")] = False
    control: Annotated[str, _NOT_IN_FILES, Meta(description="``host:port`` where its rig takes orders.")] = ""

    @property
    def chip_facts(self) -> Chip:
        """What images and boot loaders state of its chip."""
        return CHIPS[self.chip]


class NetworkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Wi-Fi the boards join, and where in it they find the gateway under test."""

    gateway_host: Annotated[
        str,
        Meta(description="An address of this machine that boards can reach; tests bind their gateways' front to it."),
    ] = "127.0.0.1"
    ssid: Annotated[str, Meta(max_length=32, description="Of the access point; 2.4 GHz.")] = ""
    psk_env: Annotated[
        str,
        Meta(
            pattern=_VARIABLE,
            description="Name of the environment variable with its password; empty: the network is open. The password "
            "itself is never in the file.",
            extra={"expected": "the name of an environment variable, in capitals"},
            extra_json_schema={"secret": True},
        ),
    ] = ""
    virtual_psk: Annotated[str, _NOT_IN_FILES, Meta(description="Of a virtual bench's access point.")] = ""

    def psk(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the password; empty where the network is open.

        Raises:
            BenchIncomplete: the variable that is to have it is not set, or empty.
        """
        if self.virtual_psk or not self.psk_env:
            return self.virtual_psk
        if password := environ.get(self.psk_env, ""):
            return password
        raise BenchIncomplete(
            f"expected the Wi-Fi password of {self.ssid!r} in the environment variable {self.psk_env}, which "
            "network.psk_env of the bench file names; it is not set"
        )


class BenchTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rig as a whole."""

    name: Annotated[
        str,
        Meta(
            pattern=_ID,
            description="For reports, and for the directory of its boards' history.",
            extra={"expected": "a name of 1 to 48 letters, digits, dots, dashes and underscores"},
        ),
    ]
    lock_dir: Annotated[
        str,
        Meta(
            description="Directory of the leases' files, the same for all who use these boards on this machine; empty: "
            "`/run/lock/wsdevice`, or `wsdevice-locks` in the directory for temporary files where there is no "
            "`/run/lock`."
        ),
    ] = ""
    state_dir: Annotated[
        str,
        Meta(
            description="Directory of the boards' history and quarantine; empty: "
            "`$XDG_STATE_HOME/wsdevice/benches/NAME`, else the same below `~/.local/state`."
        ),
    ] = ""


class Bench(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rig of boards.

    Attributes:
        name: for reports.
        lock_dir: where the leases' files are; all that use these boards on this machine must name the same.
        state_dir: where each board's history and quarantine are kept.
        network: the Wi-Fi and the way to the gateway.
        boards: in the order of the file.
        source: the file's path, or ``virtual:3``.
    """

    name: str
    lock_dir: str
    state_dir: str
    network: NetworkConfig
    boards: tuple[BoardConfig, ...]
    source: str = ""

    @property
    def virtual(self) -> bool:
        """Whether no board of it is silicon."""
        return all(board.virtual for board in self.boards)

    def board(self, board_id: str) -> BoardConfig:
        """Return the board with this id.

        Raises:
            NoSuchBoard: with those there are.
        """
        for board in self.boards:
            if board.id == board_id:
                return board
        raise NoSuchBoard(board_id, tuple(board.id for board in self.boards))


def plain_mac(mac: str) -> str:
    """Bring a MAC to the form that MACs are compared in: lower case, with colons."""
    return mac.strip().lower().replace("-", ":")


def to_json(bench: Bench) -> bytes:
    """Write a bench for another process, which may be one of other rights: passwords of files are not in it."""
    return msgspec.json.encode(bench)


def from_json(data: bytes) -> Bench:
    """Read what `to_json` wrote."""
    return msgspec.json.decode(data, type=Bench)
