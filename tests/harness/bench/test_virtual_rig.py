"""Virtual boards in a process of their own: served, ordered about, and gone with whoever started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.bench import check, virtual_bench
from harness.bench.bench_file import from_json, to_json
from harness.bench.errors import NoSuchBoard, RigFailed
from harness.bench.health import Health
from harness.bench.identifying import call_for
from harness.bench.leases import Leases
from harness.bench.rig_control import RigControl
from harness.bench.selection import choose
from harness.bench.virtual_bench import VirtualRig
from harness.board import esptool
from harness.board.errors import FlashFailed
from harness.board.supplies import supply_of
from harness.cli import main
from harness.errors import Misuse
from tests.harness.bench.benches import a_board

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rig():
    """Return a rig of two boards, which the tests of this module share."""
    with VirtualRig("virtual:2") as started:
        yield started


@pytest.fixture
def board(rig):
    """Return its first board, with power and plugged in."""
    yield rig.bench.boards[0]
    control = rig.control(rig.bench.boards[0].id)
    control.come_back()
    control.power("on")
    control.wifi(on=True)


def test_bench(rig):
    """What a bench file would say of it, in full; another process reads the same."""
    bench = rig.bench

    assert [(board.id, board.chip, board.mac) for board in bench.boards] == [
        ("s3-virtual-1", "esp32s3", "02:57:53:00:00:01"),
        ("c3-virtual-2", "esp32c3", "02:57:53:00:00:02"),
    ]
    assert bench.virtual
    assert bench.source == "virtual:2"
    assert (bench.network.ssid, len(bench.network.psk({}))) == ("wsdevice-virtual", 16)
    assert from_json(to_json(bench)) == bench


def test_check(rig):
    """Each board is what it is said to be: esptool, the console and the supply agree."""
    checked = check.check(rig.bench)

    assert [one.findings for one in checked if one.wrong] == []
    assert {finding.mark for one in checked for finding in one.findings.values()} == {"ok"}


def test_command(capsys):
    """``wsdevice boards`` takes a virtual bench as any other, and ends it."""
    assert main(["boards", "list", "--bench", "virtual:1"]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["s3-virtual-1", "esp32s3", "(virtual)", "02:57:53:00:00:01", "free", "0"]


def test_chosen(rig):
    """A virtual board is chosen as any other."""
    bench = rig.bench
    with choose(bench, Leases(bench.lock_dir), Health(bench.state_dir), "esp32c3", ["wifi", "power"]) as lease:
        assert lease.board is bench.boards[1]


def test_power(rig, board):
    """Its supply is switched, from this process; the other board keeps its own."""
    supply, control = supply_of(board), rig.control(board.id)

    supply.off()
    assert not control.powered()
    assert rig.control(rig.bench.boards[1].id).powered()
    supply.on()

    assert control.powered()


def test_cut_power(rig, board, tmp_path):
    """The supply goes off in the middle of a write; with power again, the board can be written to."""
    control, data = rig.control(board.id), tmp_path / "data.bin"
    data.write_bytes(os.urandom(1 << 15))
    command = ["write-flash", "0x10000", str(data)]

    control.cut_power_after(20_000)
    with pytest.raises(FlashFailed):
        esptool.run(call_for(board), command, doing="write", seconds=60)
    assert not control.powered()
    control.power("on")

    said = esptool.run(call_for(board), command, doing="write", seconds=60)
    assert said.verified == 1


def touch(board):
    """Connect to a board's port, and go."""
    host, port = board.console.url.removeprefix("rfc2217://").split(":")
    socket.create_connection((host, int(port)), 5).close()


def test_cable(rig, board):
    """Its cable is pulled, and put in again at the same place; it has power all the while."""
    control = rig.control(board.id)

    control.vanish()
    with pytest.raises(OSError, match="refused"):
        touch(board)
    assert control.powered()
    control.come_back()

    touch(board)


def test_wifi(rig, board):
    """The access point is switched off and on, for all boards."""
    control, other = rig.control(board.id), rig.control(rig.bench.boards[1].id)

    control.wifi(on=False)
    assert not other.order("state")["wifi"]
    control.wifi(on=True)

    assert other.order("state")["wifi"]


def test_buttons(rig, board):
    """Its buttons can be pressed."""
    control = rig.control(board.id)

    control.press_reset()
    control.press_boot(0.01)

    assert control.powered()


