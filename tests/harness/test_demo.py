"""``wsdevice demo`` as a process: what it shows, where it then listens, and how it ends."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import socket
import sys
import time
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import demo
from harness.fakes.device import FakeDevice
from tests.process import LONG, Running, environment, run, started

PORTS = ("--ws-port", "0", "--http-port", "0")
DEMO = ("-m", "harness", "demo", *PORTS)

ROW = re.compile(r" *\d+\.\d{3}  (kitchen|hallway|gateway) -> (kitchen|hallway|gateway)  (.*)")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which lines are not cut, and temporary files are in the test's own directory."""
    return environment(tmp_path, COLUMNS="400", TMPDIR=str(tmp_path), TERM="xterm")


@pytest.fixture
def held() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def rows(text: str) -> list[tuple[str, str, str]]:
    """The frames that were shown: from whom, to whom, what."""
    return [match.groups() for line in text.splitlines() if (match := ROW.fullmatch(line))]


def contents(directory: Path) -> list[Path]:
    """What is in a directory."""
    return list(directory.iterdir())


class TestOnce:
    """The exchange."""

    async def test_exchange(self, env: dict[str, str], tmp_path: Path):
        """The message for the one that is away is stored, redelivered, acknowledged and reported, in this order."""
        ended = await run(*DEMO, "--once", env=env)

        assert (ended.code, ended.err) == (0, "")
        expected = [
            ("kitchen", "gateway", '{"type":"hello",'),
            ("gateway", "kitchen", '{"type":"hello","session_id":'),
            ("hallway", "gateway", '{"type":"hello",'),
            ("gateway", "hallway", '{"type":"hello","session_id":'),
            ("hallway", "gateway", "<cuts its connection: end of TCP, no Close frame>"),
            ("kitchen", "gateway", '{"type":"peer","to":["02:00:00:00:00:02"],"payload":{"text":"Tea is ready"}'),
            ("gateway", "kitchen", '{"type":"peer","delivered":[],"enqueued":["02:00:00:00:00:02"],"failed":[]'),
            ("hallway", "gateway", '{"type":"hello",'),
            ("gateway", "hallway", '{"type":"hello","session_id":'),
            ("gateway", "hallway", '{"type":"peer","from":"02:00:00:00:00:01","payload":{"text":"Tea is ready"}'),
            ("hallway", "gateway", '{"type":"peer","event":"ack","id":"m1"}'),
            ("gateway", "kitchen", '{"type":"peer","event":"redelivered","to":"02:00:00:00:00:02","count":1'),
            ("kitchen", "gateway", '{"type":"peer","event":"ack",'),
        ]
        shown = rows(ended.out)
        assert [row[:2] for row in shown] == [row[:2] for row in expected]
        assert all(row[2].startswith(start) for row, (*_, start) in zip(shown, expected, strict=True))
        assert [line[:2] for line in ended.out.splitlines() if re.match(r"\d\. ", line)] == [
            f"{n}." for n in range(1, 6)
        ]
        assert contents(tmp_path) == []

    async def test_width(self, env: dict[str, str]):
        """No line is wider than the terminal, and a pipe has no colours."""
        ended = await run(*DEMO, "--once", env=env | {"COLUMNS": "80"})

        assert len(rows(ended.out)) == 13
        assert max(map(len, ended.out.splitlines())) <= 80
        assert "\x1b" not in ended.out

    @pytest.mark.parametrize(("variables", "in_colour"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
    async def test_terminal(self, env: dict[str, str], variables: dict[str, str], in_colour: bool):
        """A terminal gets colours, unless they are not wanted."""
        ours, its = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, *DEMO, "--once", env=env | variables, stdout=its, stderr=its
        )
        os.close(its)
        loop = asyncio.get_running_loop()
        shown = bytearray()
        try:
            while part := await asyncio.wait_for(loop.run_in_executor(None, os.read, ours, 65536), LONG):
                shown += part
        except OSError:  # the other side of a terminal has closed
            assert await process.wait() == 0
        finally:
            os.close(ours)

        assert (b"\x1b[1m1. Both devices" in shown) == in_colour
        assert (b"\x1b" in shown) == in_colour

    async def test_reader_has_gone(self, env: dict[str, str]):
        """Nobody who reads on is no failure."""
        read, write = os.pipe()
        os.close(read)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *DEMO, "--once", env=env, stdout=write, stderr=PIPE
        )
        os.close(write)
        _, err = await asyncio.wait_for(process.communicate(), LONG)

        assert (process.returncode, err) == (0, b"")

    async def test_something_else_happens(self, env: dict[str, str]):
        """What was expected and did not happen is said, with what came instead; exit code 1."""
        script = """
import functools
from gateway.config import PeerConfig
from harness import cli, demo
demo.Config = functools.partial(demo.Config, peer=PeerConfig(queue=False))
demo._WAIT = 0.2
raise SystemExit(cli.main(["demo", "--once", "--ws-port", "0", "--http-port", "0"]))
"""
        ended = await run("-c", script, env=env)

        assert ended.code == 1
        assert ended.err.startswith("wsdevice: the demo failed: kitchen expected a message \"peer\" with status='done'")
        assert '"code":"TARGET_OFFLINE"' in ended.err
        assert "Traceback" not in ended.err


