"""The ``wsdevice`` command: the gateway's commands and the harness's, each loaded when it is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli import main as gateway_main
from harness.cli import main
from tests.process import environment, run
from tests.test_cli import INTERRUPTED

WSDEVICE = ("-m", "harness")
HEAVY = {"asyncio", "gateway.app", "gateway.serve", "harness.demo", "harness.fakes.device", "msgspec", "websockets"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing set but the state directory, and free ports on loopback."""
    return environment(tmp_path)


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str, of=main) -> str:
    """What ``--help`` prints."""
    with pytest.raises(SystemExit) as ended:
        of([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


async def loaded(env: dict[str, str], *arguments: str) -> set[str]:
    """The heavy modules that a command has loaded."""
    script = (
        "import sys\nfrom harness.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    ended = await run("-c", script, *arguments, env=env)
    return set(ended.err.splitlines()[-1].split())


class TestHelp:
    """What is said about it."""

    def test_readable(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        """Each command has one line or two, none is longer than the terminal, and the first step is told."""
        monkeypatch.setenv("COLUMNS", "80")
        text = help_of(capsys)

        assert text.startswith("usage: wsdevice [-h] [--version] COMMAND ...\n")
        assert re.findall(r"^    ([a-z-]+)", text, re.MULTILINE) == [
            "demo",
            "fake",
            "explore",
            "boards",
            "virtual-board",
            "flash",
            "monitor",
            "validate",
            "serve",
            "check-config",
            "token",
            "mailbox",
        ]
        assert max(map(len, text.splitlines())) <= 80
        assert "'wsdevice demo'" in text

    @pytest.mark.parametrize("command", ["serve", "check-config", "token", "mailbox"])
    def test_same_commands(self, capsys: pytest.CaptureFixture[str], command: str):
        """The gateway's commands take the same, whichever way they are called."""
        ours, theirs = help_of(capsys, command), help_of(capsys, command, of=gateway_main)

        assert ours.startswith(f"usage: wsdevice {command} ")
        assert re.sub(r"\s+", " ", ours) == re.sub(r"\s+", " ", theirs.replace("python -m gateway", "wsdevice"))

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["demo", "--ws-port", "65536"], ["demo", "--http-port", "-1"]])
    def test_wrong(self, capsys: pytest.CaptureFixture[str], arguments: list[str]):
        """A wrong command line is exit code 2, and the usage."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)

        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("usage: wsdevice ")

    def test_wrong_port(self, capsys: pytest.CaptureFixture[str]):
        """A port that is none says what would be."""
        with pytest.raises(SystemExit):
            main(["demo", "--ws-port", "http"])

        assert "argument --ws-port: expected a port from 0 to 65535, got 'http'" in capsys.readouterr().err


class TestLoading:
    """What is loaded when."""

    async def test_version(self, env: dict[str, str]):
        """The version costs nothing."""
        ended = await run(*WSDEVICE, "--version", env=env)

        assert (ended.code, ended.out, ended.err) == (0, f"wsdevice {__version__}\n", "")
        assert await loaded(env, "--version") == set()

    async def test_gateway_command(self, env: dict[str, str]):
        """A command of the gateway loads nothing of the harness, and not the whole gateway."""
        modules = await loaded(env, "check-config")

        assert "msgspec" in modules
        assert not {name for name in modules if name.startswith("harness.")}
        assert "gateway.app" not in modules

    async def test_gateway_command_works(self, env: dict[str, str]):
        """A command of the gateway does what it does there, exit code included."""
        env["WSDEVICE_SERVER_WS_PORT"] = "-1"
        ended = await run(*WSDEVICE, "check-config", env=env)

        assert ended.code == 2
        assert "server.ws_port" in ended.err


@pytest.mark.parametrize(("command", "module"), [("demo", "harness.demo"), ("serve", "gateway.serve")])
async def test_interrupted_before_it_begins(env: dict[str, str], command: str, module: str):
    """Ctrl-C while a command is still being loaded is exit code 130, and no traceback."""
    ended = await run("-c", INTERRUPTED.format(module=module, main="harness.cli", command=command), env=env)

    assert (ended.code, ended.out, ended.err) == (130, "", "")