def test_misbehave(monkeypatch):
    """What a misdeed takes goes along with it, whatever it is called."""
    told = []
    monkeypatch.setattr(RigControl, "order", lambda control, verb, **arguments: told.append((verb, arguments)))

    RigControl(a_board(control="127.0.0.1:1")).misbehave("panic", kind="abort", what="else")

    assert told == [("misbehave", {"what": "panic", "how": {"kind": "abort", "what": "else"}})]


@pytest.mark.parametrize(
    ("verb", "arguments", "why"),
    [
        ("fly", {}, "expected one of state, power, cut, .*, got 'fly'"),
        ("power", {"state": "half"}, "expected on or off, got 'half'"),
        ("power", {}, "missing 1 required positional argument: 'state'"),
        ("cut", {"bytes": 1}, "unexpected keyword argument 'bytes'"),
        ("misbehave", {"what": "sing", "how": {}}, "expected one of panic, .*, got 'sing'"),
        ("rot", {"address": 1 << 30}, ""),
    ],
)
def test_refused(rig, verb, arguments, why):
    """What a board cannot be told is refused, with the reason; the rig goes on."""
    control = rig.control(rig.bench.boards[1].id)

    with pytest.raises(Misuse, match=rf"c3-virtual-2 refused the order '{verb}': .*{why}"):
        control.order(verb, **arguments)

    assert control.powered()


def test_other_boards(rig):
    """A board that the rig has not is named, here and there."""
    with pytest.raises(NoSuchBoard):
        rig.control("b1")
    with pytest.raises(Misuse, match="expected one of s3-virtual-1, c3-virtual-2, got 'b1'"):
        RigControl(a_board(control=rig.bench.boards[0].control)).powered()
    with pytest.raises(Misuse, match="b1 takes no orders: it is not a board of a virtual bench"):
        RigControl(a_board())


def test_garbage(rig):
    """What is no order is answered all the same."""
    host, port = rig.bench.boards[0].control.split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = connection.makefile().readline()

    assert answer.startswith('{"ok":false,"error":"expected an order: ')


def test_flash_is_kept(tmp_path):
    """With a directory, what is on the flash outlives the rig, which is gone when `close` returns; so are its files."""
    given = "virtual:esp32c3"
    with VirtualRig(given, flash_dir=tmp_path / "flash") as first:
        board = first.bench.boards[0]
        first.control(board.id).order("rot", address=16, mask=0x81)
        directory = Path(first.bench.lock_dir).parent
        assert first.runs
    assert not first.runs
    assert not directory.exists()
    first.close()

    with VirtualRig(given, flash_dir=tmp_path / "flash"):
        pass

    assert (tmp_path / "flash" / f"{board.id}.flash").read_bytes()[15:18] == b"\xff\x7e\xff"
    with pytest.raises(RigFailed, match="does the process of its rig still run"):
        RigControl(board).powered()


STARTER = """
import sys
from harness.bench.virtual_bench import VirtualRig
rig = VirtualRig("virtual:1")
rig.start()
print(rig._process.pid, rig.bench.lock_dir, flush=True)
sys.stdin.read()
"""


def test_dies_with_its_parent():
    """A rig whose starter is killed ends by itself, and takes its files along."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        pid, lock_dir = starter.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        starter.send_signal(signal.SIGKILL)
        starter.wait(10)
        deadline = time.monotonic() + 15
        while _runs(pid):
            assert time.monotonic() < deadline, "it still runs"
            time.sleep(0.02)
    finally:
        starter.kill()
        starter.wait(10)
        starter.stdin.close()
        starter.stdout.close()

    assert not Path(lock_dir).parent.exists()


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_cannot_start(monkeypatch):
    """What its process said last is told."""
    monkeypatch.setattr(virtual_bench.VirtualRig, "_command", lambda rig, ready: [sys.executable, "-c", "1 / 0"])

    with pytest.raises(RigFailed, match=r"ended with 1: Traceback(.|\n)*ZeroDivisionError"):
        VirtualRig("virtual:1").start()


def test_too_slow(monkeypatch):
    """A process that is not up in time is ended."""
    rig = VirtualRig("virtual:1", deadline=0.1)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    monkeypatch.setattr(virtual_bench.VirtualRig, "_command", lambda rig, ready: command)

    with pytest.raises(RigFailed, match=r"were not up within 0\.1 s: it said nothing"):
        rig.start()
    assert not rig.runs


def test_started_twice(rig):
    """A rig is started once."""
    with pytest.raises(Misuse, match="a rig that was not started yet"):
        rig.start()
