"""What systemd is told and hands over; and the units that are shipped, as systemd itself judges them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import listening
from gateway.config import DrainConfig, ServerConfig
from gateway.exit_codes import ExitCode
from gateway.systemd import Notifier, PassedDescriptor, notify_address, passed_descriptors, watchdog_interval

DEADLINE = 5.0
DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"


class TestPassedDescriptors:
    """LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES."""

    def test_named(self):
        """Descriptors count from 3, each with its name."""
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "websocket:http"}

        assert passed_descriptors(environ, 7) == [PassedDescriptor(3, "websocket"), PassedDescriptor(4, "http")]

    @pytest.mark.parametrize("names", [None, "", "websocket", "a:b:c"])
    def test_without_fitting_names(self, names: str | None):
        """Names that are missing, or not as many as the descriptors, are no names."""
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2"} | ({} if names is None else {"LISTEN_FDNAMES": names})

        assert passed_descriptors(environ, 7) == [PassedDescriptor(3, ""), PassedDescriptor(4, "")]

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"LISTEN_FDS": "1"},
            {"LISTEN_PID": "7"},
            {"LISTEN_PID": "8", "LISTEN_FDS": "1"},
            {"LISTEN_PID": "7", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
            {"LISTEN_PID": "7", "LISTEN_FDS": "-1"},
            {"LISTEN_PID": "7", "LISTEN_FDS": "one"},
            {"LISTEN_PID": "7x", "LISTEN_FDS": "1"},
            {"LISTEN_PID": "7", "LISTEN_FDS": "65"},
            {"LISTEN_PID": "7", "LISTEN_FDS": "9" * 5000},
        ],
    )
    def test_none(self, environ: dict[str, str]):
        """Nothing is passed without both numbers, to another process, or with numbers that make no sense."""
        assert passed_descriptors(environ, 7) == []

    @settings(deadline=None)
    @given(st.text(max_size=4), st.text(max_size=20))
    def test_anything(self, count: str, names: str):
        """No text makes it raise."""
        assert len(passed_descriptors({"LISTEN_PID": "7", "LISTEN_FDS": count, "LISTEN_FDNAMES": names}, 7)) <= 64


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/run/systemd/notify", "/run/systemd/notify"),
        ("@abstract", "\0abstract"),
        ("", None),
        ("relative", None),
        ("vsock:2:1", None),
    ],
)
def test_notify_address(path: str, address: str | None):
    """A path, or an abstract name written with an at sign."""
    assert notify_address({"NOTIFY_SOCKET": path}) == address
    assert notify_address({}) is None


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "1"}, 0.5e-6),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None):
    """Half of what systemd waits, where it waits for this process."""
    assert watchdog_interval(environ, 7) == seconds


class Recorder:
    """Takes datagrams, or refuses them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.full = False
        self.closed = False

    def send(self, data: bytes, /) -> int:
        """Take one, or be full."""
        if self.full:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.sent.append(data)
        return len(data)

    def close(self) -> None:
        """Note it."""
        self.closed = True


