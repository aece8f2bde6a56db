"""``serve`` as a process: from binding its ports to its exit code."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Self

import pytest

from harness.errors import UpgradeRefused
from harness.fakes.device import FakeDevice
from tests.process import LONG, Running, environment, run, started

MAC = "02:00:00:00:00:01"
SERVE = ("-m", "gateway", "serve")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Loopback, free ports, and no spread: idle devices are closed at once."""
    return environment(tmp_path, WSDEVICE_DRAIN_SPREAD="0")


@pytest.fixture
def held() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@asynccontextmanager
async def spoken_to(process: Running, packets: int) -> AsyncIterator[FakeDevice]:
    """A device that hears its reply, of so many packets of 60 ms."""
    async with FakeDevice(await process.websocket_url(), MAC) as device:
        await device.send({"type": "listen", "state": "start", "mode": "manual"})
        for number in range(packets):
            await device.send_audio(b"%d" % number)
        await device.send({"type": "listen", "state": "stop"})
        await device.expect("tts", state="start")
        yield device


class Starting:
    """A checkpoint that is a pipe, so that reading it hangs; entered when a gateway reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe = -1
        os.mkfifo(path)

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(LONG):
            while self._pipe < 0:
                try:
                    self._pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads it
                    await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)

    def end(self) -> None:
        """Let the reader have all of it."""
        os.write(self._pipe, b'{"saved":0,"meetings":[],"tasks":[]}')
        os.close(self._pipe)
        self._pipe = -1


@pytest.fixture
def starting(tmp_path: Path) -> Starting:
    """A checkpoint that keeps the gateway starting."""
    return Starting(tmp_path / "checkpoint.json")


class TestSignals:
    """The first drains, the second stops at once."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_first(self, env: dict[str, str], number: int):
        """One signal is the wanted end: exit code 0."""
        async with started(*SERVE, env=env) as process:
            await process.websocket_url()
            process.signal(number)
            ended = await process.end()

        assert ended.code == 0
        assert "Traceback" not in ended.err
        assert '"event":"GatewayStopped"' in ended.err

    async def test_lets_finish(self, env: dict[str, str]):
        """A device that is being spoken to hears the end, and is closed then."""
        async with started(*SERVE, env=env) as process, spoken_to(process, packets=8) as device:
            process.signal(signal.SIGTERM)
            await device.expect("tts", state="stop")
            assert len(device.audio) == 8
            assert await device.expect_close() == 1012
            device.cut()
            assert (await process.end()).code == 0

    async def test_second(self, env: dict[str, str]):
        """A second signal does not wait for anybody: exit code 130, long before the grace is over."""
        async with started(*SERVE, env=env) as process, spoken_to(process, packets=400) as device:
            process.signal(signal.SIGTERM)
            await process.log("DrainBegan")
            with pytest.raises(AssertionError, match="its connection is open"):
                await device.expect_close(timeout=0.1)
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            code = await device.expect_close()
            ended = await process.end()

        assert (code, ended.code) == (1001, 130)
        assert time.monotonic() - began < 3.0
        assert "Traceback" not in ended.err

    async def test_while_the_start_hangs(self, env: dict[str, str], starting: Starting):
        """A signal ends a start that hangs, as soon as what hangs can be left; nothing has begun that is not ended."""
        async with started(*SERVE, env=env) as process, starting as checkpoint:
            process.signal(signal.SIGTERM)
            await process.line(lambda line: "stopping before the start is over" in line, process.process.stderr)
            checkpoint.end()
            ended = await process.end()

        assert ended.code == 0
        assert "GatewayListening" not in ended.err
        assert "Traceback" not in ended.err

    async def test_second_while_the_start_hangs(self, env: dict[str, str], starting: Starting):
        """A second signal does not wait for what hangs: exit code 130, at once."""
        async with started(*SERVE, env=env) as process, starting:
            process.signal(signal.SIGTERM)
            await process.line(lambda line: "stopping before the start is over" in line, process.process.stderr)
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            ended = await process.end()

        assert ended.code == 130
        assert time.monotonic() - began < 3.0
        assert "Traceback" not in ended.err

    async def test_while_it_starts(self, env: dict[str, str]):
        """A signal during the start ends it, and what it has begun."""
        script = """
import os, signal
from gateway import cli, serve
class Slow(serve.Gateway):
    async def start(self):
        os.kill(os.getpid(), signal.SIGINT)
        await super().start()
serve.Gateway = Slow
raise SystemExit(cli.main(["serve"]))
"""
        ended = await run("-c", script, env=env)

        assert ended.code == 0
        assert "Traceback" not in ended.err
        assert "stopping before the start is over" in ended.err
        assert "GatewayListening" not in ended.err

    async def test_without_uvloop(self, env: dict[str, str]):
        """The loop of the standard library does as well."""
        script = (
            "import sys; sys.modules['uvloop'] = None; from gateway import cli; raise SystemExit(cli.main(['serve']))"
        )
        async with started("-c", script, env=env) as process:
            async with FakeDevice(await process.websocket_url(), MAC) as device:
                process.signal(signal.SIGTERM)
                assert await device.expect_close() == 1012
            assert (await process.end()).code == 0


