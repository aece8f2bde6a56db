"""Sockets that hear nothing: the kernel drops whatever comes for them before its TCP sees it.

Nothing of it is acknowledged, and nobody is told, so the other end retransmits, and gives up in its time, as when a
cable is out. A connection that hears again goes on with the next retransmission.

By a socket filter (``SO_ATTACH_FILTER``, socket(7)), which Linux lets any process attach to its own sockets. On a
listening socket it drops SYNs.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
from typing import Protocol

_log = logging.getLogger(__name__)

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER: asm-generic/socket.h
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # one instruction of classic BPF: BPF_RET | BPF_K, keep 0 bytes


class Options(Protocol):
    """A socket, as far as its options go."""

    def setsockopt(self, level: int, option: int, value: bytes | int, /) -> None:
        """Set one."""


def stop_hearing(sock: Options) -> bool:
    """Have whatever comes for a socket dropped; whether the kernel can do that."""
    program = ctypes.create_string_buffer(_DROP, len(_DROP))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", 1, ctypes.addressof(program)))
    except OSError as error:
        _log.warning("the kernel has no socket filters, so what is to be lost will be acknowledged: %s", error)
        return False
    return True


def hear_again(sock: Options) -> None:
    """End `stop_hearing`; nothing, if it was not in force."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
    except OSError as error:  # ENOENT: there is no filter
        _log.debug("there was no filter on a socket: %s", error)
