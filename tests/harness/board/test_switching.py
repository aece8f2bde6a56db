"""Supplies that are switched by programs; the programs are small scripts, uhubctl's words are recorded."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from harness.bench.bench_file import PowerConfig
from harness.board.power import PowerFailed
from harness.board.switching import CommandFailed, ShellCommand, Uhubctl, port_states, run

# uhubctl 2.5.0 (Debian 12), USB 2 hub: uhubctl -l 1-1.4 -p 2 -a off
OFF_2_5 = """\
Current status for hub 1-1.4 [2109:2822 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 2: 0103 power enable connect [10c4:ea60 Silicon Labs CP2102N USB to UART Bridge Controller 0001]
Sent power off request
New status for hub 1-1.4 [2109:2822 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 2: 0000 off
"""
# the same of a USB 3 hub, which is two
OFF_BOTH = """\
Current status for hub 2-1.3 [2109:0822 VIA Labs, Inc. USB3.1 Hub, USB 3.20, 4 ports, ppps]
  Port 1: 02a0 power 5gbps Rx.Detect
Sent power off request
New status for hub 2-1.3 [2109:0822 VIA Labs, Inc. USB3.1 Hub, USB 3.20, 4 ports, ppps]
  Port 1: 00a0 off
Current status for hub 1-1.3 [2109:2822 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 1: 0507 power highspeed suspend enable connect [303a:1001 Espressif USB JTAG/serial debug unit]
Sent power off request
New status for hub 1-1.3 [2109:2822 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]
  Port 1: 0000 off
"""
# uhubctl 2.4.0, with -f on a hub that switches all ports at once: it says nothing of requests that change nothing
STATUS_2_4 = """\
Current status for hub 3-4 [1a40:0101 USB 2.0 Hub, USB 2.00, 4 ports, ganged]
  Port 1: 0103 power enable connect [0a5c:2763 Broadcom BCM2708 Boot]
  Port 2: 0100 power
  Port 3: 0000 off
  Port 4: 0001 connect [1209:0001 a power meter]
"""
NO_HUB = "No compatible devices detected at location 1-1!\nRun with -h to get usage info.\n"


@pytest.mark.parametrize(
    ("text", "port", "states"),
    [
        (OFF_2_5, 2, {"1-1.4": False}),
        (OFF_BOTH, 1, {"2-1.3": False, "1-1.3": False}),
        (STATUS_2_4, 1, {"3-4": True}),
        (STATUS_2_4, 2, {"3-4": True}),
        (STATUS_2_4, 3, {"3-4": False}),
        (STATUS_2_4, 4, {"3-4": False}),
        (STATUS_2_4, 5, {}),
        (NO_HUB, 1, {}),
        ("", 1, {}),
    ],
)
def test_port_states(text, port, states):
    """The last word of each hub counts; what a device calls itself is none."""
    assert port_states(text, port) == states


# --- programs -------------------------------------------------------------------------------------------------


def script(path: Path, text: str) -> str:
    """Write a shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_run():
    """What a program says is returned, errors included."""
    assert run(["sh", "-c", "echo out; echo err >&2"], 10) == "out\nerr\n"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nowhere/relay", "off"], "'/nowhere/relay off' cannot be run: No such file or directory"),
        (["sh", "-c", "echo no such relay; exit 3"], "'sh -c echo no such relay; exit 3' ended with 3: no such relay"),
    ],
)
def test_run_failed(command, why):
    """The reason is what the system, or the program, says."""
    with pytest.raises(CommandFailed) as failed:
        run(command, 10)

    assert str(failed.value) == why


def test_run_too_long(tmp_path):
    """A program that takes too long is killed with its children, even those that keep its output open."""
    child = tmp_path / "child"

    with pytest.raises(CommandFailed, match=r"took more than 0\.3 s, and was killed"):
        run(["sh", "-c", f"sleep 600 & echo $! > {shlex.quote(str(child))}; wait"], 0.3)

    _wait_until_gone(int(child.read_text()))


def test_run_leaves_nothing(tmp_path):
    """A program that ends and leaves a child behind does not keep its caller, nor the child."""
    child = tmp_path / "child"

    run(["sh", "-c", f"sleep 600 & echo $! > {shlex.quote(str(child))}"], 10)

    _wait_until_gone(int(child.read_text()))


def _wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + 5
    while _runs(process):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody may be there to reap it


# --- a relay --------------------------------------------------------------------------------------------------


@pytest.fixture
def relay(tmp_path):
    """Make a supply whose commands keep its state in a file."""

    def make(status="cat state", off="echo off > state"):
        return ShellCommand(
            "b",
            PowerConfig(
                kind="shell",
                off=("sh", "-c", f"cd {tmp_path}; {off}"),
                on=("sh", "-c", f"cd {tmp_path}; echo on > state"),
                status=("sh", "-c", f"cd {tmp_path}; {status}") if status else (),
                off_seconds=0,
                seconds=10,
            ),
        )

    return make


def test_shell(relay, tmp_path):
    """The commands are run, and the state is asked for."""
    supply = relay()

    supply.off()
    assert supply.is_on() is False
    supply.cycle()

    assert supply.is_on() is True
    assert (tmp_path / "state").read_text() == "on\n"


def test_shell_without_status(relay):
    """Without a status command nothing is known."""
    supply = relay(status="")

    supply.cycle()

    assert supply.is_on() is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"off": "exit 1"}, "cannot switch it off: 'sh -c cd .*; exit 1' ended with 1"),
        ({"status": "echo perhaps"}, "expected 'on' or 'off' of sh, got 'perhaps'"),
        ({"status": "exit 2"}, "asking for its state failed: 'sh .*' ended with 2"),
        ({"off": "echo on > state"}, "what switches it reports that it is still on"),
    ],
)
def test_shell_failed(relay, given, why):
    """What does not work says so."""
    with pytest.raises(PowerFailed, match=why):
        relay(**given).off()


