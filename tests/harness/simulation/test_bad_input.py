"""What a peer should not send, in the simulation and over loopback: the same bytes come back, and the same end."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import pytest

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig, ServerConfig
from harness.simulation.loop import SimulatedLoop, run
from tests.raw_gateway import HELLO
from tests.raw_peer import DEADLINE, say, upgrade
from tests.test_bad_input import FINE_FRAMES, FRAMES, GOOD_ORIGIN, OK, REQUESTS

PING, PONG = say({"type": "ping"}), b'{"type":"pong"}'
CONFIG = Config(
    server=ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, allowed_origins=[GOOD_ORIGIN]),
    mailbox=MailboxConfig(path=":memory:"),
)


_OWN = re.compile(rb"[0-9a-f]{32}|(?<=Date: )[^\r]+")  # session ids, and the time of day


class Script(NamedTuple):
    """What a peer does.

    Attributes:
        says: bytes; each but the first once something has come for the one before.
        until: bytes after which it hears no more; empty: until the gateway ends the connection.
    """

    says: tuple[bytes, ...]
    until: bytes


class Answered(NamedTuple):
    """What it was answered, without what two runs never share, and how the connection ended."""

    data: bytes
    end: str


_REQUESTS = {
    f"request: {name}": Script((data,), b"\r\n\r\n" if status == OK else b"")
    for name, (data, status) in REQUESTS.items()
}
_FRAMES = {f"frame: {name}": Script((upgrade(), say(HELLO), data + PING), b"") for name, (data, _) in FRAMES.items()}
_FINE = {f"fine: {name}": Script((upgrade(), say(HELLO), data), PONG) for name, data in FINE_FRAMES.items()}
SCRIPTS = _REQUESTS | _FRAMES | _FINE


async def play(script: Script, host: str = "127.0.0.1", network: Any = None) -> Answered:
    """Play a script against a gateway of its own, in the running loop."""
    async with Gateway(CONFIG, network=network) as gateway, asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(host, gateway.network.port("websocket"))
        data, end = b"", "open"
        try:
            for says in script.says[:-1]:
                writer.write(says)
                data += await reader.read(65536)
            writer.write(script.says[-1])
            while not (script.until and script.until in data):
                more = await reader.read(65536)
                if not more:
                    end = "end of stream"
                    break
                data += more
        except ConnectionError as error:
            end = type(error).__name__
        finally:
            writer.transport.abort()
    return Answered(_OWN.sub(b"<own>", data), end)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_same_as_over_loopback(script: Script):
    """Every row of the tables of bad handshakes and frames, and of frames that are just allowed."""

    async def simulated(loop: SimulatedLoop) -> Answered:
        machine = loop.network.host("gw")
        return await machine.spawn(play(script, "gw", machine.listening(8000, 8003)))

    assert run(simulated, seed=1) == asyncio.run(play(script))
