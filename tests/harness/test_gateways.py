"""The gateway under test: one of the test's own, over its restarts, and one that is seen from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import AuthConfig, Config, DrainConfig, HandoverConfig, MailboxConfig
from gateway.identity import device_id
from gateway.observe.events import Event, GatewayStopped
from gateway.protocol.tokens import mint
from harness.device import LinkView
from harness.errors import Misuse
from harness.fakes.device import FakeDevice
from harness.gateways import ExternalGateway, OwnGateway

KEY = "a key of 16 letters"


async def online(gateway: OwnGateway, name: str = "aa") -> FakeDevice:
    """A device of this gateway."""
    device = FakeDevice(gateway.url, name, view=gateway.link)
    await device.go_online()
    return device


async def test_life(tmp_path: Path):
    """It is started, stopped and started again on the same ports with the same state; each misuse says so."""
    seen: list[Event] = []
    config = Config(drain=DrainConfig(spread=0, grace=0))
    gateway = OwnGateway(config, tmp_path / "state", observers=[seen.append])
    with pytest.raises(Misuse, match="a gateway that runs"):
        gateway.url  # noqa: B018 - it raises
    await gateway.start()
    with pytest.raises(Misuse, match="a gateway that is stopped"):
        await gateway.start()
    urls = gateway.url, gateway.http_url
    kitchen = await online(gateway)
    await kitchen.send({"type": "peer", "to": ["bb"], "payload": {"text": "tea"}, "id": "m1"})
    await kitchen.expect("peer", status="done", enqueued=["bb"])
    await gateway.restart()
    assert (gateway.url, gateway.http_url) == urls
    hallway = await online(gateway, "bb")
    await hallway.expect("peer", id="m1", redelivered=True)
    await gateway.drain()
    await gateway.stop()
    assert [event.clean for event in seen if isinstance(event, GatewayStopped)] == [True, True]
    await kitchen.aclose()
    await hallway.aclose()


async def test_link(tmp_path: Path):
    """What it knows of a device: present or not, its session, its connections, how often it came, how it ended."""
    gateway = OwnGateway(Config(handover=HandoverConfig(window=0.05)), tmp_path)
    await gateway.start()
    assert gateway.link("aa") == LinkView(present=False, session="", connections=0, arrivals=0, close_code=None)
    old = await online(gateway)
    assert old.link == LinkView(present=True, session=old.session_id, connections=1, arrivals=1, close_code=None)
    new = await online(gateway, " AA ")
    assert (new.link.connections, new.link.arrivals) == (2, 2)
    assert await old.expect_close() == 4001
    await old.closed.wait()
    await new.send({"type": "ping"})
    await new.expect("pong")
    assert new.link == LinkView(present=True, session=old.session_id, connections=1, arrivals=2, close_code=4001)
    await gateway.stop()
    assert (new.link.present, new.link.connections) == (False, 0)
    await old.aclose()
    await new.aclose()


async def test_tokens(tmp_path: Path):
    """It mints a token that it takes itself; where it asks for none, there is none."""
    gateway = OwnGateway(Config(auth=AuthConfig(enabled=True, key=KEY)), tmp_path)
    await gateway.start()
    device = FakeDevice(gateway.url, "aa")
    device.token = gateway.token_for("AA", device.client_id)
    await device.go_online()
    await device.aclose()
    await gateway.stop()

    assert OwnGateway(Config(), tmp_path).token_for("aa", "c") == ""


def test_state_is_its_own(tmp_path: Path):
    """Ports and state directory of the configuration are replaced, the rest is kept."""
    config = Config(mailbox=MailboxConfig(per_device=7))

    own = OwnGateway(config, tmp_path).config

    assert (own.server.ws_port, own.server.http_port, own.server.host) == (0, 0, ["127.0.0.1"])
    assert (own.server.state_dir, own.mailbox.per_device) == (str(tmp_path), 7)


def test_external():
    """One that is seen from outside tells nothing of its devices; with its key it has tokens."""
    gateway = ExternalGateway("ws://h/", Config(auth=AuthConfig(key=KEY)), "http://h")
    token = gateway.token_for("aa", "c")

    assert (gateway.url, gateway.http_url, gateway.capabilities) == ("ws://h/", "http://h", {"tokens"})
    assert token == mint(KEY, "c", device_id("aa"), float(token.rpartition(".")[2]))
    assert (ExternalGateway("ws://h/").capabilities, ExternalGateway("ws://h/").token_for("aa", "c")) == (set(), "")
    with pytest.raises(Misuse, match="seen from inside"):
        gateway.link("aa")