# --- a hub ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    """Make a supply by a program that notes how it is called, and says what uhubctl says."""
    fake = script(
        tmp_path / "uhubctl",
        f"""cd {tmp_path}
echo "$@" >> calls
case "$*" in *"-a on"*) cp on said;; *"-a off"*) cp off said;; esac
cat said""",
    )
    (tmp_path / "on").write_text(OFF_2_5.replace("0000 off", "0100 power"))
    (tmp_path / "off").write_text(OFF_2_5)
    (tmp_path / "said").write_text("")
    config = PowerConfig(kind="uhubctl", hub="1-1.4", port=2, program=fake, options=("-N",), off_seconds=0)
    return Uhubctl("b", config)


def test_hub(hub, tmp_path):
    """The port, and only it, is switched; its state is asked for after each."""
    hub.cycle()

    assert (tmp_path / "calls").read_text().splitlines() == [
        "-l 1-1.4 -p 2 -N -a off",
        "-l 1-1.4 -p 2 -N",
        "-l 1-1.4 -p 2 -N",
        "-l 1-1.4 -p 2 -N -a on",
        "-l 1-1.4 -p 2 -N",
    ]


def test_hub_half_off(hub, tmp_path):
    """A USB 3 hub of which one half still has power still has it."""
    half = OFF_BOTH.replace("00a0 off", "02a0 power 5gbps Rx.Detect").replace("Port 1", "Port 2")
    (tmp_path / "off").write_text(half)

    with pytest.raises(PowerFailed, match="reports that it is still on"):
        hub.off()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (f"printf {shlex.quote(NO_HUB)}; exit 1", r"no hub that can be switched is there; is `hub` right\?"),
        ("echo 'Permission problem'; exit 1", "this user may not open USB devices"),
        ("echo nothing", "uhubctl says nothing of port 2 of hub 1-1.4: nothing"),
    ],
)
def test_hub_failed(hub, tmp_path, program, why):
    """What uhubctl says is told, with what to do."""
    script(tmp_path / "uhubctl", program)

    with pytest.raises(PowerFailed, match=why):
        hub.off()


def test_no_uhubctl(hub):
    """A program that is not there is named."""
    missing = Uhubctl("b", PowerConfig(kind="uhubctl", hub="1-1", port=1, program="uhubctl-that-is-not-there"))

    with pytest.raises(PowerFailed, match="'uhubctl-that-is-not-there -l 1-1 -p 1 -a off' cannot be run: No such file"):
        missing.off()
