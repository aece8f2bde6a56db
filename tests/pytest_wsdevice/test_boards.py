"""Runs that ask for boards: what tests get, what is refused, what a failure says, who holds what afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.bench.leases import Leases
from harness.bench.rig_control import RigControl
from harness.bench.virtual_bench import VirtualRig
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from tests.pytest_wsdevice.conftest import Run

# each run flashes a board with esptool, and boots it
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HIL = ("-m", "hil", "--ws-bench", "virtual:1")
"""A rig of one virtual board, which has nothing on its flash."""

ON_A_BOARD = """
import pytest

@pytest.mark.asyncio
async def test_async(ws_device, ws_gateway, ws_board, ws_console, ws_power, ws_firmware, ws_devices, ws_bench):
    assert ws_device.body == "virtual" and ws_device.device_id == ws_board.mac
    assert ws_gateway.link(ws_board.mac).present
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
    other = await ws_devices("other")
    assert other.body == "fake" and other.device_id[:8] == ws_board.mac[:8] != other.device_id
    assert ws_board.id == ws_bench.boards[0].id and ws_board.chip == "esp32s3"
    assert ws_firmware.descriptor.version == "1.0.0"
    await ws_console.expect("Got IP", since=0)
    await ws_power.off()
    assert ws_gateway.link(ws_board.mac).present, "a board without power tells nobody"
    await ws_power.on()

def test_plain(ws_device, ws_console):
    ws_device.send({"type": "ping"})
    ws_device.expect("pong")
    assert any("Got IP" in line for line in ws_console.tail(60))

@pytest.mark.asyncio
@pytest.mark.ws_fresh("reset")
async def test_fresh(ws_device, ws_board, ws_timeline):
    await ws_device.reset()
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
    assert "| " in ws_timeline.listing()

@pytest.mark.asyncio
@pytest.mark.ws_needs("audio", "frames", "close", "cut", "vanish", "provision", "power", "reset")
async def test_of_everything(ws_device):
    await ws_device.send_ping(b"there?")
    await ws_device.close(1000, "bye")

def test_without_devices():
    pass
"""


def test_devices_are_boards(run: Run):
    """Async and plain tests get the board as their first device, fake ones besides; its parts have their fixtures."""
    result = run(ON_A_BOARD, *HIL)

    result.assert_outcomes(passed=4, deselected=1)
    result.stdout.fnmatch_lines(["wsdevice: the first device of each test is a board of virtual:1"])


def test_the_example_of_the_documentation(run: Run):
    """It runs on a board, as it stands there."""
    example = (Path(__file__).parents[1] / "examples" / "test_on_a_board.py").read_text(encoding="utf-8")

    run(example, *HIL).assert_outcomes(passed=1)


def test_boards_are_not_touched_unasked(run: Run):
    """Without -m hil devices are fake, and tests that cannot do without a board are skipped, with what to say."""
    result = run(
        "def test_device(ws_device): assert ws_device.body == 'fake'\ndef test_board(ws_board): pass",
        "--ws-bench",
        "virtual:1",
        "-rs",
    )

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*boards, which are touched with -m hil only: pytest -m hil --ws-bench bench.toml*"])


def test_a_run_without_a_rig_says_what_is_missing(run: Run):
    """No rig is an error, never a silent skip, and names the way to try it out."""
    result = run("def test_device(ws_device): pass", "-m", "hil")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no rig: --ws-bench bench.toml names one*--ws-bench virtual:3*"])


@pytest.mark.parametrize(
    ("bench", "said"),
    [
        ("virtual:0", "*--ws-bench: expected virtual:N with N from 1 to 16*"),
        ("virtual:esp8266", "*--ws-bench: expected one of esp32, esp32s3, esp32c3, got 'esp8266'*"),
        ("bench.toml", "*--ws-bench:*bench.toml*No such file*"),
    ],
)
def test_a_rig_that_cannot_be(run: Run, bench: str, said: str):
    """The bench file, or what a virtual one is to be, is looked at before any test."""
    result = run("def test_device(ws_device): pass", "-m", "hil", "--ws-bench", bench)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_more_workers_than_boards(run: Run):
    """A worker without a board would wait to the end of the run."""
    result = run("def test_device(ws_device): pass", *HIL, "-n", "2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected at most one worker for each board, got -n 2 with 1 boards*"])


CRASH = """
import pytest, time

