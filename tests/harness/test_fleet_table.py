"""What ``wsdevice fake`` shows: a table that is written over itself, lines in a pipe, a summary at the end."""

from __future__ import annotations

import asyncio
import io
import re
import signal
from pathlib import Path

import pytest

from gateway.config import AuthConfig, Config
from harness.cli import main
from harness.fakes.fleet import Fleet, Tally
from harness.fleet_table import LINE_EVERY, REFRESH, Table, run
from harness.gateways import OwnGateway
from harness.simulation.loop import SimulatedLoop
from harness.simulation.loop import run as simulate
from tests.harness.fakes.test_fleet import KEY, gateway
from tests.process import LONG, environment, started
from tests.process import run as run_program


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


class TestCommand:
    """``wsdevice fake``, as it is called."""

    async def test_until_a_signal(self, tmp_path: Path):
        """Devices connect and talk until Ctrl-C, which ends them with a summary."""
        gateway = OwnGateway(Config(auth=AuthConfig(enabled=True, key=KEY)), tmp_path / "state")
        await gateway.start()
        (tmp_path / "key").write_text(KEY + "\n")
        arguments = "--url", gateway.url, "--count", "20", "--every", "0.2", "--key-file", str(tmp_path / "key")
        async with started("-m", "harness", "fake", *arguments, env=environment(tmp_path)) as process:
            async with asyncio.timeout(LONG):
                while len(gateway.gateway.registry) < 20:  # noqa: ASYNC110 - it sets no event
                    await asyncio.sleep(0.01)
            process.signal(signal.SIGINT)
            ended = await process.end()
        await gateway.stop()

        assert (ended.code, ended.err) == (0, "")
        assert re.match(r"devices:  20 for \d+\.\d s, 20 online at the end, 20 arrivals\nmessages: ", ended.out)
        assert ended.out.endswith("errors:   0\n")

    async def test_nobody_there(self, tmp_path: Path):
        """Where no device was ever online, that is the exit code, and the summary says why."""
        arguments = "--url", "ws://127.0.0.1:1/", "--seconds", "0.3"
        ended = await run_program("-m", "harness", "fake", *arguments, env=environment(tmp_path))

        assert (ended.code, ended.err) == (1, "")
        assert "cannot connect: Connection refused" in ended.out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--url", "http://h/"), "http://h/ isn't a valid URI"),
            (("--url", "ws://h/", "--count", "0"), "expected from 1 to 65,536 devices, got 0"),
            (("--url", "ws://h/", "--every", "0"), "expected times and rates above 0"),
            (("--url", "ws://h/", "--key-file", "nowhere"), "No such file or directory: 'nowhere'"),
        ],
    )
    def test_wrong_arguments(self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str):
        """What is wrong is said in one line."""
        assert main(["fake", *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("wsdevice: ")
        assert words in err
