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
    gateway_cli.add_commands(commands)
    parsed = parser.parse_args(arguments)
    return _demo(parsed) if parsed.command == "demo" else gateway_cli.run(parsed)


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


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)
