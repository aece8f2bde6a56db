"""Device programs as processes: output, input, channel, and their end; each program is up in a few milliseconds."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.virtual.child import BYTES_PER_SECOND, TYPED_BYTES, Child
from tests.harness.virtual.memory import SOON

ASK = (
    "import os, json, socket\n"
    "end = socket.socket(fileno=int(os.environ['WSDEVICE_CHANNEL']))\n"
    'end.sendall(b\'{"id":1,"do":"it"}\\n\')\n'
    "print(end.recv(1000).decode())\n"
)


class Running:
    """A program that runs in a thread, and what it has said."""

    def __init__(self, folder: Path, code: str) -> None:
        self.said = bytearray()
        self.asked: list[Any] = []
        self.status: int | None = None
        self._news = threading.Condition()
        self.child = Child(
            [sys.executable, "-I", "-S", "-u", "-c", code], dict(os.environ), folder, said=self._say, asked=self._answer
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _say(self, data: bytes) -> None:
        with self._news:
            self.said += data
            self._news.notify_all()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        self.asked.append(request)
        return {"ok": "done"}

    def _run(self) -> None:
        with self.child:
            self.status = self.child.run()

    def wait_for(self, text: bytes) -> None:
        """Wait until it has said something."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.said, SOON), bytes(self.said)

    def ended(self) -> int | None:
        """Wait for its end; its exit status."""
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self.status


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Starts programs; what is left of them is killed."""
    running: list[Running] = []

    def begin(code: str) -> Running:
        running.append(Running(tmp_path, code))
        return running[-1]

    yield begin
    for one in running:
        one.child.kill()
        one.ended()


def test_output_and_status(start: Callable[[str], Running]):
    """All that it prints is passed on, standard error too, with the line ends of a UART; then its status."""
    program = start("import sys\nprint('a\\nb\\r\\nc')\nprint('e', file=sys.stderr)\nsys.exit(70)")

    assert program.ended() == 70
    assert bytes(program.said) == b"a\r\nb\r\nc\r\ne\r\n"


def test_input(start: Callable[[str], Running]):
    """What is typed is read."""
    program = start("print('got', input())")
    program.child.type(b"he")
    program.child.type(b"llo\n")

    assert program.ended() == 0
    assert bytes(program.said) == b"got hello\r\n"


def test_channel(start: Callable[[str], Running]):
    """It asks on its channel, and is answered."""
    program = start(ASK)

    assert program.ended() == 0
    assert program.asked == [{"id": 1, "do": "it"}]
    assert json.loads(program.said) == {"id": 1, "ok": "done"}


def test_event(start: Callable[[str], Running]):
    """It is told of events."""
    program = start(ASK + "print(end.recv(1000).decode())\n")
    program.wait_for(b"done")
    program.child.tell({"event": "boot_button"})

    assert program.ended() == 0
    assert b'{"event":"boot_button"}' in program.said


def test_kill(start: Callable[[str], Running]):
    """It is killed with all that it has started, at once."""
    program = start(
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print(other.pid)\n"
        "time.sleep(60)"
    )
    program.wait_for(b"\r\n")
    began = time.monotonic()
    program.child.kill()
    status = program.ended()

    assert status == -9
    assert time.monotonic() - began < 1.5
    assert not alive(int(program.said))


def alive(process: int) -> bool:
    """Whether a process is there, and no zombie, after a moment to die."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def test_leaves_something_behind(start: Callable[[str], Running]):
    """A process that outlives its parent, and holds its output, does not hold up the end."""
    began = time.monotonic()
    program = start(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(2)\n    os._exit(0)\nprint('end')"
    )

    assert program.ended() == 0
    assert bytes(program.said) == b"end\r\n"
    assert time.monotonic() - began < 1.5


def test_signal(start: Callable[[str], Running]):
    """One that kills itself has the signal as its status."""
    assert start("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)").ended() == -11


def test_freeze(start: Callable[[str], Running]):
    """Frozen, it says nothing any more, and what it had said is not heard either."""
    program = start("import os, time\nprint(os.getpid(), '!')\nwhile True:\n    print('tick')\n    time.sleep(0.001)")
    program.wait_for(b"tick")
    process = int(program.said.split(b" ")[0])
    program.child.freeze()
    time.sleep(0.05)  # what is on its way has come
    before = len(program.said)
    time.sleep(0.1)

    assert len(program.said) == before
    assert Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_endless_output(start: Callable[[str], Running]):
    """What is printed without end is passed on as fast as a UART takes it, and no faster."""
    program = start("import os\nwhile True:\n    os.write(1, b'x' * 60000)")
    program.wait_for(b"x")
    began, before = time.monotonic(), len(program.said)
    time.sleep(0.5)
    rate = (len(program.said) - before) / (time.monotonic() - began)

    assert 0.2 * BYTES_PER_SECOND < rate < 1.5 * BYTES_PER_SECOND


def test_endless_input(start: Callable[[str], Running]):
    """What is typed and not read is lost beyond a buffer; the program gets what came first."""
    program = start("import sys, time\nsys.stdin.readline()\nprint(len(sys.stdin.readline()))")
    for _ in range(40):
        program.child.type(b"x" * 65536)
    program.child.type(b"\n" * 10)
    program.child.kill()
    program.ended()

    assert len(program.child._typed) <= TYPED_BYTES


def test_closes_its_input(start: Callable[[str], Running]):
    """A program that reads nothing is not disturbed by what is typed."""
    program = start("import os, time\nos.close(0)\nprint('closed')\ntime.sleep(0.2)\nprint('end')")
    program.wait_for(b"closed")
    program.child.type(b"x" * 100_000)

    assert program.ended() == 0
    assert b"end" in program.said


def test_closes_its_output(start: Callable[[str], Running]):
    """A program that has closed its output is waited for."""
    assert start("import os, sys, time\nos.close(1)\nos.close(2)\ntime.sleep(0.1)\nos._exit(3)").ended() == 3


def test_no_such_program(tmp_path: Path):
    """A command that cannot be run is the system's error."""
    with pytest.raises(FileNotFoundError):
        Child(["/no/such/program"], {}, tmp_path, said=lambda _: None, asked=lambda _: None)