class TestPorts:
    """Where it listens."""

    def test_default_is_taken(self, held: int):
        """Instead of a default port that is taken a free one is used, and that is said."""
        notes: list[str] = []
        bound = demo._bind("websocket", None, held, notes)
        port = bound.sockets[0].getsockname()[1]
        for sock in bound.sockets:
            sock.close()

        assert port not in {0, held}
        (note,) = notes
        assert note.startswith(f"Port {held} is taken by ")
        assert note.endswith("; using a free one for websocket.")

    def test_default_is_free(self, held: int):
        """A default port that is free is used, and nothing is said."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            free = other.getsockname()[1]
        notes: list[str] = []
        bound = demo._bind("websocket", None, free, notes)
        names = [sock.getsockname() for sock in bound.sockets]
        for sock in bound.sockets:
            sock.close()

        assert names == [("127.0.0.1", free)]
        assert notes == []

    @pytest.mark.parametrize("option", ["--ws-port", "--http-port"])
    async def test_asked_for_is_taken(self, env: dict[str, str], held: int, option: str):
        """A port that was asked for and is taken is one line, and exit code 2."""
        ended = await run(*DEMO, "--once", option, str(held), env=env)

        assert (ended.code, ended.out) == (2, "")
        # a machine that is busy has no time to look for the process
        holder = r"\(held by (pid \d+ \(.*\)|a process of uid \d+)\)"
        assert re.match(rf"wsdevice: cannot listen on 127\.0\.0\.1:{held}: Address already in use {holder};", ended.err)
        assert ended.err.count("\n") == 1


class TestServing:
    """After the exchange."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_serves_until_a_signal(self, env: dict[str, str], number: int):
        """It listens where it says; a signal closes the devices at once, and is the wanted end."""
        async with started(*DEMO, env=env) as process:
            websocket, ota, metrics = [
                (await process.line(lambda line, name=name: line.startswith(f"  {name}"))).split()[1]
                for name in ("WebSocket", "OTA", "metrics")
            ]
            await process.line(lambda line: line.startswith("Their wifi.ota_url"))
            async with FakeDevice(websocket, "02:00:00:00:00:03") as device:
                answers = [await asyncio.to_thread(get, url) for url in (ota, metrics)]
                began = time.monotonic()
                process.signal(number)
                assert await device.expect_close() == 1012
            ended = await process.end()

        assert (ended.code, ended.err) == (0, "")
        assert time.monotonic() - began < 3.0
        assert answers[0] == "OTA is running\n"
        assert "\nwsdevice_devices 1\n" in answers[1]

    async def test_addresses(self, env: dict[str, str]):
        """The OTA address is the one that a device's NVS takes, and nothing is open to others."""
        async with started(*DEMO, env=env) as process:
            websocket = await process.line(lambda line: line.startswith("  WebSocket"))
            ota = await process.line(lambda line: line.startswith("  OTA"))
            process.signal(signal.SIGINT)
            await process.end()

        assert re.fullmatch(r"  WebSocket  ws://127\.0\.0\.1:\d+/xiaozhi/v1/", websocket)
        assert re.fullmatch(
            r"  OTA        http://127\.0\.0\.1:\d+/xiaozhi/ota/  \(NVS wifi\.ota_url of a device\)", ota
        )

    @pytest.mark.parametrize("called", ["wsdevice", "-m harness"])
    async def test_recipe(self, env: dict[str, str], tmp_path: Path, called: str):
        """What it says to type for real devices is a configuration that is ok, by the way it was called itself."""
        if called == "wsdevice":
            script = tmp_path / "bin dir" / "wsdevice"
            script.parent.mkdir()
            script.write_text(f"#!{sys.executable}\nfrom harness.cli import main\nraise SystemExit(main())\n")
            script.chmod(0o755)
            arguments = [str(script), *DEMO[2:]]
        else:
            arguments = [sys.executable, *DEMO]
        env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        child = await asyncio.create_subprocess_exec(*arguments, env=env, stdout=PIPE, stderr=PIPE)
        process = Running(child)
        try:
            key = await process.line(lambda line: line.startswith("  (umask"))
            serve = await process.line(lambda line: line.endswith(" serve\n"))
            process.signal(signal.SIGTERM)
            assert (await process.end()).code == 0
        finally:
            if child.returncode is None:
                child.kill()
        (tmp_path / "here").mkdir()
        check = f"{key}\n{serve.removesuffix('serve')}check-config"
        process = await asyncio.create_subprocess_shell(check, env=env, cwd=tmp_path / "here", stdout=PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), LONG)

        assert process.returncode == 0
        assert out.endswith(b"defaults and environment: ok\n")
        assert (tmp_path / "here" / "auth-key").stat().st_mode & 0o077 == 0


def get(url: str) -> str:
    """Get a page."""
    with urllib.request.urlopen(url, timeout=LONG) as response:
        return response.read().decode()