class TestNotifier:
    """What is said, without systemd."""

    def test_words(self):
        """Each happening in systemd's own words."""
        recorder = Recorder()
        notifier = Notifier(recorder)

        notifier.ready("listening on 127.0.0.1:8000")
        notifier.status("12 devices")
        notifier.stopping("draining 12 devices", 45.5)

        assert recorder.sent == [
            b"READY=1\nSTATUS=listening on 127.0.0.1:8000",
            b"STATUS=12 devices",
            b"STOPPING=1\nSTATUS=draining 12 devices\nEXTEND_TIMEOUT_USEC=45500000",
        ]

    def test_status_is_one_line(self):
        """A status can neither begin another variable nor be long."""
        recorder = Recorder()

        Notifier(recorder).status("evil\nMAINPID=1\0" + "x" * 1000)

        assert b"\n" not in recorder.sent[0]
        assert recorder.sent[0].startswith(b"STATUS=evil\\nMAINPID=1\\x00")
        assert len(recorder.sent[0].decode()) <= len("STATUS=") + 201

    def test_full_queue(self, caplog: pytest.LogCaptureFixture):
        """What cannot be sent goes with the next message, the newest of each kind; there is one warning."""
        recorder = Recorder()
        notifier = Notifier(recorder)
        recorder.full = True
        notifier.ready("starting")
        notifier.status("one")
        recorder.full = False
        notifier.status("two")
        notifier.status("three")

        assert recorder.sent == [b"READY=1\nSTATUS=two", b"STATUS=three"]
        assert len(caplog.records) == 1

    async def test_watchdog_ticks(self):
        """Signs of life come at once and then again and again, until cancelled."""
        recorder = Recorder()
        watching = asyncio.ensure_future(Notifier(recorder, 0.001).watch())
        async with asyncio.timeout(DEADLINE):
            while len(recorder.sent) < 3:  # noqa: ASYNC110 - the recorder announces nothing
                await asyncio.sleep(0.001)
        watching.cancel()
        await asyncio.wait([watching])

        assert watching.cancelled()
        assert set(recorder.sent) == {b"WATCHDOG=1"}

    @pytest.mark.parametrize("notifier", [Notifier(None, 0.001), Notifier(Recorder())])
    async def test_no_watchdog(self, notifier: Notifier):
        """Where systemd wants no sign of life, watching ends at once."""
        await asyncio.wait_for(notifier.watch(), DEADLINE)

    async def test_close_ends_watching(self):
        """After closing nothing is sent, and the watch ends by itself; closing twice is as good as once."""
        recorder = Recorder()
        notifier = Notifier(recorder, 0.001)
        watching = asyncio.ensure_future(notifier.watch())
        await asyncio.sleep(0)

        notifier.close()
        notifier.close()
        notifier.status("too late")

        await asyncio.wait_for(watching, DEADLINE)
        assert recorder.closed
        assert recorder.sent == [b"WATCHDOG=1"]


Listen = Callable[[str], socket.socket]


@pytest.fixture
def systemd_at() -> Iterator[Listen]:
    """A socket as systemd has it, under a path or an abstract name."""
    sockets: list[socket.socket] = []

    def listen(address: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sockets.append(sock)
        sock.settimeout(DEADLINE)
        sock.bind(address)
        return sock

    yield listen
    for sock in sockets:
        sock.close()


class TestRealSocket:
    """The socket of `gateway.listening.notifier`."""

    @pytest.mark.parametrize("abstract", [True, False])
    def test_messages_arrive(self, tmp_path: Path, systemd_at: Listen, abstract: bool):
        """Messages arrive whole, at a path and at an abstract name."""
        name = f"@wsdevice-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        receiving = systemd_at(name.replace("@", "\0"))
        notifier = listening.notifier({"NOTIFY_SOCKET": name})

        notifier.ready("up")
        notifier.stopping("down", 1)
        notifier.close()

        assert receiving.recv(4096) == b"READY=1\nSTATUS=up"
        assert receiving.recv(4096) == b"STOPPING=1\nSTATUS=down\nEXTEND_TIMEOUT_USEC=1000000"

    async def test_watchdog(self, systemd_at: Listen):
        """With WATCHDOG_USEC for this process, signs of life arrive."""
        name = f"wsdevice-test-{os.getpid()}"
        receiving = systemd_at(f"\0{name}")
        receiving.setblocking(False)
        environ = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}
        notifier = listening.notifier(environ)
        watching = asyncio.ensure_future(notifier.watch())

        async with asyncio.timeout(DEADLINE):
            for _ in range(3):
                assert await asyncio.get_running_loop().sock_recv(receiving, 100) == b"WATCHDOG=1"

        watching.cancel()
        await asyncio.wait([watching])
        notifier.close()

    def test_queue_that_is_full(self, systemd_at: Listen):
        """A systemd that does not read never makes the gateway wait; the newest arrives when it reads again."""
        name = f"wsdevice-test-{os.getpid()}"
        receiving = systemd_at(f"\0{name}")
        notifier = listening.notifier({"NOTIFY_SOCKET": f"@{name}"})
        for number in range(2000):
            notifier.status(str(number))

        while receiving.recv(4096) != b"STATUS=0":
            raise AssertionError("expected the first status first")
        receiving.setblocking(False)
        while True:
            try:
                receiving.recv(4096)
            except BlockingIOError:
                break
        notifier.ready("back")

        assert receiving.recv(4096) == b"STATUS=back\nREADY=1"
        notifier.close()

    def test_nobody_there(self, caplog: pytest.LogCaptureFixture):
        """Without systemd nothing happens; with a socket that is gone, there is a warning and nothing happens."""
        listening.notifier({}).ready("up")
        assert caplog.records == []

        listening.notifier({"NOTIFY_SOCKET": "/nowhere/notify"}).ready("up")
        assert "cannot reach systemd" in caplog.text

    def test_systemd_goes_away(self, systemd_at: Listen, caplog: pytest.LogCaptureFixture):
        """A socket that is closed in the meantime harms nobody."""
        name = f"wsdevice-test-{os.getpid()}"
        receiving = systemd_at(f"\0{name}")
        notifier = listening.notifier({"NOTIFY_SOCKET": f"@{name}"})
        receiving.close()

        notifier.ready("up")
        notifier.close()

        assert "systemd does not take notifications" in caplog.text


