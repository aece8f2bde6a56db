"""Whole lives of a chip: from the ROM's first word to what the program's end brings."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Misuse
from harness.firmware import nvs
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.otadata import OTADATA_BYTES, OtaData, OtaEntry, OtaState
from harness.virtual.access_point import AccessPoint
from harness.virtual.boot import Booting
from harness.virtual.boot_loader import VIRTUAL_LINE
from harness.virtual.machine import ResetCause
from harness.virtual.programs import Command
from harness.virtual.run import Run
from tests.harness.virtual.flashed import NVS, OTADATA, SLOT_1, flashed, image
from tests.harness.virtual.memory import Memory, TestMachine

ASK = """
import json, os, socket
end = socket.socket(fileno=int(os.environ["WSDEVICE_CHANNEL"])).makefile("rwb", 0)
def ask(**request):
    end.write(json.dumps({"id": 1, **request}).encode() + b"\\n")
    return json.loads(end.readline())
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot start is reset at once."""
    monkeypatch.setattr("harness.virtual.run.LOOP_SECONDS", 0.0)


class Life:
    """One life on a machine of the test's own."""

    def __init__(self, booting: Booting, machine: TestMachine, cause: ResetCause) -> None:
        self.machine = machine
        self.running = booting(machine, cause)
        self.until = machine.wait_for
        self.restarted = machine.wait_for_restart

    @property
    def said(self) -> str:
        """All that it has said."""
        return self.machine.said