@pytest.mark.asyncio
async def test_waits(ws_device, ws_board):
    await ws_board.console.write_line("wsdevice 999 panic {}")
    await ws_device.expect("no such", 20)

def test_does_not_notice(ws_board):
    seen, until = len(ws_board.crashes), time.monotonic() + 10
    ws_board.console.write_line("wsdevice 999 panic {}")
    while len(ws_board.crashes) == seen and time.monotonic() < until:
        time.sleep(0.01)
    ws_board.await_crash()

@pytest.mark.asyncio
async def test_is_about_it(ws_board):
    async with ws_board.may_crash():
        await ws_board.console.write_line("wsdevice 999 panic {}")
        await ws_board.console.expect("abort() was called")
        await ws_board.console.expect("Rebooting...")
    assert ws_board.held.crashes

@pytest.mark.asyncio
async def test_after(ws_device):
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
"""


def test_a_crash_fails_the_running_test_at_once_and_no_other(run: Run):
    """With the dump, and within seconds of a wait for twenty; a test that is about crashes passes, as does the next."""
    began = time.monotonic()
    result = run(CRASH, *HIL)

    result.assert_outcomes(passed=2, failed=2)
    assert time.monotonic() - began < 20
    text = result.stdout.str()
    assert len(re.findall(r"BoardCrashed: s3-virtual-1 crashed", text)) >= 2
    assert "abort() at 0x42000148" in text
    assert "console of s3-virtual-1 (virtual)" in text


def bench_file(path: Path, rig: VirtualRig, caps: str = '"boot_log", "wifi", "test_console"') -> Path:
    """Write a bench file of a rig that runs, as of boards behind a serial server."""
    bench = rig.bench
    lines = [
        "schema = 1",
        f'[bench]\nname = "lab"\nlock_dir = "{path / "locks"}"\nstate_dir = "{path / "state"}"',
        f'[network]\nssid = "{bench.network.ssid}"\npsk_env = "WSD_TEST_PSK"',
    ]
    for board in bench.boards:
        url = board.console.url
        lines.append(f'[[board]]\nid = "{board.id}"\nchip = "{board.chip}"\nmac = "{board.mac}"\nvirtual = true')
        lines.append(f'console = {{ url = "{url}" }}\ncaps = [{caps}]')
    file = path / "bench.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def rig() -> Iterator[VirtualRig]:
    """A rig of two boards that outlives runs."""
    with VirtualRig("virtual:2") as started:
        yield started


@pytest.fixture
def bench(rig: VirtualRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bench file of that rig."""
    monkeypatch.setenv("WSD_TEST_PSK", rig.bench.network.psk())
    return bench_file(tmp_path, rig)


def build_for(rig: VirtualRig, path: Path, **how: str) -> str:
    """Make builds for the boards of a rig, as --ws-build takes them."""
    folders = []
    for chip in dict.fromkeys(board.chip for board in rig.bench.boards):
        make_build(path / f"{chip}-build", CHIPS[chip], **how)
        folders.append(str(path / f"{chip}-build"))
    return ",".join(folders)


FLASHES = """
def test_flashed(ws_board, ws_firmware):
    flashed = ws_board.board.flashed
    print("flashed:", flashed)
    assert ws_firmware.descriptor.version == "1.4.0"
    ws_board.console.expect("App version:      1.4.0", since=0)
"""


def test_a_second_run_flashes_nothing(rig: VirtualRig, bench: Path, run: Run, tmp_path: Path):
    """What is on the board already is not written again, in another run neither."""
    build = build_for(rig, tmp_path, version="1.4.0")
    arguments = ("-m", "hil", f"--ws-bench={bench}", f"--ws-build={build}", "-s")

    first, second = run(FLASHES, *arguments), run(FLASHES, *arguments)

    first.assert_outcomes(passed=1)
    second.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["*flashed: wrote *; settings written *"])
    second.stdout.fnmatch_lines(["*flashed: nothing to write, its 4 parts are there; settings are there *"])


