"""``python -m harness.virtual.firmware option=value ...``: what a virtual board starts where no program was flashed."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from harness.errors import Misuse
from harness.virtual.firmware.application import Application
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.options import parse_options
from harness.virtual.firmware.surroundings import Surroundings

_LINE_BYTES = 1 << 20  # of the UART's input: an order with the largest frame a gateway takes has a tenth of it


async def main() -> int:
    """Live as a device; return the exit status."""
    surroundings = Surroundings.read(os.environ)
    log = Log(surroundings.reset_at)
    try:
        options = parse_options(sys.argv[1:])
    except Misuse as error:
        log("E", "wsdevice", str(error))
        return 1
    board = await BoardChannel.open(socket.socket(fileno=surroundings.channel))
    typed = asyncio.StreamReader(limit=_LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(typed)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return await Application(surroundings, options, board, typed, log).run()


if __name__ == "__main__":
    # at once: what is still connected ends as it does when a chip is reset, and nothing is waited for
    os._exit(asyncio.run(main()))