Start = Callable[..., Life]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts lives, each on a flash with a program; they are stopped at the end."""
    lives: list[Life] = []
    made: list[Booting] = []

    def begin(
        code: str = "",
        *,
        chip: ChipName = "esp32s3",
        flash: Memory | None = None,
        cause: ResetCause = "power_on",
        booting: Booting | None = None,
        **settings: Any,
    ) -> Life:
        memory = flash if flash is not None else flashed(chip, apps={"ota_0": image(chip, program=code)})
        if booting is None:
            booting = Booting(settings.pop("access_point", ()), **{"silence_seconds": 0.0, **settings})
            made.append(booting)
        lives.append(Life(booting, TestMachine(chip, memory), cause))
        return lives[-1]

    yield begin
    for life in lives:
        life.running.stop()
    for booting in made:
        booting.close()


class TestBooting:
    """From reset to the program."""

    @pytest.mark.parametrize("chip", CHIPS)
    def test_order(self, start: Start, chip: ChipName):
        """ROM, the line that says what this is, boot loader, application, program, its end."""
        said = start("print('here I am')", chip=chip).until("Returned from app_main()")
        order = [
            "SPI_FAST_FLASH_BOOT",
            "entry 0x",
            f"virtual: {VIRTUAL_LINE}",
            "boot: Partition Table:",
            "boot: Loaded app from partition at offset 0x20000",
            "app_init: Project name:     gateway_device",
            "app_init: App version:      1.0.0",
            "main_task: Calling app_main()",
            "here I am",
            "main_task: Returned from app_main()",
        ]

        assert [said.index(text) for text in order] == sorted(said.index(text) for text in order)
        assert "\n" not in said.replace("\r\n", "")

    def test_silence(self, start: Start):
        """Nothing is said for the time that hosts need."""
        began = time.monotonic()
        life = start("", silence_seconds=0.2)
        life.until("ESP-ROM")

        assert time.monotonic() - began >= 0.2

    def test_stopped_in_the_silence(self, start: Start):
        """A chip that is reset before it has said anything says nothing."""
        life = start("", silence_seconds=0.2)
        life.running.stop()

        assert life.said == ""

    def test_quiet_boot_loader(self, start: Start):
        """A boot loader that prints nothing leaves the ROM, the fixed line and the application."""
        said = start("print('x')", boot_loader_log=False).until("app_main()")

        assert VIRTUAL_LINE in said
        assert "boot:" not in said.replace("boot:0x", "")

    @pytest.mark.parametrize(
        ("flash", "cause", "said"),
        [
            (Memory(), "boot_watchdog", "invalid header: 0xffffffff"),
            (flashed(apps={}), "boot_loader", "E (0) boot: No bootable app partitions in the partition table"),
            (flashed(apps={"ota_0": image("esp32c3")}), "boot_loader", "mismatch chip ID, expected 9, found 5"),
        ],
    )
    def test_cannot_start(self, start: Start, flash: Memory, cause: ResetCause, said: str):
        """What cannot be started says why, and is reset, again and again."""
        life = start(flash=flash)

        assert life.restarted() == cause
        assert said in re.sub(r"\(\d+\)", "(0)", life.said)

    def test_remarks(self, start: Start):
        """What is passed over on the way is said in the log."""
        memory = flashed(files={"main.py": b""}, apps={"ota_0": image(program="print('else')")})
        for block in range(2):
            memory.put(0x3C0000 + block * 4096 + 16, b"\xaa" * 64)

        assert "W (" in start(flash=memory).until("else").split("partition storage is passed over")[0].splitlines()[-1]

    def test_unknown_program(self, start: Start):
        """A build that names a program that there is not panics, and says which there is."""
        life = start("#!builtin other")

        assert life.restarted() == "panic"
        assert "expected the built-in program firmware, the image names 'other'" in life.said

    def test_rollback(self, start: Start):
        """An update that was not confirmed is given up at its second start."""
        memory = flashed(apps={"ota_0": image(program="print('old')"), "ota_1": image(program="print('new')")})
        entries = (OtaEntry(1, OtaState.VALID), OtaEntry(2, OtaState.NEW))
        memory.put(OTADATA.offset, OtaData(entries).to_bytes())

        start(flash=memory).until("new")
        start(flash=memory).until("old")

    def test_given_program(self, start: Start):
        """A program can be given in place of the flashed one; the flash is booted all the same."""
        said = start("print('flashed')", program=Command(("/bin/echo", "given"))).until("Returned")

        assert "given" in said
        assert "flashed" not in said


class TestEnds:
    """What the end of a program brings."""

    def test_restart(self, start: Start):
        """Status 70 stands for esp_restart."""
        life = start("import sys\nsys.exit(70)")

        assert life.restarted() == "software"
        assert "Rebooting" not in life.said

    def test_failure(self, start: Start):
        """Any other status is a panic; what the program said of it stands before."""
        life = start("raise ValueError('what went wrong')")

        assert life.restarted() == "panic"
        assert life.said.index("ValueError: what went wrong") < life.said.index("abort() was called at PC 0x4200")
        assert life.said.endswith("Rebooting...\r\n")

    def test_stop(self, start: Start):
        """A reset ends it without a last word; its process is gone when that returns."""
        life = start("import os, time\nprint('process', os.getpid(), '!')\ntime.sleep(60)")
        process = int(re.findall(r"process (\d+) !", life.until(" !"))[0])
        before = life.said
        life.running.stop()

        assert not Path(f"/proc/{process}").exists()
        assert life.said == before
        assert life.machine.restarts == []

    def test_stop_twice(self, start: Start):
        """Stopping what has been stopped does nothing."""
        life = start("print('x')")
        life.until("Returned")
        life.running.stop()
        life.running.stop()


class TestContract:
    """What a program is given."""

    def test_environment(self, start: Start, monkeypatch: pytest.MonkeyPatch):
        """Who it is, why it was reset, what it was built as; and nothing of this process's own."""
        monkeypatch.setenv("SECRET_TOKEN", "x")
        life = start(
            "import json, os\nprint(json.dumps(dict(os.environ)) + '!')", access_point=AccessPoint("lab", "secret12")
        )
        said = life.until("!")
        told = json.loads(said[said.index("{") : said.index("!")])

        assert told["WSDEVICE_MAC"] == "02:53:45:00:00:a1"
        assert (told["WSDEVICE_CHIP"], told["WSDEVICE_FLASH_SIZE"]) == ("esp32s3", str(4 << 20))
        assert (told["WSDEVICE_RESET_REASON"], told["WSDEVICE_PARTITION"]) == ("power_on", "ota_0")
        assert json.loads(told["WSDEVICE_APP"])["version"] == "1.0.0"
        assert json.loads(told["WSDEVICE_NETWORK"])[0]["ssid"] == "lab"
        assert "SECRET_TOKEN" not in told
        assert "secret12" not in said

    @pytest.mark.parametrize(
        ("cause", "told"), [("panic", "panic"), ("boot_loader", "software"), ("boot_watchdog", "rtc_watchdog")]
    )
    def test_reset_reason(self, start: Start, cause: ResetCause, told: str):
        """The cause of the reset, in ESP-IDF's terms."""
        start("import os\nprint('because', os.environ['WSDEVICE_RESET_REASON'])", cause=cause).until(f"because {told}")

    def test_nvs(self, start: Start):
        """What is in NVS stands in a file for this user only."""
        memory = flashed(
            apps={
                "ota_0": image(
                    program="import os\np = os.environ['WSDEVICE_NVS']\n"
                    "print(oct(os.stat(p).st_mode), open(p).read() + '!')"
                )
            },
            nvs={"wifi": {"ssid": "lab", "raw": b"\0\1"}},
        )

        assert '0o100600 {"wifi":{"ssid":"lab","raw":{"base64":"AAE="}}}!' in start(flash=memory).until("!")

    def test_nvs_without_room(self, start: Start):
        """NVS that firmware cannot open is erased, as firmware does it."""
        memory = flashed(
            apps={"ota_0": image(program="import os\nprint(open(os.environ['WSDEVICE_NVS']).read() + '!')")}
        )
        memory.put(NVS.offset, b"\0" * NVS.size)
        said = start(flash=memory).until("!")

        assert "main: Erasing NVS flash to fix corruption" in said
        assert "{}!" in said
        assert memory.read(NVS.offset, NVS.size).strip(b"\xff") == b""

    def test_input(self, start: Start):
        """What comes in on the UART is read, with the line ends of a program."""
        life = start("print('ready')\nwhile True:\n    print(repr(input()))")
        life.until("ready")
        life.running.uart_received(b"one\r\ntwo\rthree\n")

        assert "'one'\r\n'two'\r\n'three'" in life.until("three")

    def test_input_before_the_program(self, start: Start):
        """Before the program runs nobody reads it."""
        life = start(flash=Memory())
        life.running.uart_received(b"lost\n")
        life.running.boot_button(True)
        life.restarted()

    def test_state_folder(self, start: Start):
        """A folder is kept over resets from inside, and lost with power."""
        program = (
            "import os\np = os.environ['WSDEVICE_BOARD_STATE'] + '/count'\n"
            "n = int(open(p).read()) if os.path.exists(p) else 0\nopen(p, 'w').write(str(n + 1))\nprint('count', n)"
        )
        memory = flashed(apps={"ota_0": image(program=program)})
        booting = Booting(silence_seconds=0.0)
        causes: tuple[ResetCause, ...] = ("power_on", "software", "panic", "brown_out")
        for cause, count in zip(causes, (0, 1, 2, 0), strict=True):
            start(flash=memory, booting=booting, cause=cause).until(f"count {count}\r\n")

    def test_nvs_is_written(self, start: Start):
        """What it writes into NVS is on the flash."""
        life = start(ASK + "print(ask(do='nvs_set', namespace='n', key='k', type='str', value='v'))")
        life.until("Returned")

        assert nvs.read(life.machine.flash.read(NVS.offset, NVS.size)) == {"n": {"k": "v"}}

    def test_update(self, start: Start):
        """It can write another application, which is started after the next reset."""
        content = image(program="print('the new one')")
        program = ASK + (
            "import base64, sys\n"
            f"ask(do='ota_begin')\nask(do='ota_write', data={__import__('base64').b64encode(content).decode()!r})\n"
            "print(ask(do='ota_end'))\nsys.exit(70)\n"
        )
        life = start(program)
        assert life.restarted() == "software"
        start(flash=life.machine.flash, cause="software").until("the new one")

        assert life.machine.flash.read(SLOT_1.offset, len(content)) == content
        assert OtaData.parse(life.machine.flash.read(OTADATA.offset, OTADATA_BYTES)).state is OtaState.PENDING_VERIFY

    def test_events(self, start: Start):
        """The BOOT button and the access points are told as they change."""
        point = AccessPoint("lab")
        life = start(ASK + "print('ready')\nwhile True:\n    print(end.readline())", access_point=point)
        life.until("ready")
        life.running.boot_button(True)
        point.switch_off()

        assert '{"event":"boot_button","pressed":true}' in life.until("wifi")
        assert '{"event":"wifi","ssid":"lab","reachable":false}' in life.until("false}")

    def test_micropython_or_python(self, start: Start):
        """It finds the modules of a chip, whatever runs it."""
        program = "import machine\nprint('id', machine.unique_id())\nmachine.reset()"
        life = start(program)

        assert life.restarted() == "software"
        assert "id b'\\x02SE\\x00\\x00\\xa1'" in life.said


