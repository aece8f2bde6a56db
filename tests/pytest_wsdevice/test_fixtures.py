"""The fixtures, as users' tests have them: async in both modes, plain, with their own conftest."""

from __future__ import annotations

import pytest

from tests.pytest_wsdevice.conftest import Run

ASYNC = """
import pytest

{mark}
async def test_message_waits(ws_gateway, ws_devices, ws_timeline):
    kitchen = await ws_devices("kitchen")
    hallway = await ws_devices("hallway", online=False)
    await kitchen.send({{"type": "peer", "to": [hallway.device_id], "payload": {{"text": "tea"}}}})
    await kitchen.expect("peer", status="done", enqueued=[hallway.device_id])
    await hallway.go_online()
    await hallway.expect("peer", redelivered=True)
    assert hallway.link.present
    assert ws_gateway.link(kitchen.device_id).session == kitchen.session_id
    assert len(ws_timeline) > 5

{mark}
async def test_one_device(ws_device):
    await ws_device.send({{"type": "ping"}})
    assert await ws_device.expect("pong") == {{"type": "pong"}}
"""
PLAIN = """
import time

def test_plain(ws_gateway, ws_device, ws_devices, ws_timeline):
    ws_device.send({"type": "ping"})
    assert ws_device.expect("pong") == {"type": "pong"}
    other = ws_devices("other", like=ws_device)
    ws_device.expect("system")
    assert other.link.connections == 2
    assert ws_gateway.link(other.device_id).present
    assert "other" in ws_timeline.listing()
"""


@pytest.mark.parametrize("network", ["tcp", "sim"])
@pytest.mark.parametrize(("mode", "mark"), [("strict", "@pytest.mark.asyncio"), ("auto", "")])
def test_async(run: Run, mode: str, mark: str, network: str):
    """Async tests have them in both modes of pytest-asyncio, over sockets and in virtual time."""
    run(ASYNC.format(mark=mark), "--ws-network", network, mode=mode).assert_outcomes(passed=2)


@pytest.mark.parametrize("network", ["tcp", "sim"])
def test_plain(run: Run, network: str):
    """Plain tests have façades of the same names; they are over sockets in any case."""
    run(PLAIN, "--ws-network", network).assert_outcomes(passed=1)


def test_own_state(run: Run):
    """Each test has a gateway with state of its own, and devices that no other test has."""
    test = """
import pytest
pytestmark = pytest.mark.asyncio
seen = set()

@pytest.mark.parametrize("n", range(3))
async def test_it(ws_gateway, ws_device, n):
    assert ws_gateway.config.server.state_dir not in seen
    assert ws_device.device_id not in seen
    assert ws_gateway.link(ws_device.device_id).arrivals == 1
    seen.update({ws_gateway.config.server.state_dir, ws_device.device_id})
"""
    run(test, "--ws-network=tcp").assert_outcomes(passed=3)
    # in virtual time the ids are drawn from the same seed: each test has a network of its own
    run(test.replace("    assert ws_device.device_id not in seen\n", "")).assert_outcomes(passed=3)


def test_own_conftest(run: Run):
    """Users build fixtures of their own on them, async and plain ones."""
    conftest = """
import pytest, pytest_asyncio

@pytest_asyncio.fixture
async def kitchen(ws_devices):
    return await ws_devices("kitchen")

@pytest.fixture
def address(ws_gateway):
    return ws_gateway.url
"""
    test = """
import pytest

@pytest.mark.asyncio
async def test_it(kitchen, address):
    assert kitchen.url == address
    await kitchen.send({"type": "ping"})
    await kitchen.expect("pong")
"""
    run(test, other={"conftest": conftest}).assert_outcomes(passed=1)


def test_configuration(run: Run):
    """A marker sets the gateway up, from the module's to the test's own; further gateways take theirs besides."""
    test = """
import pytest
pytestmark = [pytest.mark.asyncio, pytest.mark.ws_gateway_config(peer={"burst": 7, "per_second": 3})]

@pytest.mark.ws_gateway_config(peer={"burst": 9}, workflow={"test_mode": True})
async def test_it(ws_gateway, ws_gateways):
    assert (ws_gateway.config.peer.burst, ws_gateway.config.peer.per_second) == (9, 3)
    assert ws_gateway.config.workflow.test_mode
    other = await ws_gateways(peer={"burst": 2})
    assert other.config.peer.burst == 2
    assert other.url != ws_gateway.url
"""
    run(test).assert_outcomes(passed=1)


def test_tokens(run: Run):
    """Where the gateway asks for tokens, devices have them; one can be made without."""
    test = """
import pytest
from harness.errors import UpgradeRefused
pytestmark = [pytest.mark.asyncio, pytest.mark.ws_gateway_config(auth={"enabled": True, "key": "a key of 16 letters"})]

async def test_it(ws_device, ws_devices):
    stranger = await ws_devices(token="", online=False)
    with pytest.raises(UpgradeRefused, match="401"):
        await stranger.connect()
"""
    run(test).assert_outcomes(passed=1)


def test_all_is_ended(run: Run):
    """When a test is over nothing of it runs any more, whether it passed or failed, restarts included."""
    test = """
import asyncio, gc, socket, threading
import pytest

@pytest.mark.asyncio
async def test_async(ws_gateway, ws_devices):
    old = await ws_devices("old")
    old.vanish()
    await ws_gateway.restart()
    await ws_devices("new")
    raise AssertionError

def test_plain(ws_gateway, ws_device):
    ws_gateway.restart()
    raise AssertionError

def test_after():
    gc.collect()
    assert [thread.name for thread in threading.enumerate() if "wsdevice" in thread.name] == []
    assert [one for one in gc.get_objects() if isinstance(one, asyncio.Task) and not one.done()] == []
"""
    result = run(test)
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.no_fnmatch_line("*ResourceWarning*")


@pytest.mark.parametrize(
    ("test", "settings"),
    [
        ("@pytest.mark.asyncio(loop_scope='module')", ""),
        ("@pytest.mark.asyncio", "asyncio_default_test_loop_scope = 'session'"),
    ],
)
def test_another_loop(run: Run, test: str, settings: str):
    """A test whose loop is not that of its fixtures is refused with what is right."""
    result = run(f"import pytest\n\n{test}\nasync def test_it(ws_device):\n    pass\n", settings=settings)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*test_it.py::test_it: expected a test with an event loop of its own*loop_scope='function'*"]
    )