class TestHangup:
    """SIGHUP, which a terminal sends when it goes away, and people who want a reload."""

    async def test_without_a_terminal(self, env: dict[str, str]):
        """There is no reload: that is said, and the gateway goes on."""
        async with started(*SERVE, env=env) as process:
            async with FakeDevice(await process.websocket_url(), MAC) as device:
                process.signal(signal.SIGHUP)
                line = await process.line(lambda line: "SIGHUP" in line, process.process.stderr)
                await device.send({"type": "ping"})
                await device.expect("pong")
                process.signal(signal.SIGTERM)
                assert await device.expect_close() == 1012
            assert (await process.end()).code == 0

        assert '"level":"WARNING"' in line
        assert "there is no reload" in line

    async def test_terminal_goes_away(self, env: dict[str, str]):
        """That drains, however often it is told: who is spoken to hears the end. Exit code 0."""
        ours, its = pty.openpty()
        script = """
import fcntl, termios
from gateway import cli
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
raise SystemExit(cli.main(["serve"]))
"""
        command = [sys.executable, "-c", script]
        child = await asyncio.create_subprocess_exec(
            *command, env=env, stdin=its, stdout=its, stderr=PIPE, start_new_session=True
        )
        os.close(its)
        process = Running(child)
        try:
            async with spoken_to(process, packets=8) as device:
                os.close(ours)  # the kernel sends one to the leader of the session
                await process.log("DrainBegan")
                process.signal(signal.SIGHUP)  # as the shell does, too
                await device.expect("tts", state="stop")
                assert len(device.audio) == 8
                assert await device.expect_close() == 1012
            assert (await process.end()).code == 0
        finally:
            if child.returncode is None:
                child.kill()

    async def test_nohup(self, env: dict[str, str]):
        """Where it is ignored already, as under nohup, it stays ignored, in silence."""
        script = """
import os, signal
from gateway import serve
from gateway.config_file import load
signal.signal(signal.SIGHUP, signal.SIG_IGN)
def ready(gateway):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
raise SystemExit(serve.serve(load(None, os.environ), ready))
"""
        ended = await run("-c", script, env=env)

        assert ended.code == 0
        assert "SIGHUP" not in ended.err


class TestWithoutASignal:
    """Other ends."""

    async def test_stopped_by_the_application(self, env: dict[str, str]):
        """A gateway that its application stops is not waited for."""
        script = """
import asyncio, os
from gateway.config_file import load
from gateway.serve import serve
def ready(gateway):
    asyncio.get_running_loop().create_task(gateway.stop())
raise SystemExit(serve(load(None, os.environ), ready))
"""
        ended = await run("-c", script, env=env)

        assert ended.code == 0
        assert "draining" not in ended.err

    async def test_unclean(self, env: dict[str, str]):
        """A part that could not put away what must survive makes the exit code 70."""
        script = """
import asyncio, functools, os
from gateway import serve
from gateway.config_file import load
from gateway.errors import WorldError
from gateway.feature import Feature
class Broken(Feature):
    async def stop(self):
        raise WorldError("no room")
serve.Gateway = functools.partial(serve.Gateway, features=[Broken()])
def ready(gateway):
    asyncio.get_running_loop().create_task(gateway.stop())
raise SystemExit(serve.serve(load(None, os.environ), ready))
"""
        ended = await run("-c", script, env=env)

        assert ended.code == 70
        assert '"clean":false' in ended.err

    async def test_no_mailbox(self, env: dict[str, str], tmp_path: Path):
        """A mailbox that cannot be opened is exit code 3, in one line."""
        (tmp_path / "mailbox.db").mkdir()
        ended = await run(*SERVE, env=env)

        assert ended.code == 3
        assert f"wsdevice: cannot open the mailbox {tmp_path}/mailbox.db: " in ended.err
        assert "Traceback" not in ended.err


