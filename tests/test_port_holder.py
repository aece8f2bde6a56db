"""Who holds a port: the tables as Linux prints them, a made-up /proc, and a real process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import port_holder as module
from gateway.port_holder import ListeningSocket, command_of, parse_address, parse_table, port_holder

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = HEAD + (
    "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 505 1 c335e8\n"
    "   1: 00000000:1F43 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 506 1 c335e9\n"
    "   2: 0100007F:1F40 0100007F:AE81 01 00000000:00000000 00:00000000 00000000     0        0 507 3 738dc2a4\n"
)
TCP6 = HEAD + (
    "   0: 00000000000000000000000001000000:1F40 00000000000000000000000000000000:0000 0A 00000000:00000000 "
    "00:00000000 00000000  1000        0 600 1 00000000a9a8a7a6 100 0 0 10 0\n"
    "   1: 00000000000000000000000000000000:2328 00000000000000000000000000000000:0000 0A 00000000:00000000 "
    "00:00000000 00000000  1000        0 601 1 00000000a9a8a7a7 100 0 0 10 0\n"
)

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the sample tables are of a little-endian machine")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with two tables and one process, 4711, that holds inodes 505 and 601."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    (tmp_path / "net" / "tcp6").write_text(TCP6)
    descriptors = tmp_path / "4711" / "fd"
    descriptors.mkdir(parents=True)
    for number, target in enumerate(["/dev/null", "pipe:[505]", "socket:[505]", "socket:[601]"]):
        (descriptors / str(number)).symlink_to(target)
    (tmp_path / "4711" / "cmdline").write_bytes(b"/usr/bin/python3\0-m\0gateway\0--key\0secret\0")
    (tmp_path / "self").symlink_to("4711")
    (tmp_path / "uptime").write_text("1 1\n")
    return tmp_path


@little_endian
def test_table_of_listening_sockets():
    """Only listening sockets are read, with their address in the right byte order."""
    assert list(parse_table(TCP)) == [
        ListeningSocket(IPv4Address("127.0.0.1"), 8000, 0, 505),
        ListeningSocket(IPv4Address("0.0.0.0"), 8003, 33, 506),
    ]
    assert list(parse_table(TCP6)) == [
        ListeningSocket(IPv6Address("::1"), 8000, 1000, 600),
        ListeningSocket(IPv6Address("::"), 9000, 1000, 601),
    ]


@little_endian
def test_address_of_four_words():
    """An IPv6 address is four words, each turned around on its own."""
    assert parse_address("B80D0120000000000000000001000000") == IPv6Address("2001:db8::1")


@pytest.mark.parametrize("text", ["", "0100007", "0100007G", "01 00 00 7F:", "0100007F0100007F", "-1"])
def test_no_address(text: str):
    """Anything but 4 or 16 bytes in hexadecimal is refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - each parser below has its own words
        parse_address(text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0: 0100007F:1F40 00000000:0000 0A",
        "0: 0100007F 00000000:0000 0A 0:0 0:0 0 0 0 505",
        "0: ZZ00007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 505",
        "0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 root 0 505",
        "0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 inode",
    ],
)
def test_line_that_is_none(line: str):
    """A line that is not as Linux prints it is passed over, and the next one is read."""
    assert [held.port for held in parse_table(f"{line}\n{TCP}")] == [8000, 8003]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.text() | st.sampled_from(["0A", "0100007F:1F40", ":", "0", "505"]), min_size=8, max_size=12).map(
            " ".join
        )
    )
)
def test_table_of_anything(lines: list[str]):
    """No text makes the parser raise, and the true lines around it are read."""
    text = "\n".join([TCP, *lines, TCP])

    assert [held.inode for held in parse_table(text)].count(505) >= 2


@little_endian
def test_holder(proc: Path):
    """The holder is named by its number and the first words of its command, without the arguments behind them."""
    assert port_holder("127.0.0.1", 8000, proc) == "pid 4711 (python3 -m gateway)"


