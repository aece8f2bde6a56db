"""The ``wsdevice`` command: the gateway's own commands, and those that are for tests and benches.

What a command needs is imported when it is called: ``wsdevice serve`` loads no test tools, and ``wsdevice --help``
loads nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway import cli as gateway_cli
from gateway.exit_codes import ExitCode

if TYPE_CHECKING:
    from harness.virtual.access_point import AccessPoint

_DESCRIPTION = "A WebSocket gateway for ESP32 devices, and the means to prove that it works."
_PORT_HELP = "a device such as /dev/ttyUSB0, or rfc2217://HOST:PORT, or socket://HOST:PORT (without resets)"
_EPILOG = "'wsdevice COMMAND --help' tells what a command takes. To see what it is about: 'wsdevice demo'."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="wsdevice", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"wsdevice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_fake(commands)
    _add_explore(commands)
    _add_boards(commands)
    _add_virtual_board(commands)
    _add_flash(commands)
    _add_monitor(commands)
    _add_validate(commands)
    gateway_cli.add_commands(commands)
    parsed = parser.parse_args(arguments)
    own = {
        "demo": _demo,
        "fake": _fake,
        "explore": _explore,
        "boards": _boards,
        "virtual-board": _virtual_board,
        "flash": _flash,
        "monitor": _monitor,
        "validate": _validate,
    }
    return gateway_cli.run(parsed, own.get(parsed.command, gateway_cli.gateway_command))


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "a gateway and two fake devices on this machine, to look at and to play with"
    demo = commands.add_parser("demo", help=text, description=text)
    demo.add_argument("--once", action="store_true", help="end after the exchange instead of going on serving")
    taken = "any free one if that is taken"
    demo.add_argument(
        "--ws-port", type=_port, metavar="N", help=f"WebSocket port; default: 8000, {taken}; 0: a free one"
    )
    demo.add_argument("--http-port", type=_port, metavar="N", help=f"HTTP port; default: 8003, {taken}; 0: a free one")


def _demo(arguments: argparse.Namespace) -> int:
    from harness.demo import demo  # noqa: PLC0415 - loaded when called

    return demo(once=arguments.once, ws_port=arguments.ws_port, http_port=arguments.http_port)


def _add_fake(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "fake devices, up to thousands, that connect to a gateway and talk; Ctrl-C ends them with a summary"
    fake = commands.add_parser("fake", help=text.partition(";")[0], description=text)
    fake.add_argument("--url", required=True, metavar="ws://…", help="where they connect")
    fake.add_argument("--count", type=int, default=1, metavar="N", help="how many; default: 1")
    fake.add_argument(
        "--traffic",
        choices=("ping", "peer", "none"),
        default="ping",
        help="what each does: a heartbeat, a message to the next device, or nothing; default: ping",
    )
    fake.add_argument("--every", type=float, default=5.0, metavar="S", help="seconds between two; default: 5")
    rate = "how many connect in a second; default: 200"
    fake.add_argument("--connects-per-second", type=float, default=200.0, metavar="N", help=rate)
    fake.add_argument("--seconds", type=float, metavar="S", help="end after so long; default: go on until Ctrl-C")
    fake.add_argument(
        "--key-file", metavar="FILE", help="the gateway's auth.key_file, to make the devices' tokens; default: none"
    )


def _fake(arguments: argparse.Namespace) -> int:
    from harness.fleet_table import fake  # noqa: PLC0415 - loaded when called

    return fake(
        arguments.url,
        arguments.count,
        traffic=arguments.traffic,
        every=arguments.every,
        connects_per_second=arguments.connects_per_second,
        seconds=arguments.seconds,
        key_file=arguments.key_file,
    )


def _add_boards(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "look after boards for tests: what is attached, whether all is well, who holds which"
    boards = commands.add_parser("boards", help=text, description=text)
    actions = boards.add_subparsers(dest="action", required=True, metavar="ACTION")
    bench = argparse.ArgumentParser(add_help=False)
    which = "the bench's file, or a virtual bench: virtual:3"
    bench.add_argument("--bench", required=True, metavar="bench.toml", help=which)
    text = "ask every serial port who is there, and print a [[board]] for each new one; resets the boards"
    scan = actions.add_parser("scan", help=text.partition(";")[0], description=text)
    scan.add_argument("--bench", metavar="bench.toml", help=f"{which}; its boards are known. Default: none is")
    scan.add_argument(
        "--port", action="append", default=[], metavar="URL", help="a port elsewhere, rfc2217://HOST:PORT; repeatable"
    )
    text = "look whether each board is as the bench file says; resets the boards that nobody holds"
    actions.add_parser("check", parents=[bench], help=text.partition(";")[0], description=text)
    text = "list the boards, who holds which, and what went wrong of late; touches none"
    actions.add_parser("list", parents=[bench], help=text.partition(";")[0], description=text)
    clear = actions.add_parser("clear", parents=[bench], help="take a quarantined board into use again")
    clear.add_argument("board", metavar="ID")
    clear.add_argument("--because", default="", metavar="TEXT", help="what was done to it, for its history")


def _boards(arguments: argparse.Namespace) -> int:
    from harness.bench.cli import boards  # noqa: PLC0415 - loaded when called

    return boards(arguments)


def _add_virtual_board(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "a virtual ESP32 on a port that esptool, idf.py and others can use; Ctrl-C ends it"
    board = commands.add_parser("virtual-board", help=text.partition(";")[0], description=text)
    board.add_argument("--chip", default="esp32s3", metavar="CHIP", help="esp32, esp32s3 (default) or esp32c3")
    board.add_argument("--port", type=_port, default=0, metavar="N", help="RFC 2217 on this port; default: a free one")
    size = "1MB to 32MB; default: 4MB"
    board.add_argument("--flash-size", type=_flash_size, default=4 << 20, metavar="SIZE", help=size)
    mac = "its MAC; default: one by chance, or one that stays with the flash file"
    board.add_argument("--mac", type=_mac, metavar="02:00:…", help=mac)
    kept = "keeps its flash: read at the start, written whenever a host has gone, and at the end"
    board.add_argument("--flash-file", type=Path, metavar="FILE", help=kept)
    board.add_argument("--pty", action="store_true", help="a device file, too, for tools that take no URL")
    heard = "an access point that its Wi-Fi hears, open if there is no password; repeatable; default: none"
    board.add_argument(
        "--access-point", type=_access_point, action="append", default=[], metavar="SSID:PASSWORD", help=heard
    )
    board.add_argument("--download", action="store_true", help="begin in download mode, as with BOOT held")


def _virtual_board(arguments: argparse.Namespace) -> int:
    from harness.virtual.cli import virtual_board  # noqa: PLC0415 - loaded when called

    return virtual_board(arguments)


def _add_flash(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write a build to a board, by esptool; what is on it already is not written again"
    flash = commands.add_parser("flash", help=text.partition(";")[0], description=text)
    build = "a build folder of ESP-IDF, PlatformIO or Arduino, a project that has one, or a merged image"
    flash.add_argument("build", type=Path, metavar="BUILD", help=build)
    flash.add_argument("--port", required=True, metavar="PORT", help=_PORT_HELP)
    flash.add_argument("--chip", metavar="CHIP", help="what the board has to be; default: what the build is for")
    flash.add_argument("--baud", type=int, default=921600, metavar="N", help="bits in a second; default: 921600")
    flash.add_argument("--all", action="store_true", help="write all of it, whether it is there or not")


def _flash(arguments: argparse.Namespace) -> int:
    return _of_boards("board", lambda cli: cli.flash(arguments))


def _add_monitor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "print what a board says, with times, and its crashes decoded; Ctrl-C ends it"
    monitor = commands.add_parser("monitor", help=text.partition(";")[0], description=text)
    monitor.add_argument("--port", required=True, metavar="PORT", help=_PORT_HELP)
    monitor.add_argument("--baud", type=int, default=115200, metavar="N", help="of the firmware; default: 115200")
    monitor.add_argument("--elf", type=Path, metavar="FILE", help="of the application: addresses become functions")
    monitor.add_argument("--reset", action="store_true", help="reset the board first, to see it boot")
    monitor.add_argument("--log", type=Path, metavar="FILE", help="append everything to a file, secrets masked")
    monitor.add_argument("--seconds", type=float, metavar="S", help="end after so long; default: go on until Ctrl-C")


def _monitor(arguments: argparse.Namespace) -> int:
    return _of_boards("board", lambda cli: cli.monitor(arguments))


def _of_boards(package: str, command: Callable[[Any], int]) -> int:
    """Run a command of a package whose ``cli`` needs what is in the extra `hil`."""
    from harness.errors import Misuse  # noqa: PLC0415 - loaded when called

    try:
        cli = import_module(f"harness.{package}.cli")
    except Misuse as missing:
        print(f"wsdevice: {missing}", file=sys.stderr)
        return ExitCode.CANNOT_START
    return command(cli)


def _add_validate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "whether a build is good: flash it, run the scenarios and measurements on a board, compare with a baseline; "
        "exit code 0: it is; 10: firmware, 11: gateway, 12: rig, 13: network at fault"
    )
    validate = commands.add_parser("validate", help=text.partition(":")[0], description=text)
    build = "build folders of ESP-IDF, PlatformIO or Arduino, projects that have one, or merged images"
    validate.add_argument("build", type=Path, nargs="+", metavar="BUILD", help=build)
    rig = validate.add_mutually_exclusive_group()
    rig.add_argument("--bench", metavar="FILE|virtual:N", help="the rig; default: bench of wsdevice.toml")
    rig.add_argument("--virtual", action="store_true", help="on virtual boards, one for each build")
    board = "this one; repeatable; 'all': each board that fits. Default: one that fits, the healthiest"
    validate.add_argument("--board", action="append", default=[], metavar="ID", help=board)
    validate.add_argument("--chip", metavar="CHIP", help="what the board has to be; default: what the build is for")
    validate.add_argument("--baseline", type=Path, metavar="FILE", help="what a good build measured")
    validate.add_argument("--update-baseline", action="store_true", help="write it anew, if this build is good")
    scenarios = "only these, as of pytest's -k; default: all"
    validate.add_argument("--scenarios", metavar="EXPR", help=scenarios)
    validate.add_argument("--repeats", type=_count, metavar="N", help="of each measurement; default: 3")
    groups = (
        "only these: sizes, boot, power, gateway, wifi, idle, letters, audio, pings, heap; repeatable; default: all"
    )
    validate.add_argument("--measure", action="append", default=[], metavar="GROUP", help=groups)
    soak = "stay connected for so long at the end, and look on: 90s, 20m, 2h"
    validate.add_argument("--soak", type=_span, default=0.0, metavar="TIME", help=soak)
    validate.add_argument("--no-ota", action="store_true", help="leave out the scenarios of updates")
    validate.add_argument("--report", type=Path, metavar="DIR", help="write report.html, record.json, JUnit and Allure")
    validate.add_argument("--json", action="store_true", help="print the record; progress goes to stderr")
    validate.add_argument(
        "--config", type=Path, metavar="FILE", help="settings; default: wsdevice.toml, if it is there"
    )
    validate.add_argument("--faulty", default="", metavar="NAME", help="plant a known defect, to see it found")


def _validate(arguments: argparse.Namespace) -> int:
    return _of_boards("validation", lambda cli: cli.validate(arguments))


def _add_explore(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "hunt for what breaks an invariant, with many seeds of simulated scenarios; Ctrl-C ends it with a summary"
    explore = commands.add_parser("explore", help=text.partition(",")[0], description=text)
    many = explore.add_mutually_exclusive_group()
    many.add_argument("--minutes", type=_above_0, default=5.0, metavar="N", help="with fresh seeds; default: 5")
    many.add_argument("--seeds", type=_count, metavar="N", help="the seeds 1 to N of each scenario, however long")
    many.add_argument("--replay", type=Path, metavar="FILE", help="run a failure again, and show it")
    many.add_argument("--list", action="store_true", help="list the scenarios")
    explore.add_argument(
        "--scenario", action="append", default=[], metavar="NAME", help="this one; repeatable; default: all"
    )
    explore.add_argument("--jobs", type=_count, metavar="N", help="processes; default: as many as there are cores")
    explore.add_argument(
        "--out", type=Path, default=Path("explored"), metavar="DIR", help="for replay files; default: explored"
    )
    explore.add_argument("--faulty", default="", metavar="NAME", help="plant a known defect, to see it found")


def _explore(arguments: argparse.Namespace) -> int:
    from harness.exploration import cli  # noqa: PLC0415 - loaded when called

    return cli.run(arguments)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _span(text: str) -> float:
    seconds = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        return _above_0(text[:-1] if seconds else "") * (seconds or 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 20m or 2h, got {text!r}") from None


def _above_0(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def _flash_size(text: str) -> int:
    sizes = {f"{mib}MB": mib << 20 for mib in (1, 2, 4, 8, 16, 32)}
    if text.upper() not in sizes:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(sizes)}, got {text!r}")
    return sizes[text.upper()]


def _mac(text: str) -> bytes:
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6:
        raise argparse.ArgumentTypeError(f"expected a MAC like 02:00:00:00:00:01, got {text!r}")
    return mac


def _access_point(text: str) -> AccessPoint:
    from harness.virtual.access_point import AccessPoint  # noqa: PLC0415 - loaded when called

    ssid, _, password = text.partition(":")
    if not 1 <= len(ssid.encode()) <= 32:
        raise argparse.ArgumentTypeError(f"expected SSID:PASSWORD with an SSID of 1 to 32 bytes, got {text!r}")
    return AccessPoint(ssid, password)