FRESH = """
import pytest

@pytest.mark.ws_build("next-build")
def test_build(ws_board, ws_firmware):
    assert ws_firmware.descriptor.version == "2.0.0"
    ws_board.console.expect("App version:      2.0.0")

def test_default(ws_board, ws_firmware):
    assert ws_firmware.descriptor.version == "1.0.0"
    ws_board.console.expect("App version:      1.0.0")

def test_as_it_is(ws_console):
    assert not [line for line in ws_console.lines(ws_console.position)]

@pytest.mark.ws_fresh("reset")
def test_reset(ws_console):
    ws_console.expect("rst:0x1 (POWERON)")

@pytest.mark.ws_fresh("power")
def test_power(ws_console):
    ws_console.expect("rst:0x1 (POWERON)")
    ws_console.expect("Got IP")

@pytest.mark.ws_fresh("nvs")
@pytest.mark.ws_destructive
def test_nvs(ws_board):
    done = [line.text for line in ws_board.console.lines() if "provisioned: reached" in line.text]
    assert "settings written" in done[-1]

@pytest.mark.ws_fresh("flash")
def test_flash(ws_board):
    assert len(ws_board.board.flashed.written) == 4

async def test_everything_at_once(ws_device):
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
"""


def test_what_a_test_asks_for_of_its_board(run: Run, tmp_path: Path, pytester: pytest.Pytester):
    """A build of its own, put back afterwards; a reset, a power cycle, new settings, all of the flash."""
    make_build(pytester.path / "next-build", CHIPS["esp32s3"], version="2.0.0")

    result = run(FRESH, *HIL, mode="auto")

    result.assert_outcomes(passed=8)


FURTHER = """
import pytest

@pytest.mark.asyncio
async def test_two(ws_device, ws_boards, ws_devices, ws_board):
    second = await ws_boards("esp32c3")
    other = await ws_devices("other")
    assert other.body == "virtual" and other.device_id == second.mac != ws_device.device_id
    await ws_device.send({"type": "peer", "to": [second.mac], "payload": {"text": "from board to board"}})
    await other.expect("peer", payload={"text": "from board to board"})

def test_no_such(ws_boards):
    ws_boards("esp32")
"""


STOCK = """
import pytest

@pytest.mark.asyncio
async def test_heard(ws_device, ws_gateway, ws_board, ws_devices):
    assert ws_device.session_id and ws_gateway.link(ws_board.mac).present
    other = await ws_devices("other")
    await other.send({"type": "peer", "to": [ws_board.mac], "payload": {"text": "Tea is ready"}})
    await ws_device.expect("peer", payload={"text": "Tea is ready"})
    await ws_device.reset()
    assert ws_gateway.link(ws_board.mac).present

@pytest.mark.ws_needs("send")
def test_told(ws_device):
    pass
"""