class TestMisdeeds:
    """What a board is told to do wrong."""

    IDLE = "import time\nprint('ready')\ntime.sleep(60)"

    @pytest.mark.parametrize(
        ("what", "cause", "said"),
        [
            ("panic", "panic", "abort() was called"),
            ("brown_out", "brown_out", "Brownout detector was triggered"),
            ("task_watchdog", "task_watchdog", "Task watchdog got triggered"),
            ("restart", "software", ""),
        ],
    )
    def test_resets(self, start: Start, what: Any, cause: ResetCause, said: str):
        """It says its words, and the chip is reset; the program says nothing more."""
        booting = Booting(silence_seconds=0.0)
        life = start(booting=booting, flash=flashed(apps={"ota_0": image(program=self.IDLE)}))
        life.until("ready")
        booting.misbehave(what)

        assert life.restarted() == cause
        assert said in life.said

    def test_only_once(self, start: Start):
        """A life ends once."""
        booting = Booting(silence_seconds=0.0)
        life = start(booting=booting, flash=flashed(apps={"ota_0": image(program=self.IDLE)}))
        life.until("ready")
        booting.misbehave("panic")
        booting.misbehave("brown_out")
        life.running.stop()

        assert life.machine.restarts == ["panic"]

    def test_hang(self, start: Start):
        """It falls silent, and is not reset."""
        booting = Booting(silence_seconds=0.0)
        program = "import time\nwhile True:\n    print('tick', time.monotonic())\n    time.sleep(0.001)"
        life = start(booting=booting, flash=flashed(apps={"ota_0": image(program=program)}))
        life.until("tick")
        booting.misbehave("hang")
        time.sleep(0.05)
        before = life.said
        time.sleep(0.1)

        assert life.said == before
        assert life.machine.restarts == []

    def test_asked_by_the_program(self, start: Start):
        """A program can panic in the words of a chip; what it said just before is heard."""
        life = start(ASK + "print('last words')\nask(do='misbehave', what='panic', how={'kind': 'LoadProhibited'})")

        assert life.restarted() == "panic"
        assert life.said.index("last words") < life.said.index("panic'ed (LoadProhibited)")

    def test_lose_wifi(self, start: Start):
        """It hears no access point for a while, and is told."""
        program = ASK + (
            "print('ready')\nend.readline()\nprint(ask(do='wifi_scan')['ok'], ask(do='wifi_join', ssid='lab')['ok'])\n"
            "end.readline()\nprint(ask(do='wifi_join', ssid='lab')['ok'], '!')"
        )
        booting = Booting(AccessPoint("lab"), silence_seconds=0.0)
        life = start(booting=booting, flash=flashed(apps={"ota_0": image(program=program)}))
        life.until("ready")
        booting.misbehave("lose_wifi", seconds=30)
        life.until("[] {'reason': 201}")
        booting.misbehave("lose_wifi", seconds=0)

        assert "{'address': '127.0.0.1'} !" in life.until("!")

    def test_nothing_runs(self, start: Start):
        """A board that does not run cannot misbehave."""
        booting = Booting(silence_seconds=5.0)
        with pytest.raises(Misuse, match="expected a board that was switched on"):
            booting.misbehave("panic")
        start(booting=booting)
        with pytest.raises(Misuse, match="still booting"):
            booting.misbehave("panic")


def test_close():
    """The files of a board are removed with it."""
    booting = Booting()
    folder = booting._settings.folder
    assert oct(folder.stat().st_mode)[-3:] == "700"
    booting.close()
    booting.close()

    assert not folder.exists()


def test_cannot_run_anything(start: Start, monkeypatch: pytest.MonkeyPatch):
    """Where this machine cannot run a program, the log says so."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("harness.virtual.child.subprocess.Popen", fail)
    start("").until("the device program cannot be run: [Errno 11]")


def test_stop_before_the_program_is_there(start: Start, monkeypatch: pytest.MonkeyPatch):
    """A reset while the program is being started leaves nothing behind."""
    life = start("import time\ntime.sleep(60)")
    assert isinstance(life.running, Run)
    life.until("Calling app_main()")
    life.running.stop()

    assert not life.running._thread.is_alive()
