"""``python -m benchmarks.mailbox``: letters stored per second by the durable mailbox, answered after their sync.

Run it on the disk that counts: ``--directory`` is where the file is made (and deleted).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.identity import DeviceId
from gateway.peer.mailbox import Letter, Stored
from gateway.peer.sqlite_mailbox import SqliteMailbox

DEVICES = 5000


def letter(number: int, body: bytes) -> Letter:
    device = DeviceId(f"02:00:00:00:{number % DEVICES:05}")
    return Letter(device, "02:00:00:00:00:01", f"{number:032}", "peer", body, time.time(), time.time() + 3600)


async def measure(mailbox: SqliteMailbox, callers: int, seconds: float, first: int, body: bytes) -> list[float]:
    """Return how long each call took, over all callers, each of which stores one letter after the other."""
    numbers = iter(range(first, first + 100_000_000))
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (begun := time.perf_counter()) < end:
            assert await mailbox.store([letter(next(numbers), body)]) == [Stored.STORED]
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return sorted(took)


async def run(directory: str, seconds: float, waiting: int, size: int) -> None:
    body = b"x" * size
    for callers in (1, 50, 500):
        with tempfile.TemporaryDirectory(dir=directory) as place, ThreadPoolExecutor(1) as executor:
            mailbox = SqliteMailbox(
                str(Path(place) / "mailbox.db"),
                per_device=10**9,
                per_sender=10**9,
                total=10**9,
                dedupe=600.0,
                wall_clock=time.time,
                executor=executor,
            )
            await mailbox.open()
            for begin in range(0, waiting, 1000):
                await mailbox.store([letter(n, body) for n in range(begin, min(begin + 1000, waiting))])
            took = await measure(mailbox, callers, seconds, waiting, body)
            await mailbox.close()
        middle, late = took[len(took) // 2], took[len(took) * 99 // 100]
        print(
            f"{callers:4} callers, {waiting} letters waiting: {len(took) / seconds:8.0f} letters/s, "
            f"p50 {middle * 1000:6.2f} ms, p99 {late * 1000:6.2f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--waiting", type=int, default=0, help="letters that wait already")
    parser.add_argument("--size", type=int, default=200, help="bytes of a letter's body")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.directory, arguments.seconds, arguments.waiting, arguments.size))


if __name__ == "__main__":
    main()