def unit(name: str) -> dict[str, list[str]]:
    """Read a unit: each key with its values, in order."""
    values: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``systemd-analyze`` over copies of the units whose program exists; in CI it must be there."""
    program = shutil.which("systemd-analyze")
    if program is None:
        assert not os.environ.get("CI"), "systemd-analyze is not installed, and CI must not skip"
        pytest.skip("systemd-analyze is not installed")
    for source in DEPLOY.glob("*.s*"):
        text = source.read_text(encoding="utf-8")
        (tmp_path / source.name).write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text))

    def run(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        arguments = [program, command, "--no-pager", *options]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path)

    return run


class TestUnits:
    """The units that are shipped."""

    def test_verify(self, analyze: Callable[..., subprocess.CompletedProcess[str]]):
        """Systemd finds nothing to say about them, not even a warning; it may about other units of the machine."""
        names = ["wsdevice-http.socket", "wsdevice.service", "wsdevice.socket"]
        assert sorted(path.name for path in DEPLOY.glob("*.s*")) == names

        result = analyze("verify", "--man=no", *(f"./{name}" for name in names))

        assert result.returncode == 0, result.stderr
        assert "wsdevice" not in result.stdout + result.stderr

    def test_verify_can_fail(self, analyze: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
        """A misspelt key is seen."""
        service = tmp_path / "wsdevice.service"
        service.write_text(service.read_text().replace("PrivateTmp=", "PrivatTmp="))

        assert "PrivatTmp" in analyze("verify", "--man=no", "./wsdevice.service").stderr

    def test_security(self, analyze: Callable[..., subprocess.CompletedProcess[str]]):
        """Its exposure is at most 1.5 of 10: what is left is that it uses the network."""
        result = analyze("security", "--offline=yes", "--threshold=15", "./wsdevice.service")

        assert result.returncode == 0, result.stdout

    def test_agrees_with_the_gateway(self):
        """Times, limits, names and codes in the service are those of the gateway."""
        service, drain, server = unit("wsdevice.service"), DrainConfig(), ServerConfig()

        assert service["Type"] == ["notify"]
        assert service["KillSignal"] == ["SIGTERM"]
        assert int(service["TimeoutStopSec"][0]) > drain.spread + drain.grace
        assert int(service["LimitNOFILE"][0]) > server.max_connections + 1000
        assert service["RestartPreventExitStatus"] == [str(int(ExitCode.CANNOT_START))]
        name = service["LoadCredential"][0].partition(":")[0]
        assert f"WSDEVICE_AUTH_KEY_FILE=%d/{name}" in service["Environment"]
        assert service["StateDirectory"] == ["wsdevice"]

    @pytest.mark.parametrize(
        ("name", "what", "port"),
        [
            ("wsdevice.socket", "websocket", ServerConfig().ws_port),
            ("wsdevice-http.socket", "http", ServerConfig().http_port),
        ],
    )
    def test_sockets_agree_with_the_gateway(self, name: str, what: str, port: int):
        """The sockets have the names, ports and queue that the gateway has."""
        socket_unit = unit(name)

        assert socket_unit["FileDescriptorName"] == [what]
        assert socket_unit["ListenStream"] == [f"0.0.0.0:{port}", f"[::]:{port}"]
        assert socket_unit["Backlog"] == [str(listening.BACKLOG)]
        assert socket_unit["BindIPv6Only"] == ["ipv6-only"]
        assert socket_unit["Service"] == ["wsdevice.service"]

    def test_guide_names_every_exit_code(self):
        """The guide explains each exit code, and no other."""
        rows = re.findall(r"(?m)^\| (\d+) \|", (DEPLOY.parent / "deploy.md").read_text(encoding="utf-8"))

        assert [int(code) for code in rows] == sorted(ExitCode)
