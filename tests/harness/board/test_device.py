"""A board as a device: orders to a firmware in the test's loop, whose connection goes through a front to a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from websockets.frames import Close, Opcode

from harness.bench.front import Front
from harness.board import device as module
from harness.board.device import BoardDevice
from harness.errors import CannotConnect, ExpectationFailed, FirmwareWouldFail, Misuse, NotConnected, UpgradeRefused
from harness.gateways import OwnGateway
from harness.records import WireClosed, WireFrame, WireOpened, WireRecord
from tests.harness.board.conftest import Made
from tests.harness.board.firmware import ALL, MAC, BoardInLoop

SOON = 5.0


# --- connecting ---------------------------------------------------------------------------------------------------


async def test_hello_with_other_fields(made: Made):
    """Fields of hello may differ; its answer is returned."""
    device = made()
    await device.connect()
    answer = await device.hello(version=3)

    assert (answer["type"], answer["session_id"]) == ("hello", device.session_id)


async def test_a_slow_reader_with_its_own_settings(board: BoardInLoop, made: Made):
    """All options of fake devices reach the firmware; with the same ones it is not told again."""
    options = {"framing": 3, "features": {"aec": True}, "acks": False, "headers": {"X": "y"}, "token": "t"}
    device = made(**options, reads_bytes_per_second=1e6)
    await device.go_online()
    await device.go_online()

    fake = board.connection.device
    assert fake is not None
    assert (fake.framing, fake.features, fake.acks, fake.headers, fake.token) == tuple(options.values())
    assert (fake.client_id, fake.device_id, fake.reads_bytes_per_second) == ("a-client", MAC, 1e6)
    assert board.verbs_written().count("configure") == 1


async def test_firmware_that_has_started_anew_is_configured_anew(device: BoardDevice, board: BoardInLoop):
    """A crash, or a reboot that the gateway asked for: nobody has told the harness, but the console has."""
    await board.stop()
    await board.start()
    await device.go_online()

    assert board.verbs_written().count("configure") == 2
    assert device.is_online


# --- going away -------------------------------------------------------------------------------------------------


async def test_connects_anew(device: BoardDevice, gateway: OwnGateway):
    """The connection it had is cut, and what is unread of it is forgotten."""
    await device.send({"type": "ping"})
    await device.send({"type": "ping", "id": 2})
    await device.expect("pong", id=2)
    first = device.session_id
    await device.go_online()

    assert device.session_id != first
    with pytest.raises(ExpectationFailed):
        await device.expect("pong", timeout=0)


async def test_firmware_that_has_no_order_to_cut(made: Made):
    """To connect anew it needs none: the firmware ends by itself what it had."""
    device = made(ALL - {"cut"})
    await device.go_online()
    await device.go_online()

    assert device.is_online
    with pytest.raises(Misuse, match="can be asked for 'cut'"):
        device.cut()


async def test_cut(device: BoardDevice, made: Made):
    """The connection ends without a Close frame; there is nothing to send on any more."""
    device.cut()

    assert await device.expect_close() == 1006
    assert device.closed.is_set()
    with pytest.raises(NotConnected, match=r"^board cannot send: its connection ended with 1006"):
        await device.send({"type": "ping"})
    assert made.happened[2:] == [
        "cuts its connection: end of TCP, no Close frame",
        "has lost its connection: its connection ended with 1006",
    ]
    device.cut()
    assert made.happened[4:] == []


async def test_polite_close(device: BoardDevice):
    """It leaves with a Close frame that the gateway answers."""
    await device.close(1000, "bye")

    assert device.close_code == 1000
    assert not device.is_online


async def test_vanish(device: BoardDevice, gateway: OwnGateway):
    """It falls silent; the gateway still has it. It can come back on another connection."""
    device.vanish()
    with pytest.raises(NotConnected, match="vanished"):
        await device.send({"type": "ping"})
    with pytest.raises(Misuse, match="to have a connection, but its connection has vanished"):
        device.vanish()
    assert not device.is_online
    assert device.link.present

    await device.go_online()
    assert device.is_online


async def test_a_connection_that_it_has_left_behind(device: BoardDevice, gateway: OwnGateway):
    """Where another one cannot be had, there is none, and nobody waits for the end of the one before."""
    device.vanish()
    await gateway.stop()
    with pytest.raises(CannotConnect):
        await device.connect()

    assert device.closed.is_set()
    assert not device.is_online


async def test_not_connected_yet(made: Made):
    """Without a connection nothing can be sent, cut or vanish."""
    device = made()
    device.cut()
    with pytest.raises(Misuse, match="to have a connection, but it has not connected"):
        device.vanish()
    with pytest.raises(Misuse, match="expected 'configure' before"):
        await device.send({"type": "ping"})
    assert device.closed.is_set()


async def test_closed_by_the_gateway(device: BoardDevice, gateway: OwnGateway):
    """Its Close frame's code is known, and what came before it can still be read."""
    await device.send({"type": "ping"})
    await device.expect("pong", timeout=SOON)
    link = gateway.gateway.registry.get(MAC)
    assert link is not None
    link.channel.connection.close(4010, "kicked", 0.1)

    assert await device.expect_close() == 4010
    with pytest.raises(ExpectationFailed, match="its connection ended with 4010"):
        await device.expect("nothing")


