"""Who holds a TCP port of this machine, so that a refused start can say whom to stop.

Linux tells in two steps: ``/proc/net/tcp`` and ``tcp6`` give the inode of each socket, and ``/proc/<pid>/fd`` tells
which process has it open. The descriptors of another user's processes are hidden from all but root; then only that
user's number is known. All of this is for one sentence of an error: it is bounded in time and never raises.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from gateway.identity import printable

PROC = Path("/proc")

SEARCH_SECONDS = 0.15
"""A refused start says so within a second; the name of the holder is worth a small part of it."""
TABLE_CHARACTERS = 1 << 20
"""Of a socket table, some 7,000 lines: the kernel prints listening sockets first, and a connection has 150 characters
that nobody needs here."""
COMMAND_BYTES = 4096
COMMAND_WORDS = 3
"""Of a command line: enough for ``python3 -m gateway``; what follows may be somebody's secret."""

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as the table prints it


class ListeningSocket(NamedTuple):
    """One listening socket of the machine: where it listens, whose it is, and its inode."""

    address: IPv4Address | IPv6Address
    port: int
    uid: int
    inode: int


def port_holder(host: str, port: int, proc: Path = PROC) -> str | None:
    """Say who keeps ``host:port`` from being bound: ``pid 123 (python3 -m gateway)``, printable and short.

    Returns:
        ``a process of uid 33`` where that user's processes cannot be looked into, or the search took too long.
        None where nobody can be named: not Linux, not an address, or nobody listens there any more.
    """
    deadline = time.monotonic() + SEARCH_SECONDS
    try:
        holders = _in_the_way(ip_address(host.partition("%")[0]), port, proc)
        if not holders:
            return None
        pid = _process_with(holders[0].inode, proc, deadline)
        if pid is None:
            return f"a process of uid {holders[0].uid}"
        return f"pid {pid} ({'this very process' if pid == os.getpid() else command_of(pid, proc)})"
    except (OSError, ValueError):
        return None


def parse_table(text: str) -> Iterator[ListeningSocket]:
    """Read the listening sockets out of the text of ``/proc/net/tcp`` or ``tcp6``; other lines are passed over."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 10 or words[3] != _LISTEN:
            continue
        address, _, port = words[1].partition(":")
        try:
            yield ListeningSocket(parse_address(address), int(port, 16), int(words[7]), int(words[9]))
        except ValueError:
            continue


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Read an address of the table: 32-bit words in hexadecimal, each in the byte order of the machine.

    Raises:
        ValueError: it is none.
    """
    packed = bytes.fromhex(text)
    if sys.byteorder == "little":
        packed = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def command_of(pid: int, proc: Path = PROC) -> str:
    """Return the first words of a process's command line, printable and short; ``?`` where it cannot be read."""
    try:
        with (proc / str(pid) / "cmdline").open("rb") as file:
            line = file.read(COMMAND_BYTES).decode("utf-8", "replace")
    except OSError:
        return "?"
    program, *words = line.rstrip("\0").split("\0")
    return printable(" ".join([program.rpartition("/")[2], *words[: COMMAND_WORDS - 1]])) or "?"


def _in_the_way(wanted: IPv4Address | IPv6Address, port: int, proc: Path) -> list[ListeningSocket]:
    """Listening sockets that exclude the wanted address, the likeliest first.

    An unspecified address excludes all others of its port; ``::`` may or may not exclude those of IPv4 (it depends on
    a flag the table does not show), so it comes last.
    """
    found = [
        held
        for table in ("net/tcp", "net/tcp6")
        for held in parse_table(_read_table(proc / table))
        if held.port == port and (held.address == wanted or held.address.is_unspecified or wanted.is_unspecified)
    ]
    return sorted(found, key=lambda held: (held.address.version != wanted.version, held.address != wanted))


def _read_table(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(TABLE_CHARACTERS)
    except OSError:  # there is no tcp6 where IPv6 is switched off
        return ""


def _process_with(inode: int, proc: Path, deadline: float) -> int | None:
    """Find the process that has a socket open; None when it is not among those this user may look into."""
    link = f"socket:[{inode}]"
    for name in os.listdir(proc):  # noqa: PTH208 - only the names are wanted
        if time.monotonic() > deadline:
            return None
        if name.isdecimal() and _has_open(proc / name / "fd", link, deadline):
            return int(name)
    return None


def _has_open(descriptors: Path, link: str, deadline: float) -> bool:
    try:
        for name in os.listdir(descriptors):  # noqa: PTH208 - a Path for each of thousands of descriptors takes longer
            if time.monotonic() > deadline:
                return False
            if _target(f"{descriptors}/{name}") == link:
                return True
    except OSError:  # another user's process, or one that has just ended
        return False
    return False


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - as above
    except OSError:  # closed since the listing
        return ""
