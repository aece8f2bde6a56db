"""esptool as a child process: what it is called with, what it is told, how long it may take.

esptool is GPL and is never imported: it is run as it is, by the launcher that readies pyserial for fast ``rfc2217://``
ports (`harness.board.fast_rfc2217`). Its settings are read from one file for each run and from nowhere else, so that an
``esptool.cfg`` that lies about, or ``ESPTOOL_…`` in the environment, has no part in it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

import harness
from harness.board.errors import FlashFailed, FlashTimeout
from harness.board.esptool_output import PORT_UNUSABLE, Progress, Transcript, failure
from harness.board.reset_sequences import one_at_a_time
from harness.board.serial_ports import open_port
from harness.board.sessions import end_session
from harness.redaction import Redactor

LAUNCHER = "harness.board.fast_rfc2217"
PLAIN = "WSDEVICE_PLAIN_RFC2217"
"""Environment variable: anything in it leaves pyserial's own ``rfc2217://`` client in place, in esptool's process."""
IDENTIFY = 60.0
"""Seconds to tell which chip it is: esptool gives up connecting after some 10; pyserial's own client needs 20."""
START = 60.0
"""Seconds beside what the bytes of a write take, for connecting, and for the sums at the end."""
ERASE_SECONDS = 1.0 / 65536
"""For each byte: flash chips' data sheets have 0.15 s for a block of 64 KiB as usual, and up to 2 s as the longest."""

Before: TypeAlias = Literal["default-reset", "usb-reset", "no-reset"]
After: TypeAlias = Literal["hard-reset", "no-reset", "watchdog-reset"]
OnProgress: TypeAlias = Callable[[Progress], None]


class Call(msgspec.Struct, frozen=True):
    """How esptool is to reach a board.

    Attributes:
        port: path or URL.
        chip: as its ``--chip`` takes it; ``auto``: it finds out.
        baud: once its stub runs.
        before: how it gets the chip into its boot loader.
        after: how it leaves it: running, or in its boot loader.
        sequence: instead of its own one for ``default-reset``, in its notation.
        mac: of the board that it must be; another one is left alone (`WrongBoard`). Empty: any.
    """

    port: str
    chip: str = "auto"
    baud: int = 115200
    before: Before = "default-reset"
    after: After = "hard-reset"
    sequence: str = ""
    mac: str = ""


def write_seconds(size: int, baud: int) -> float:
    """Return how long writing so many bytes may take: at the wire's full rate, twice that, and the erasing."""
    return START + size * (2 * 10 / baud + ERASE_SECONDS)


def arguments(call: Call, command: Sequence[str], *, plain: bool = False) -> list[str]:
    """Return the arguments of the Python that runs esptool."""
    gate = ["--gate", call.mac] if call.mac else []
    return [
        "-P",
        "-m",
        LAUNCHER,
        "--tied",
        *(["--plain"] if plain else []),
        *gate,
        "esptool",
        f"--port={call.port}",
        f"--chip={call.chip}",
        f"--baud={call.baud}",
        f"--before={call.before}",
        f"--after={call.after}",
        *command,
    ]


def environment(settings: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return its environment: ours without what would change its mind or its words, and with its settings' file."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("ESP", "PYTHON", "FORCE_COLOR", "TTY_", "COLUMNS")) or name == "PYTHONHOME"
    }
    packages = str(Path(harness.__file__).parents[1])  # where the launcher is, installed or not
    own = {"PYTHONPATH": packages, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb"}
    return {**kept, **own, "ESPTOOL_CFGFILE": str(settings)}


def run(
    call: Call,
    command: Sequence[str],
    *,
    doing: str,
    seconds: float,
    redactor: Redactor | None = None,
    on_progress: OnProgress | None = None,
    python: str = sys.executable,
) -> Transcript:
    """Run one command of esptool and return what it said; it is gone when this returns, with all it started.

    It is gone soon, too, when this process is killed: the lease of its board is free from then on.

    Args:
        call: the board.
        command: and its arguments; no secret may be among them, since every process of the machine can read them.
        doing: what it is for, in words.
        seconds: it may take.
        redactor: masks secrets in the transcript.
        on_progress: is told how far it is, in this thread.
        python: that has esptool.

    Raises:
        FlashFailed: and its children, by what went wrong.
        PortFailed: and its children: the port cannot be opened.
    """
    transcript, mask = Transcript(), redactor or Redactor()
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="wsdevice-esptool-") as folder:
        settings = Path(folder, "esptool.cfg")
        settings.write_text(_settings(call))
        argv = [python, *arguments(call, command, plain=bool(os.environ.get(PLAIN)))]
        with contextlib.ExitStack() as stack:
            try:
                process = stack.enter_context(_running(argv, environment(settings, os.environ), folder))
            except OSError as error:
                raise FlashFailed(doing, f"{python} cannot be run: {error.strerror or error}") from error
            assert process.stdout is not None
            for line in _lines(process.stdout, deadline):
                if (progress := transcript.take(mask(line))) and on_progress:
                    on_progress(progress)
            try:
                code = process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                why = f"it took more than {seconds:.0f} s, and was ended; is the cable good, or the baud rate too high?"
                raise FlashTimeout(doing, why, transcript.lines) from None
    if code:
        if any(text in line for line in transcript.lines for text in PORT_UNUSABLE):
            open_port(call.port).close()  # says why it cannot be; if it can now, what esptool said has to do
        raise failure(doing, code, transcript.lines)
    return transcript


def _settings(call: Call) -> str:
    sequence = one_at_a_time(call.sequence) if call.port.startswith("rfc2217://") else call.sequence
    return "[esptool]\n" + (f"custom_reset_sequence = {sequence}\n" if sequence else "")


@contextlib.contextmanager
def _running(argv: list[str], environ: dict[str, str], folder: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603 - our own arguments
        argv,
        stdin=subprocess.PIPE,  # its end is that of the process: should we be killed, no board is flashed by nobody
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environ,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        end_session(process)
        process.stdin.close()
        process.stdout.close()


def _lines(stream: IO[bytes], deadline: float) -> Iterator[str]:
    """Yield lines until the stream ends, or the time is over."""
    rest = b""
    ready = select.poll()  # select.select takes no descriptor above 1023
    ready.register(stream, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and ready.poll(left * 1000):
        data = os.read(stream.fileno(), 65536)
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