# --- what is wrong ------------------------------------------------------------------------------------------------


async def test_refused(made: Made, gateway: OwnGateway, front: Front):
    """A refusal has the status and the reason of the gateway; where nobody listens there is no connection."""
    device = made()
    device._way = front.url.replace("/xiaozhi", "/elsewhere")
    with pytest.raises(UpgradeRefused) as caught:
        await device.connect()
    assert caught.value.status == 404
    assert caught.value.headers

    await gateway.stop()
    device._way = front.url
    with pytest.raises(CannotConnect, match=front.url):
        await device.connect()


async def test_connected_elsewhere(made: Made, gateway: OwnGateway, monkeypatch: pytest.MonkeyPatch):
    """A board that went another way cannot be listened to, and that is said."""
    monkeypatch.setattr(module, "_OPEN_WAIT", 0.2)
    device = made()
    device._way = gateway.url
    with pytest.raises(CannotConnect, match="no connection of its id came to this machine"):
        await device.connect()


async def test_a_spoilt_test(device: BoardDevice):
    """Whoever waits, or wants anything more, is told why the test is over; nothing more is written to the board."""
    waiting = asyncio.create_task(device.expect("nothing", 60))
    await asyncio.sleep(0)
    device.spoil(FirmwareWouldFail("it crashed"))

    for refused in (waiting, device.send({"type": "ping"}), device.expect_close(), device.expect_nothing("x", 1)):
        with pytest.raises(FirmwareWouldFail, match="it crashed"):
            await refused


async def test_link_of_a_gateway_that_does_not_tell(made: Made):
    """It is not guessed."""
    with pytest.raises(Misuse, match="seen from outside"):
        _ = made(view=None).link


async def test_clone(made: Made, device: BoardDevice, gateway: OwnGateway):
    """A copy of its NVS is a fake device with its id and settings, that goes straight to the gateway."""
    device.url = gateway.url
    device.token = "t"
    clone = device.clone("copy", framing=2)
    assert (clone.name, clone.device_id, clone.client_id, clone.token) == ("copy", MAC, "a-client", "t")
    assert (clone.body, clone.framing, clone.features) == ("fake", 2, {"mcp": True})

    async with clone:
        assert await device.expect_close()
        assert clone.link.present


# --- the end ----------------------------------------------------------------------------------------------------


async def test_the_end(device: BoardDevice, board: BoardInLoop, gateway: OwnGateway):
    """Its connection is cut; twice is once."""
    await device.aclose()
    await device.aclose()

    assert device.closed.is_set()
    assert board.trusted
    assert board.verbs_written().count("cut") == 1


