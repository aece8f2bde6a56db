"""The ``wsdevice`` command: the gateway's own commands, and those that are for tests and benches.

What a command needs is imported when it is called: ``wsdevice serve`` loads no test tools, and ``wsdevice --help``
loads nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gateway import __version__
from gateway import cli as gateway_cli

_DESCRIPTION = "A WebSocket gateway for ESP32 devices, and the means to prove that it works."
_EPILOG = "'wsdevice COMMAND --help' tells what a command takes. To see what it is about: 'wsdevice demo'."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="wsdevice", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"wsdevice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_fake(commands)
    gateway_cli.add_commands(commands)
    parsed = parser.parse_args(arguments)
    own = {"demo": _demo, "fake": _fake}
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


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)
