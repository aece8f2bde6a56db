"""The ways out of a simulation, and what to do instead of taking one."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from typing import Any, NamedTuple

_CONNECT = "connect with loop.create_connection, to a host of loop.network"
_LISTEN = "listen with loop.create_server or host.listening()"
_NAMES = "await loop.getaddrinfo, which knows the hosts of loop.network; a Gateway is given network=host.listening()"
_NO_FILES = "nothing of the real world comes to this loop"
_NO_PROCESSES = "a simulation has no child processes; put what they do behind an interface"

LOOP_METHODS: dict[str, str] = {
    "add_reader": _NO_FILES,
    "add_writer": _NO_FILES,
    "add_signal_handler": "nobody sends a signal; call what the signal would",
    "connect_accepted_socket": _LISTEN,
    "connect_read_pipe": _NO_FILES,
    "connect_write_pipe": _NO_FILES,
    "create_datagram_endpoint": "the simulated network has TCP alone",
    "create_unix_connection": _CONNECT,
    "create_unix_server": _LISTEN,
    "sendfile": "write the file's bytes to the transport",
    "sock_accept": _LISTEN,
    "sock_connect": _CONNECT,
    "sock_recv": _CONNECT,
    "sock_recv_into": _CONNECT,
    "sock_recvfrom": _CONNECT,
    "sock_sendall": _CONNECT,
    "sock_sendfile": _CONNECT,
    "sock_sendto": _CONNECT,
    "start_tls": "TLS is for tests over loopback: its bytes would differ from run to run",
    "subprocess_exec": _NO_PROCESSES,
    "subprocess_shell": _NO_PROCESSES,
}
"""Methods of an event loop that are refused."""


class WayOut(NamedTuple):
    """A function of the standard library that is refused while a simulation runs."""

    owner: Any
    name: str
    reached: str
    advice: str


WAYS_OUT = (
    WayOut(threading.Thread, "start", "a thread", "give blocking work to loop.run_in_executor"),
    WayOut(
        socket.socket,
        "__init__",
        "a socket",
        f"{_CONNECT}; {_LISTEN}; a Gateway is given network=host.listening()",
    ),
    WayOut(socket, "getaddrinfo", "a name's address", _NAMES),
    WayOut(socket, "gethostbyname", "a name's address", _NAMES),
    WayOut(subprocess.Popen, "__init__", "a child process", _NO_PROCESSES),
    WayOut(os, "fork", "a fork", _NO_PROCESSES),
    WayOut(os, "system", "a command of the shell", _NO_PROCESSES),
)