async def test_a_board_that_does_not_end_its_connection(
    device: BoardDevice, board: BoardInLoop, made: Made, monkeypatch: pytest.MonkeyPatch
):
    """No test fails for it, and none waits long: the next test gets it reset. It is told once."""
    monkeypatch.setattr(module, "_CUT_WAIT", 0.1)
    board.deaf = True
    await device.aclose()
    await device.aclose()

    assert not board.trusted
    assert made.happened[2:] == ["did not end its connection: it does not answer"]


async def test_a_connection_that_outlives_its_cut(
    device: BoardDevice, board: BoardInLoop, monkeypatch: pytest.MonkeyPatch
):
    """To connect anew, the old one has to be gone; it is said that it is not."""
    monkeypatch.setattr(module, "_CUT_WAIT", 0.1)
    board.answers["cut"] = "I (1) wsdevice: {number} ok {{}}"
    with pytest.raises(ExpectationFailed, match=r"board expected its connection to be gone, but after 0\.1 s"):
        await device.connect()
    board.answers.clear()


# --- records out of order -----------------------------------------------------------------------------------------


class Told:
    """A device whose connections a test tells.

    Attributes:
        listened: it wants to be told.
    """

    def __init__(self, made: Made) -> None:
        self._tell: Callable[[WireRecord], None] = lambda _: None
        self.listened = True
        self.device = made(attend=self._attend)

    def _attend(self, _: str, attention: Callable[[WireRecord], None]) -> Callable[[], None]:
        self._tell = attention
        return lambda: setattr(self, "listened", False)

    def opened(self, connection: int) -> None:
        """A connection came."""
        self._tell(WireOpened(0.0, connection, {}))

    def closed(self, connection: int) -> None:
        """One went."""
        self._tell(WireClosed(0.0, connection, ""))

    def frame(self, connection: int, opcode: Opcode, payload: bytes) -> None:
        """The gateway has sent something."""
        self._tell(WireFrame(0.0, connection, False, opcode, payload))


async def test_the_end_of_a_connection_that_it_left_behind(made: Made):
    """It may be told of after the beginning of the next one, and is not that one's."""
    told = Told(made)
    told.opened(1)
    told.opened(2)
    told.closed(1)
    told.frame(1, Opcode.TEXT, b'{"type":"late"}')
    assert not told.device.closed.is_set()
    assert told.device.received == ()

    told.closed(2)
    assert told.device.closed.is_set()
    assert told.device.close_code == 1006
    await told.device.aclose()
    assert not told.listened


@pytest.mark.parametrize(
    ("opcode", "payload", "what"),
    [
        (Opcode.TEXT, b"nonsense", "a text frame of 8 bytes"),
        (Opcode.BINARY, b"", "a binary frame that is not of version 1"),
        (Opcode.CLOSE, b"\x03", "a Close frame of 1 bytes"),
    ],
)
async def test_what_no_firmware_can_take(made: Made, opcode: Opcode, payload: bytes, what: str):
    """It is the gateway's fault, of that connection; the next one begins without it."""
    told = Told(made)
    told.opened(1)
    told.frame(1, opcode, payload)
    told.closed(1)
    with pytest.raises(FirmwareWouldFail, match=f"the gateway sent board {what}"):
        await told.device.expect("anything")
    assert any(happened.startswith(f"would crash on {what}") for happened in made.happened)

    told.opened(2)
    told.closed(2)
    with pytest.raises(ExpectationFailed, match="its connection ended with 1006"):
        await told.device.expect("anything")


async def test_a_close_frame(made: Made):
    """Its code is that of the connection; one without is 1005."""
    told = Told(made)
    for payload, code in ((Close(4321, "x").serialize(), 4321), (b"", 1005)):
        told.opened(code)
        told.frame(code, Opcode.CLOSE, payload)
        told.closed(code)
        assert told.device.close_code == code
