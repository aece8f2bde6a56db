"""The gateway's commands, as they are typed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.app import Gateway
from gateway.cli import main
from gateway.config import AuthConfig, Config, ServerConfig
from harness.errors import UpgradeRefused
from harness.fakes.device import FakeDevice
from tests.process import LONG, environment, run

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
KEY = "a key of more than 16 characters"
GATEWAY = ("-m", "gateway")
INTERRUPTED = """
import signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from {main} import main
raise SystemExit(main(["{command}"]))
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing set but the state directory, and free ports on loopback."""
    return environment(tmp_path)


class TestCommandLine:
    """What stands around the commands."""

    def test_version(self, capsys: pytest.CaptureFixture[str]):
        """The version is the distribution's."""
        with pytest.raises(SystemExit) as ended:
            main(["--version"])

        assert ended.value.code == 0
        assert capsys.readouterr().out == f"wsdevice {__version__}\n"

    def test_help(self, capsys: pytest.CaptureFixture[str]):
        """All commands stand in the help, with the way this program is called."""
        with pytest.raises(SystemExit):
            main(["--help"])

        text = capsys.readouterr().out
        assert text.startswith("usage: python -m gateway ")
        assert all(f"\n    {name} " in text or f"\n    {name}\n" in text for name in ("serve", "token", "mailbox"))
        assert "check-config" in text

    @pytest.mark.parametrize(
        "arguments",
        [[], ["nothing"], ["serve", "--nothing"], ["check-config", "a", "--config", "b"], ["token"], ["mailbox"]],
    )
    def test_wrong(self, capsys: pytest.CaptureFixture[str], arguments: list[str]):
        """A wrong command line is exit code 2, and the usage."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)

        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("usage: python -m gateway")

    async def test_imports(self, env: dict[str, str]):
        """Nothing that a command needs is loaded before it is called."""
        script = (
            "import sys\nfrom gateway.cli import main\n"
            "try: main(['--version'])\n"
            "finally: print(*{'asyncio', 'msgspec', 'sqlite3', 'websockets'} & set(sys.modules), file=sys.stderr)"
        )
        ended = await run("-c", script, env=env)

        assert (ended.code, ended.out, ended.err) == (0, f"wsdevice {__version__}\n", "\n")


class TestEnds:
    """How every command ends that is cut short from outside."""

    @pytest.mark.parametrize("command", ["check-config", "mailbox list"])
    async def test_output_has_no_reader(self, env: dict[str, str], tmp_path: Path, command: str):
        """Output that nobody reads is exit code 1, and no traceback."""
        async with Gateway(Config(server=ServerConfig(ws_port=0, http_port=0, state_dir=str(tmp_path)))):
            pass  # leaves a mailbox behind
        read, write = os.pipe()
        os.close(read)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *GATEWAY, *command.split(), env=env, stdout=write, stderr=asyncio.subprocess.PIPE
        )
        os.close(write)
        _, err = await asyncio.wait_for(process.communicate(), LONG)

        assert (process.returncode, err) == (1, b"")

    async def test_errors_have_no_reader(self, env: dict[str, str]):
        """Faults that nobody reads are no success either."""
        read, write = os.pipe()
        os.close(read)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *GATEWAY, "check-config", env=env | {"WSDEVICE_NOPE": "1"}, stdout=write, stderr=write
        )
        os.close(write)

        assert await asyncio.wait_for(process.wait(), LONG) == 1

    @pytest.mark.parametrize("module", ["gateway.config_file", "gateway.serve"])
    async def test_interrupted_before_it_begins(self, env: dict[str, str], module: str):
        """Ctrl-C while a command is still being loaded is exit code 130, and no traceback."""
        ended = await run("-c", INTERRUPTED.format(module=module, main="gateway.cli", command="serve"), env=env)

        assert (ended.code, ended.out, ended.err) == (130, "", "")


class TestCheckConfig:
    """``check-config``."""

    async def test_file_as_it_stands(self, env: dict[str, str], tmp_path: Path):
        """The file may be named without ``--config``."""
        (tmp_path / "gateway.toml").write_text("[drain]\ngrace = 1\n")
        ended = await run(*GATEWAY, "check-config", "gateway.toml", env=env, cwd=tmp_path)

        assert (ended.code, ended.err) == (0, "")
        assert "drain.grace from gateway.toml:2" in ended.out
        assert ended.out.endswith("\ngateway.toml: ok\n")

    async def test_lists_every_fault(self, env: dict[str, str], tmp_path: Path):
        """All faults of file and environment are listed, one a line, and counted; nothing goes to stdout."""
        (tmp_path / "gateway.toml").write_text('[server]\nws_port = "x"\nhots = []\n[drain]\ngrace = -1\n')
        env["WSDEVICE_PEER_TTL"] = "soon"
        ended = await run(*GATEWAY, "check-config", "--config", "gateway.toml", env=env, cwd=tmp_path)

        assert (ended.code, ended.out) == (2, "")
        *faults, count = ended.err.splitlines()
        assert [fault.split(": ")[:2] for fault in faults] == [
            ["gateway.toml:2", "server.ws_port"],
            ["gateway.toml:3", "server.hots"],
            ["gateway.toml:5", "drain.grace"],
            ["environment WSDEVICE_PEER_TTL", "peer.ttl"],
        ]
        assert count == "4 faults; nothing was started"

    async def test_one_fault(self, env: dict[str, str], tmp_path: Path):
        """A file that is not there is one fault."""
        ended = await run(*GATEWAY, "check-config", "--config", "none.toml", env=env, cwd=tmp_path)

        assert ended.code == 2
        assert ended.err.startswith("none.toml: file: expected a readable file")
        assert ended.err.endswith("\n1 fault; nothing was started\n")

    async def test_no_fault(self, env: dict[str, str], tmp_path: Path):
        """A good configuration is ok; where each setting came from is said, and no secret."""
        path = tmp_path / "gateway.toml"
        path.write_text(f'[auth]\nkey = "{KEY}"\n[meeting]\nthreadpool_max_workers = true\n')
        ended = await run(*GATEWAY, "check-config", env={**env, "WSDEVICE_CONFIG": str(path)})

        assert (ended.code, ended.err) == (0, "")
        lines = ended.out.splitlines()
        assert lines[0].startswith("warning: ")
        assert f"auth.key from {path}:2" in lines
        assert "server.ws_port from environment WSDEVICE_SERVER_WS_PORT" in lines
        assert lines[-1] == f"{path}: ok"
        assert KEY not in ended.out

    async def test_serve_checks_too(self, env: dict[str, str]):
        """``serve`` says the same of a bad configuration, and starts nothing."""
        ended = await run(*GATEWAY, "serve", env=env | {"WSDEVICE_SERVER_HOST": "0.0.0.0"})

        assert ended.code == 2
        assert "auth.key" in ended.err
        assert ended.err.endswith("nothing was started\n")


class TestToken:
    """``token``."""

    async def minted(self, env: dict[str, str], *arguments: str) -> str:
        """Mint a token."""
        ended = await run(*GATEWAY, "token", *arguments, env=env | {"WSDEVICE_AUTH_KEY": KEY})
        assert (ended.code, ended.err) == (0, "")
        return ended.out.rstrip("\n")

    async def test_accepted(self, env: dict[str, str], tmp_path: Path):
        """The gateway with that key takes the token, for that device and client and no other."""
        token = await self.minted(env, MAC.upper(), "--client-id", " c-1 ")
        server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
        async with Gateway(Config(server=server, auth=AuthConfig(enabled=True, key=KEY))) as gateway:
            url = gateway.websocket_url
            async with FakeDevice(url, MAC, client_id="c-1", token=token):
                pass
            for device, client, shown in ((OTHER, "c-1", token), (MAC, "c-2", token), (MAC, "c-1", "")):
                with pytest.raises(UpgradeRefused) as refused:
                    await FakeDevice(url, device, client_id=client, token=shown).connect()
                assert refused.value.status == 401

    async def test_no_client(self, env: dict[str, str]):
        """Without a client id the token is for a device that sends none."""
        assert len(await self.minted(env, MAC)) == 54

    @pytest.mark.parametrize(
        ("key", "arguments", "says"),
        [
            ("", [MAC], "expected auth.key or auth.key_file to sign with (or WSDEVICE_AUTH_KEY)"),
            (KEY, ["x" * 65], "expected a device id of at most 64 characters, got 65"),
            (KEY, [MAC, "--client-id", "a|b"], "expected a client id without '|'"),
        ],
    )
    async def test_refused(self, env: dict[str, str], key: str, arguments: list[str], says: str):
        """What no token can be made for is one line, and exit code 2."""
        ended = await run(*GATEWAY, "token", *arguments, env=env | {"WSDEVICE_AUTH_KEY": key})

        assert (ended.code, ended.out, ended.err) == (2, "", f"wsdevice: {says}\n")


class TestMailbox:
    """``mailbox``, on what a gateway has left behind."""

    async def test_list_show_purge(self, env: dict[str, str], tmp_path: Path):
        """A message that waits is listed, shown without its body, and purged."""
        server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
        async with Gateway(Config(server=server)) as gateway, FakeDevice(gateway.websocket_url, MAC) as device:
            await device.send({"type": "peer", "to": OTHER, "payload": {"text": "the body"}, "id": "m-1"})
            await device.expect("peer", enqueued=[OTHER])

        listed = await run(*GATEWAY, "mailbox", "list", env=env)
        shown = await run(*GATEWAY, "mailbox", "show", OTHER.upper(), env=env)
        purged = await run(*GATEWAY, "mailbox", "purge", OTHER, env=env)
        empty = await run(*GATEWAY, "mailbox", "list", "--device", OTHER, env=env)

        assert [ended.code for ended in (listed, shown, purged)] == [0, 0, 0]
        assert OTHER in listed.out
        assert "m-1" in shown.out
        assert "the body" not in shown.out
        assert "1" in purged.out
        assert "m-1" not in empty.out

    async def test_damaged(self, env: dict[str, str], tmp_path: Path):
        """A mailbox that cannot be read is exit code 3, as for ``serve``, and one line."""
        (tmp_path / "mailbox.db").write_bytes(b"no database" * 1000)
        for action in (["list"], ["show", OTHER], ["purge", OTHER]):
            ended = await run(*GATEWAY, "mailbox", *action, env=env)

            assert (ended.code, ended.out) == (3, "")
            assert ended.err.startswith("wsdevice mailbox: ")
            assert ended.err.count("\n") == 1

    def test_bad_device(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        """A device id that is none is one line, and exit code 2."""
        monkeypatch.setenv("WSDEVICE_SERVER_STATE_DIR", str(tmp_path))
        assert main(["mailbox", "show", "a\tb"]) == 2
        assert capsys.readouterr().err.startswith("wsdevice: expected a device id of printable characters")


def test_as_a_module():
    """``python -m gateway`` is this ``main``."""
    import gateway.__main__ as module

    assert module.main is main
    assert sys.modules["gateway.cli"].main is main
