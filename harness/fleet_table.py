"""``wsdevice fake``: a fleet of fake devices on the command line, with a live table and a summary at its end."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from gateway.exit_codes import ExitCode
from gateway.identity import device_id
from gateway.observe.clock import wall_clock
from gateway.protocol.tokens import mint
from harness.errors import Misuse
from harness.fakes.fleet import Fleet, Tally, Traffic

REFRESH, LINE_EVERY = 0.5, 5.0
"""Seconds between two looks: of the table on a terminal, and of lines in a pipe or a file."""
_SHOWN_ERRORS = 5  # kinds, the most frequent; the summary has them all


def fake(
    url: str,
    count: int,
    *,
    traffic: Traffic,
    every: float,
    connects_per_second: float,
    seconds: float | None,
    key_file: str | None,
) -> int:
    """Run ``wsdevice fake`` and return its exit code: 0, or 1 where no device was ever online; 2: wrong arguments."""
    try:
        parse_uri(url)
        fleet = Fleet(
            url,
            count,
            traffic=traffic,
            every=every,
            connects_per_second=connects_per_second,
            token=None if key_file is None else _minting(Path(key_file).read_text(encoding="utf-8").strip()),
        )
    except (InvalidURI, Misuse, OSError, UnicodeDecodeError) as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    asyncio.run(run(fleet, seconds=seconds, out=sys.stdout))
    return ExitCode.OK if fleet.tally.arrivals else ExitCode.FAILED


def _minting(key: str) -> Callable[[str, str], str]:
    return lambda device, client: mint(key, client, device_id(device), wall_clock())


async def run(fleet: Fleet, *, seconds: float | None, out: TextIO) -> None:
    """Run a fleet until SIGINT or SIGTERM, or for ``seconds``; show what it does, and a summary at the end.

    A signal has its devices closed, which is bounded; a second one is not waited for.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    began = loop.time()
    table = Table(out, len(fleet.devices))
    until = math.inf if seconds is None else began + seconds
    async with fleet:
        while not stop.is_set() and loop.time() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(loop.time() + table.every, until)):
                    await stop.wait()
            if not stop.is_set() and loop.time() < until:
                table.show(fleet.tally, loop.time() - began)
        table.finish(fleet.tally, loop.time() - began)


class Table:
    """A few lines that are written over themselves on a terminal; elsewhere one line now and then.

    Args:
        out: where to.
        count: devices in all.
    """

    def __init__(self, out: TextIO, count: int) -> None:
        self._out = out
        self._count = count
        self._lives = out.isatty() and os.environ.get("TERM") != "dumb"
        self._lines = 0
        self._last = (0.0, 0)
        self.every = REFRESH if self._lives else LINE_EVERY

    def show(self, tally: Tally, seconds: float) -> None:
        """Show how things stand after so many seconds."""
        rate = self._rate(tally, seconds)
        if not self._lives:
            self._out.write(one_line(tally, self._count, seconds, rate) + "\n")
            self._out.flush()
            return
        lines = rows(tally, self._count, seconds, rate)
        up = f"\x1b[{self._lines}F" if self._lines else ""
        self._out.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[0J")
        self._out.flush()
        self._lines = len(lines)

    def finish(self, tally: Tally, seconds: float) -> None:
        """Write the summary."""
        if self._lines:
            self._out.write(f"\x1b[{self._lines}F\x1b[0J")
        self._out.write("\n".join(summary(tally, self._count, seconds)) + "\n")
        self._out.flush()

    def _rate(self, tally: Tally, seconds: float) -> float:
        then, count = self._last
        total = tally.sent + tally.received
        self._last = (seconds, total)
        return (total - count) / max(seconds - then, 0.001)


def rows(tally: Tally, count: int, seconds: float, rate: float) -> list[str]:
    """Return the lines of the live table."""
    shown = tally.errors.most_common(_SHOWN_ERRORS)
    return [
        f"{'time':<12}{seconds:>10.1f} s",
        f"{'connected':<12}{tally.connected:>10,} of {count:,}",
        f"{'messages':<12}{tally.sent:>10,} sent, {tally.received:,} received, {rate:,.0f}/s",
        f"{'latency':<12}{_latency(tally)}",
        f"{'errors':<12}{tally.errors.total():>10,}",
        *(f"{'':<12}{number:>10,} {kind}" for kind, number in shown),
    ]


def one_line(tally: Tally, count: int, seconds: float, rate: float) -> str:
    """Return the same in one line."""
    return (
        f"{seconds:.0f} s: {tally.connected:,} of {count:,} connected, {tally.sent:,} sent, {tally.received:,} "
        f"received, {rate:,.0f}/s, latency {_latency(tally).strip()}, {tally.errors.total():,} errors"
    )


def summary(tally: Tally, count: int, seconds: float) -> list[str]:
    """Return the lines at the end: what happened in all, every kind of error."""
    rate = (tally.sent + tally.received) / max(seconds, 0.001)
    return [
        f"devices:  {count:,} for {seconds:.1f} s, {tally.connected:,} online at the end, {tally.arrivals:,} arrivals",
        f"messages: {tally.sent:,} sent, {tally.received:,} received, {rate:,.0f}/s",
        f"latency:  {_latency(tally).strip()} ({tally.latencies.count:,} measured)",
        f"errors:   {tally.errors.total():,}",
        *(f"  {number:>8,}  {kind}" for kind, number in tally.errors.most_common()),
    ]


def _latency(tally: Tally) -> str:
    latencies = tally.latencies
    if not latencies.count:
        return f"{'-':>10}"
    shares = [f"p{percent} {1000 * latencies.percentile(percent):.1f} ms" for percent in (50, 95, 99)]
    return "  ".join([*shares, f"max {1000 * latencies.longest:.1f} ms"])