def _worked_by_children() -> float:
    """Seconds of processor time of all child processes that have ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class TestPortInUse:
    """A start that is refused."""

    async def test_within_a_second(self, env: dict[str, str], held: int):
        """Exit code 2 within a second, and one line: the address, the system's words, the holder, what to do."""
        began = _worked_by_children()
        ended = await run(*SERVE, env=env | {"WSDEVICE_SERVER_WS_PORT": str(held)})
        # what the command itself worked: on a machine that is busy with other tests it is not given a core at once
        took = _worked_by_children() - began

        assert ended.code == 2
        assert ended.err.startswith(f"wsdevice: cannot listen on 127.0.0.1:{held}: Address already in use")
        # the search for the holder has a time of its own, which a busy machine may use up
        assert re.search(rf"\(held by (pid {os.getpid()} \(|a process of uid \d)", ended.err)
        assert ended.err.endswith("change server.ws_port (WSDEVICE_SERVER_WS_PORT)\n")
        assert ended.err.count("\n") == 1
        assert took < 1.0

    async def test_both(self, env: dict[str, str], held: int):
        """Two ports that are taken are told in two lines."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            other = taken.getsockname()[1]
            ports = {"WSDEVICE_SERVER_WS_PORT": str(held), "WSDEVICE_SERVER_HTTP_PORT": str(other)}
            ended = await run(*SERVE, env=env | ports)

        assert ended.code == 2
        first, second = ended.err.splitlines()
        assert f"127.0.0.1:{held}: Address already in use" in first
        assert f"127.0.0.1:{other}: Address already in use" in second


async def test_systemd(env: dict[str, str], tmp_path: Path):
    """The service manager is told when devices can connect, and when the drain begins."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.setblocking(False)

        async def notification() -> bytes:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(notified, 4096), LONG)

        async with started(*SERVE, env=env | {"NOTIFY_SOCKET": str(tmp_path / "notify")}) as process:
            ready = await notification()
            process.signal(signal.SIGTERM)
            stopping = await notification()
            assert (await process.end()).code == 0

    assert b"READY=1" in ready
    assert b"STATUS=listening on 127.0.0.1:" in ready
    assert b"STOPPING=1" in stopping


async def test_nobody_reads_the_log(env: dict[str, str]):
    """A full pipe at stderr holds up nobody: a device is answered, and the first signal ends the process."""
    script = """
import logging, os
from gateway.config_file import load
from gateway.serve import serve
def ready(gateway):
    for _ in range(20_000):
        logging.getLogger("somebody").warning("x" * 100)
    print(gateway.websocket_url, flush=True)
raise SystemExit(serve(load(None, os.environ), ready))
"""
    # not asyncio's, which reads the pipe by itself
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=env, stdout=PIPE, stderr=PIPE, text=True) as process:  # noqa: ASYNC220 - as said
        assert process.stdout is not None
        try:
            url = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), LONG)
            async with FakeDevice(url.strip(), MAC) as device:
                await device.send({"type": "ping"})
                await device.expect("pong")
                process.send_signal(signal.SIGTERM)
                assert await device.expect_close() == 1012
            assert await asyncio.to_thread(process.wait, LONG) == 0
        finally:
            process.kill()


async def test_few_descriptors(env: dict[str, str]):
    """With too few file descriptors for all connections, the one too many is answered 503."""
    script = """
import resource
from gateway import cli
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
raise SystemExit(cli.main(["serve"]))
"""
    async with started("-c", script, env=env) as process, AsyncExitStack() as devices:
        line = await process.line(lambda line: "file descriptors" in line, process.process.stderr)
        url = await process.websocket_url()
        for number in range(32):
            await devices.enter_async_context(FakeDevice(url, f"02:00:00:00:01:{number:02x}"))
        with pytest.raises(UpgradeRefused) as refused:
            await FakeDevice(url, MAC).connect()
        process.signal(signal.SIGTERM)
        assert (await process.end()).code == 0

    assert "64 file descriptors are allowed, server.max_connections 12000 needs 12512: 32 connections are taken" in line
    assert refused.value.status == 503


async def test_checkpoint_that_cannot_be_written(env: dict[str, str], tmp_path: Path):
    """What could not be put away makes the exit code 70, and the log says why, once."""
    async with started(*SERVE, env=env) as process:
        await process.websocket_url()
        (tmp_path / "checkpoint.new").mkdir()
        process.signal(signal.SIGTERM)
        ended = await process.end()

    assert ended.code == 70
    assert '"clean":false' in ended.err
    reasons = [line for line in ended.err.splitlines() if "the checkpoint could not be written" in line]
    assert len(reasons) == 1
    assert "Is a directory" in reasons[0]