@little_endian
def test_holder_of_the_unspecified_address(proc: Path):
    """One address of a port excludes the unspecified one, and the other way round, over both families."""
    assert port_holder("0.0.0.0", 8000, proc) == "pid 4711 (python3 -m gateway)"
    assert port_holder("::1", 9000, proc) == "pid 4711 (python3 -m gateway)"
    assert port_holder("127.0.0.1", 9000, proc) == "pid 4711 (python3 -m gateway)"


@little_endian
def test_holder_that_cannot_be_looked_into(proc: Path):
    """Where the process is hidden, its user is named."""
    assert port_holder("127.0.0.1", 8003, proc) == "a process of uid 33"
    assert port_holder("::1", 8000, proc) == "a process of uid 1000"


@little_endian
def test_other_address_is_nobody(proc: Path):
    """Who listens on another address of the same port is not blamed."""
    assert port_holder("127.0.0.2", 8000, proc) is None
    assert port_holder("127.0.0.1", 8001, proc) is None


@little_endian
def test_holder_of_the_same_family_first(tmp_path: Path):
    """Where both families have a holder for everywhere, the one of the wanted family is named."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    (tmp_path / "net" / "tcp6").write_text(TCP6.replace(":2328", ":1F43"))

    assert port_holder("127.0.0.1", 8003, tmp_path) == "a process of uid 33"
    assert port_holder("::1", 8003, tmp_path) == "a process of uid 1000"


@little_endian
def test_scoped_address(proc: Path):
    """The zone of an IPv6 address is not in the table and not compared."""
    assert port_holder("::1%lo", 8000, proc) == "a process of uid 1000"


@little_endian
def test_search_has_an_end(proc: Path, monkeypatch: pytest.MonkeyPatch):
    """When the time is up, the search stops and names the user."""
    monkeypatch.setattr(module, "SEARCH_SECONDS", -1.0)

    assert port_holder("127.0.0.1", 8000, proc) == "a process of uid 0"


@pytest.mark.parametrize("host", ["", "gateway.example", "127.0.0.1"])
def test_nothing_to_look_into(tmp_path: Path, host: str):
    """No /proc, or a name instead of an address: nobody is named and nothing raised."""
    assert port_holder(host, 8000, tmp_path / "missing") is None


def test_command_is_printable_and_short(tmp_path: Path):
    """A hostile command line is capped, and its control characters are shown as escapes."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cmdline").write_bytes(b"evil\x1b[2J\xff\0" + b"x" * 10_000)

    shown = command_of(1, tmp_path)

    assert shown.startswith("evil\\x1b[2J")
    assert len(shown) <= 65
    assert shown.isprintable()


@pytest.mark.parametrize("line", [b"", b"\0\0"])
def test_command_of_a_kernel_thread(tmp_path: Path, line: bytes):
    """A process without a command line has a question mark for it, as has one that is gone."""
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "cmdline").write_bytes(line)

    assert command_of(2, tmp_path) == "?"
    assert command_of(3, tmp_path) == "?"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc/net/tcp")
class TestThisMachine:
    """The real /proc."""

    def test_own_socket(self):
        """Two settings with one port: the holder is this very process."""
        with socket.create_server(("127.0.0.1", 0)) as held:
            assert port_holder("127.0.0.1", held.getsockname()[1]) == f"pid {os.getpid()} (this very process)"

    def test_free_port(self):
        """A port that nobody holds has no holder."""
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]

        assert port_holder("127.0.0.1", port) is None

    def test_other_process(self):
        """A child process that listens is found by its pid and command, in far less than a second."""
        code = (
            "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
            "print(s.getsockname()[1], flush=True); sys.stdin.read()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            port = int(child.stdout.readline())
            began = time.monotonic()
            holder = port_holder("127.0.0.1", port)
            took = time.monotonic() - began
            child.stdin.close()

        assert holder is not None
        assert holder.startswith(f"pid {child.pid} (python")
        assert took < 0.5
