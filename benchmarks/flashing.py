"""``python -m benchmarks.flashing``: esptool on a virtual board over RFC 2217, by the fast client and pyserial's own.

Both are the real esptool, run in the same way, against the same board; only the handler of ``rfc2217://`` differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import serial

from harness.board import esptool
from harness.virtual.board import VirtualBoard

MAC = bytes.fromhex("020000000001")
BAUD = 921600
SIZE = 4 << 20


class Silent:
    """What runs on the board when it is let go: nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def boot_button(self, pressed: bool) -> None:
        pass

    def uart_received(self, data: bytes) -> None:
        pass

    def stop(self) -> None:
        pass


def image(size: int, seed: int) -> bytes:
    """Make an image of which a little more than half is left when it is compressed, as of firmware."""
    block = b"".join(hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(size // 32 // 2 + 1))
    return bytes(block[: size // 2]) + b"\x00\x01\x02\x03" * (size // 8)


def timed(url: str, command: list[str], *, plain: bool) -> float:
    """Run esptool once and return its wall time, the start of its Python included."""
    os.environ.pop(esptool.PLAIN, None)
    if plain:
        os.environ[esptool.PLAIN] = "1"
    call = esptool.Call(url, "esp32s3", BAUD, after="no-reset", mac=MAC.hex(":"))
    began = time.perf_counter()
    esptool.run(call, command, doing="measure", seconds=600)
    return time.perf_counter() - began


def measure(url: str, folder: Path, *, plain: bool, rounds: int) -> dict[str, float]:
    """Return the best of some rounds of each thing."""
    best: dict[str, float] = {}
    for number in range(rounds):
        file = folder / f"{plain}-{number}.bin"
        file.write_bytes(image(SIZE, number + 100 * plain))
        write = ["write-flash", "0x0", str(file)]
        for name, command in (
            ("identification", ["flash-id"]),
            ("write 4 MiB", write),
            ("the same again, skipped", [*write[:1], "--skip-flashed", *write[1:]]),
        ):
            took = timed(url, command, plain=plain)
            best[name] = min(took, best.get(name, took))
    return best


def main() -> None:
    """Measure both, and print them side by side."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flashing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many counts; default: 1")
    arguments = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, CPython "
        f"{platform.python_version()}, pyserial {serial.VERSION}; virtual ESP32-S3, {BAUD} baud"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        VirtualBoard("esp32s3", boot=Silent, mac=MAC, flash_size=SIZE) as board,  # type: ignore[arg-type]
    ):
        url = board.rfc2217().url
        board.power_on()
        fast = measure(url, Path(folder), plain=False, rounds=arguments.rounds)
        plain = measure(url, Path(folder), plain=True, rounds=arguments.rounds)
    print(f"{'':26} {'fast client':>12} {'pyserial':>12} {'ratio':>8}")
    for name, seconds in fast.items():
        print(f"{name:26} {seconds:>10.2f} s {plain[name]:>10.2f} s {plain[name] / seconds:>8.1f}")


if __name__ == "__main__":
    main()
