"""What ``wsdevice fake`` shows: a table that is written over itself, lines in a pipe, a summary at the end."""

from __future__ import annotations

import io
import re

import pytest

from harness.fakes.fleet import Fleet, Tally
from harness.fleet_table import LINE_EVERY, REFRESH, Table, run
from harness.simulation.loop import SimulatedLoop
from harness.simulation.loop import run as simulate
from tests.harness.fakes.test_fleet import gateway


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def tally() -> Tally:
    """What a fleet of 1,000 might have done."""
    done = Tally()
    done.connected, done.arrivals, done.sent, done.received = 998, 1002, 12_345, 12_340
    for milliseconds in (1, 2, 3, 40):
        done.latencies.add(milliseconds / 1000)
    done.errors.update({"closed with 4008": 4, "refused with 429": 1})
    return done


def test_terminal(monkeypatch: pytest.MonkeyPatch):
    """On a terminal each look is written over the last one, and the summary in the place of the table."""
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    table = Table(out, 1000)
    table.show(tally(), 10.0)
    table.show(tally(), 10.5)
    table.finish(tally(), 11.0)

    first, *rest = out.getvalue().split("\x1b[7F")
    assert table.every == REFRESH
    assert re.sub(r"\x1b\[\d[KJF]", "", first).splitlines() == [
        "time              10.0 s",
        "connected          998 of 1,000",
        "messages        12,345 sent, 12,340 received, 2,468/s",
        "latency     p50 2.0 ms  p95 40.0 ms  p99 40.0 ms  max 40.0 ms",
        "errors               5",
        "                     4 closed with 4008",
        "                     1 refused with 429",
    ]
    assert len(rest) == 2
    assert "0/s" in rest[0]
    assert rest[1] == (
        "\x1b[0Jdevices:  1,000 for 11.0 s, 998 online at the end, 1,002 arrivals\n"
        "messages: 12,345 sent, 12,340 received, 2,244/s\n"
        "latency:  p50 2.0 ms  p95 40.0 ms  p99 40.0 ms  max 40.0 ms (4 measured)\n"
        "errors:   5\n"
        "         4  closed with 4008\n"
        "         1  refused with 429\n"
    )


def test_pipe():
    """In a pipe there is a line now and then, without escapes."""
    out = io.StringIO()
    table = Table(out, 1000)
    table.show(Tally(), 5.0)

    assert table.every == LINE_EVERY
    assert out.getvalue() == ("5 s: 0 of 1,000 connected, 0 sent, 0 received, 0/s, latency -, 0 errors\n")


def test_run():
    """It runs as long as it was told, and says what happened."""
    out = io.StringIO()

    async def main(loop: SimulatedLoop) -> None:
        loop.add_signal_handler = lambda *_: None  # type: ignore[assignment] # no signals in a simulation
        house = await gateway(loop, [])
        began = loop.time()
        await run(Fleet(house.websocket_url, 10, every=1.0), seconds=12.0, out=out)
        assert 12.0 <= loop.time() - began < 14.0
        await house.stop()

    simulate(main)

    first, second, *rest = out.getvalue().splitlines()
    assert first.startswith("5 s: 10 of 10 connected, ")
    assert second.startswith("10 s: 10 of 10 connected, ")
    assert rest[0] == "devices:  10 for 12.0 s, 10 online at the end, 10 arrivals"
    assert rest[-1] == "errors:   0"
