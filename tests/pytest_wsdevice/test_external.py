"""``--ws-gateway-url``: the same tests on a gateway that runs elsewhere, seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import AuthConfig, Config, PeerConfig
from harness.blocking import BlockingGateway, LoopThread
from harness.gateways import OwnGateway
from tests.pytest_wsdevice.conftest import Run

KEY = "a key of 16 letters"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[BlockingGateway]:
    """A gateway that asks for tokens, in a thread of the outer run."""
    config = Config(auth=AuthConfig(enabled=True, key=KEY), peer=PeerConfig(burst=7))
    with LoopThread() as thread:
        gateway = BlockingGateway(OwnGateway(config, tmp_path / "state"), thread)
        gateway.start()
        yield gateway
        gateway.stop()


TEST = """
import pytest
pytestmark = pytest.mark.asyncio

async def test_talks(ws_gateway, ws_device):
    await ws_device.send({"type": "ping"})
    assert await ws_device.expect("pong") == {"type": "pong"}
    assert ws_gateway.url == "URL"
    assert ws_gateway.http_url == "HTTP"

@pytest.mark.ws_needs("events")
async def test_looks_inside(ws_device):
    raise AssertionError

@pytest.mark.ws_gateway_config(peer={"burst": 7})
async def test_as_configured(ws_device):
    pass

@pytest.mark.ws_gateway_config(peer={"burst": 8})
async def test_otherwise_configured(ws_device):
    raise AssertionError

@pytest.mark.ws_gateway_config(adapts=True, peer={"burst": 8})
async def test_adapts(ws_gateway, ws_device):
    assert ws_gateway.config.peer.burst == 7
"""


def test_external(run: Run, elsewhere: BlockingGateway, tmp_path: Path):
    """Tests talk to it; those that need what it does not show, or other settings, say so and are skipped."""
    config = tmp_path / "gateway.toml"
    config.write_text(f'[auth]\nenabled = true\nkey = "{KEY}"\n[peer]\nburst = 7\n')
    urls = "--ws-gateway-url", elsewhere.url, "--ws-gateway-http-url", elsewhere.http_url
    test = TEST.replace("URL", elsewhere.url).replace("HTTP", elsewhere.http_url)

    result = run(test, *urls, f"--ws-gateway-config={config}", "-rs")

    result.assert_outcomes(passed=3, skipped=2)
    result.stdout.fnmatch_lines(
        [
            f"wsdevice: {elsewhere.url}; fake devices over loopback sockets",
            "SKIPPED*needs events, which the gateway at ws://*, which shows itself only to its devices, does not have",
            "SKIPPED*needs a gateway with peer.burst = 8; if the one at ws://* has that, say so with *",
        ]
    )


def test_unknown_view(run: Run, elsewhere: BlockingGateway, tmp_path: Path):
    """A device of it cannot say what the gateway knows, and says why."""
    config = tmp_path / "gateway.toml"
    config.write_text(f'[auth]\nenabled = true\nkey = "{KEY}"\n')
    test = "def test_it(ws_device):\n    ws_device.link\n"

    result = run(test, "--ws-gateway-url", elsewhere.url, f"--ws-gateway-config={config}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Misuse: expected a gateway that tells what it knows of device*"])


def test_nobody_there(run: Run):
    """A gateway that is not there is an error that names it."""
    result = run("def test_it(ws_device):\n    pass\n", "--ws-gateway-url", "ws://127.0.0.1:1/")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cannot connect to ws://127.0.0.1:1/: Connection refused"])
