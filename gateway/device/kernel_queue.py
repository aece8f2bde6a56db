"""How much of what was written the peer's TCP has not taken yet: the one look below the transport."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable

if sys.platform == "linux":
    import fcntl
    import termios

UNSENT_BYTES = "unsent_bytes"
"""Extra info of a transport without a kernel below it: a callable that answers in the kernel's place."""


def unsent_bytes(transport: asyncio.Transport) -> int | None:
    """Count the bytes given to a transport that the peer's TCP has not acknowledged.

    They are in the transport's own buffer, in the kernel's send queue, or on their way. 0 means that the peer's
    machine has them all, not that anybody there has read them. A connection that was reset keeps what it could not
    deliver, so that a loss never looks like a delivery.

    A transport that offers `UNSENT_BYTES` as extra info, as a simulated one does, is asked instead.

    Returns:
        None where it cannot be known: not Linux, or the socket is closed.
    """
    ask: Callable[[], int] | None = transport.get_extra_info(UNSENT_BYTES)
    if ask is not None:
        return ask()
    queued = _kernel_queue(transport)
    return None if queued is None else transport.get_write_buffer_size() + queued


def _kernel_queue(transport: asyncio.Transport) -> int | None:
    # TIOCOUTQ is SIOCOUTQ of tcp(7): the unacknowledged bytes of the send queue, sent or not
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock is None:
        return None
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # the descriptor is closed: -1 is a ValueError
        return None
    return int(struct.unpack("i", answer)[0])
