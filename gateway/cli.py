"""The gateway's commands: serve, check-config, token, mailbox.

What a command needs is imported when it is called: a mistyped one is answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.exit_codes import ExitCode

if TYPE_CHECKING:
    from gateway.config_file import LoadedConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (`ExitCode`)."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The WebSocket gateway for ESP32 devices.")
    parser.add_argument("--version", action="version", version=f"wsdevice {__version__}")
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return run(parser.parse_args(arguments), gateway_command)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the gateway's commands to a command line."""
    config = argparse.ArgumentParser(add_help=False)
    _add_config(config)
    commands.add_parser("serve", parents=[config], help="run the gateway until SIGTERM or Ctrl-C")
    check = commands.add_parser("check-config", help="check the configuration and list every fault")
    either = check.add_mutually_exclusive_group()
    _add_config(either)
    either.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the same as --config FILE")
    token = commands.add_parser("token", parents=[config], help="mint a token for a device")
    token.add_argument("device", metavar="DEVICE", help="its id, as in its Device-Id header (usually the MAC)")
    token.add_argument("--client-id", default="", help="its Client-Id header; default: none")
    mailbox = commands.add_parser("mailbox", help="look at, or empty, what is kept for devices")
    actions = mailbox.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[config], help="how much is kept for whom")
    listing.add_argument("--device", help="only this device")
    show = actions.add_parser("show", parents=[config], help="what is kept for one device")
    show.add_argument("device", metavar="DEVICE")
    show.add_argument("--bodies", action="store_true", help="show the messages themselves, too")
    purge = actions.add_parser("purge", parents=[config], help="delete all that is kept for one device")
    purge.add_argument("device", metavar="DEVICE")


def _add_config(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=None,
        help="TOML file; default: $WSDEVICE_CONFIG, else only the environment and the defaults",
    )


def run(arguments: argparse.Namespace, command: Callable[[argparse.Namespace], int]) -> int:
    """Run the command that was parsed; return its exit code.

    Ctrl-C before anything has begun is an end without a traceback, and so is a reader of the output that has gone.
    """
    try:
        code = command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # the interpreter flushes them once more when it ends
            os.dup2(nowhere, stream.fileno())
        return ExitCode.FAILED
    return code


def gateway_command(arguments: argparse.Namespace) -> int:
    """Do what one of the gateway's commands is to do; return its exit code."""
    from gateway.config_file import load  # noqa: PLC0415 - loaded when called, as below
    from gateway.errors import BadDeviceId, ConfigurationError  # noqa: PLC0415

    path = getattr(arguments, "file", None) or arguments.config
    if path is None and os.environ.get("WSDEVICE_CONFIG"):
        path = Path(os.environ["WSDEVICE_CONFIG"])
    try:
        loaded = load(path, os.environ)
    except ConfigurationError as error:
        count = len(error.faults)
        print(f"{error}\n{count} fault{'s' if count > 1 else ''}; nothing was started", file=sys.stderr)
        return ExitCode.CANNOT_START
    try:
        if arguments.command == "serve":
            return _serve(loaded)
        if arguments.command == "check-config":
            return _check(loaded, path)
        if arguments.command == "token":
            return _token(loaded, arguments.device, arguments.client_id)
        return _mailbox(loaded, arguments)
    except BadDeviceId as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START


def _serve(loaded: LoadedConfig) -> int:
    from gateway.serve import serve  # noqa: PLC0415

    return serve(loaded)


def _check(loaded: LoadedConfig, path: Path | None) -> int:
    for warning in loaded.warnings:
        print(f"warning: {warning}")
    for key, origin in sorted(loaded.origins.items()):
        print(f"{key} from {origin}")
    print(f"{path or 'defaults and environment'}: ok")
    return ExitCode.OK


def _token(loaded: LoadedConfig, device: str, client_id: str) -> int:
    from gateway.errors import Misuse  # noqa: PLC0415
    from gateway.identity import device_id  # noqa: PLC0415
    from gateway.observe.clock import wall_clock  # noqa: PLC0415
    from gateway.protocol.tokens import mint  # noqa: PLC0415

    key = loaded.config.auth.key
    if not key:
        print("wsdevice: expected auth.key or auth.key_file to sign with (or WSDEVICE_AUTH_KEY)", file=sys.stderr)
        return ExitCode.CANNOT_START
    try:
        print(mint(key, client_id.strip(), device_id(device), wall_clock()))
    except Misuse as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    return ExitCode.OK


def _mailbox(loaded: LoadedConfig, arguments: argparse.Namespace) -> int:
    from gateway.identity import device_id  # noqa: PLC0415
    from gateway.observe.clock import wall_clock  # noqa: PLC0415
    from gateway.peer import mailbox_cli  # noqa: PLC0415

    path, out, err = loaded.config.mailbox_path, sys.stdout, sys.stderr
    device = device_id(arguments.device) if arguments.device else None
    if arguments.action == "list":
        failed = mailbox_cli.list_devices(path, device, now=wall_clock(), out=out, err=err)
    else:
        assert device is not None, "the parser asks for it"
        if arguments.action == "show":
            failed = mailbox_cli.show(path, device, bodies=arguments.bodies, now=wall_clock(), out=out, err=err)
        else:
            failed = mailbox_cli.purge(path, device, out=out, err=err)
    return ExitCode.MAILBOX if failed else ExitCode.OK