def test_firmware_that_takes_no_orders(rig: VirtualRig, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is woken by a click of BOOT, and heard; tests that tell a device what to send are skipped, with the reason."""
    monkeypatch.setenv("WSD_TEST_PSK", rig.bench.network.psk())
    bench = bench_file(tmp_path, rig, caps='"boot_log", "wifi", "boot_button"')
    build = build_for(rig, tmp_path, program="#!builtin firmware automatic=false")

    result = run(STOCK, "-m", "hil", f"--ws-bench={bench}", f"--ws-build={build}", "-rs")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*needs send, which s3-virtual-1 cannot be asked for*"])


def test_further_boards(rig: VirtualRig, bench: Path, run: Run):
    """They are the next devices, and are given back; one that there is not is named with what there is."""
    result = run(FURTHER, "-m", "hil", f"--ws-bench={bench}")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*no board of the bench can be an ESP32*", "*s3-virtual-1: is an ESP32-S3*"])
    assert [Leases(bench.parent / "locks").holder_of(board.id) for board in rig.bench.boards] == [None, None]


def test_a_build_that_does_not_fit_is_refused(rig: VirtualRig, bench: Path, run: Run, tmp_path: Path):
    """A build for a chip that no board has ends the run's tests with the reason; so does one that is none."""
    make_build(tmp_path / "other", CHIPS["esp32"])

    wrong = run("def test(ws_board): pass", "-m", "hil", f"--ws-bench={bench}", f"--ws-build={tmp_path / 'other'}")
    none = run("def test(ws_board): pass", "-m", "hil", f"--ws-bench={bench}", f"--ws-build={tmp_path / 'none'}")

    wrong.assert_outcomes(errors=1)
    wrong.stdout.fnmatch_lines(["*no board of the bench lab is an ESP32, which *other is for*"])
    none.assert_outcomes(errors=1)
    none.stdout.fnmatch_lines(["*none*"])


LOOPS = "import sys\nsys.exit(1)\n"


GIVES_BACK = """
import pytest
from harness.bench.leases import Leases

def test_it(ws_board, ws_boards, ws_bench):
    with pytest.raises(pytest.fail.Exception, match="verdict: firmware"):
        ws_boards("esp32c3")
    assert Leases(ws_bench.lock_dir).holder_of(ws_bench.boards[1].id) is None
"""


def test_a_further_board_that_does_not_come_up(rig: VirtualRig, bench: Path, run: Run, tmp_path: Path):
    """It is given back at once, for others to have."""
    make_build(tmp_path / "good", CHIPS["esp32s3"])
    make_build(tmp_path / "loops", CHIPS["esp32c3"], program=LOOPS)
    builds = f"{tmp_path / 'good'},{tmp_path / 'loops'}"

    run(GIVES_BACK, "-m", "hil", f"--ws-bench={bench}", f"--ws-build={builds}").assert_outcomes(passed=1)


def test_firmware_that_does_not_come_up_is_told_once_and_to_all(rig: VirtualRig, bench: Path, run: Run, tmp_path: Path):
    """A board that boot-loops is the firmware's fault: no other board is tried, and later tests are told the same."""
    build = build_for(rig, tmp_path, program=LOOPS)
    began = time.monotonic()
    result = run(
        "def test_one(ws_board): pass\ndef test_two(ws_device): pass\ndef test_three(ws_console): pass",
        "-m",
        "hil",
        f"--ws-bench={bench}",
        f"--ws-build={build}",
    )

    result.assert_outcomes(errors=3)
    text = result.stdout.str()
    assert text.count("could not be online (firmware): it starts again and again") >= 3
    assert "this happened once; it is not tried again for each test" in text
    assert "faults of the rig" not in text
    assert time.monotonic() - began < 25


def test_a_port_that_is_not_there_is_the_rigs_fault_and_another_board_takes_its_place(
    rig: VirtualRig, bench: Path, run: Run
):
    """The run goes on with the other board, and says so."""
    control = RigControl(rig.bench.boards[0])
    control.vanish()
    try:
        result = run("def test(ws_board): assert ws_board.id.endswith('2')", "-m", "hil", f"--ws-bench={bench}", "-rA")
    finally:
        control.come_back()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*wsdevice: faults of the rig*", "*takes the place of s3-virtual-1*"])


WORKERS = """
import os, signal, pytest

@pytest.mark.parametrize("number", range(6))
@pytest.mark.asyncio
async def test_on(ws_device, number, record_property):
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")

def test_kill(ws_board):
    if os.environ.get("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_each_worker_has_a_board_and_one_that_is_killed_leaves_none_locked(
    rig: VirtualRig, bench: Path, tmp_path: Path
):
    """-n auto is as many workers as boards; after a SIGKILL the kernel has freed the lock, and others get the board."""
    (tmp_path / "test_it.py").write_text(WORKERS)
    (tmp_path / "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
    without = [
        word
        for name in ("randomly", "cacheprovider", "allure_pytest", "pytest_embedded", "anyio")
        for word in ("-p", f"no:{name}")
    ]
    command = [sys.executable, "-m", "pytest", *without, "-m", "hil", f"--ws-bench={bench}", "-n", "auto"]
    junit = tmp_path / "junit.xml"

    whole = subprocess.run(
        [*command, f"--junit-xml={junit}"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    killed = subprocess.run(
        [*command, "-k", "kill", "--max-worker-restart=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "KILL": "1"},
    )

    assert whole.returncode == 0, whole.stdout
    assert "2 workers" in whole.stdout
    boards = set(re.findall(r'name="ws_board" value="([^"]+)"', junit.read_text()))
    assert boards == {board.id for board in rig.bench.boards}
    assert killed.returncode == 1
    assert "crashed while running" in killed.stdout
    leases = Leases(tmp_path / "locks")
    assert [leases.holder_of(board.id) for board in rig.bench.boards] == [None, None]
