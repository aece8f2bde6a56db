"""A board as a device: orders to a firmware in the test's loop, whose connection goes through a front to a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Close, CloseCode, Opcode

from gateway.config import Config, HandoverConfig
from harness.bench.front import Front
from harness.board import device as module
from harness.board import orders as orders_module
from harness.board.device import BoardDevice, able
from harness.board.orders import NoAnswer, OrderFailed, Orders
from harness.device import Device, Settings
from harness.errors import (
    CannotConnect,
    ExpectationFailed,
    FirmwareWouldFail,
    HarnessError,
    Misuse,
    NotConnected,
    UpgradeRefused,
)
from harness.gateways import OwnGateway
from harness.records import FramePassed, Happened, WireClosed, WireFrame, WireOpened, WireRecord
from tests.harness.board.firmware import ALL, MAC, BoardInLoop
from tests.harness.virtual.firmware.stage import Board

SOON = 5.0


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The address that boards know."""
    with Front("127.0.0.1", tmp_path_factory.mktemp("home")) as front:
        yield front


@pytest.fixture
async def gateway(tmp_path: Path, front: Front) -> AsyncIterator[OwnGateway]:
    """The gateway of the test, with a short handover, where the front leads."""
    gateway = OwnGateway(Config(handover=HandoverConfig(window=0.1)), tmp_path / "state")
    await gateway.start()
    network = gateway.gateway.network
    front.lead_to(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))
    yield gateway
    front.lead_home()
    await gateway.stop()


@pytest.fixture
async def board(front: Front, gateway: OwnGateway) -> AsyncIterator[BoardInLoop]:
    """A board with power; gone before the gateway, which would wait for it."""
    channel = await Board.open()
    board = BoardInLoop(channel, front)
    await board.start()
    yield board
    await board.stop()
    await channel.aclose()


class Made:
    """Makes devices of the board, and keeps what they tell."""

    def __init__(self, board: BoardInLoop, front: Front, view: Callable[[str], Any]) -> None:
        self.told: list[FramePassed | Happened] = []
        self.devices: list[BoardDevice] = []
        self.orders: Orders
        self._board = board
        self._front = front
        self._view = view

    def __call__(self, verbs: frozenset[str] = ALL, **options: Any) -> BoardDevice:
        """Make one."""
        self.orders = Orders(self._board)
        given = {"view": self._view, "client_id": "a-client", "attend": self._front.attend, "watch": self.told.append}
        device = BoardDevice(
            name="board",
            body="virtual",
            device_id=MAC,
            url="ws://gateway/",
            way=self._front.url,
            orders=self.orders,
            verbs=verbs,
            handle=self._board,
            **{**given, **options},
        )
        self.devices.append(device)
        return device

    @property
    def happened(self) -> list[str]:
        """What happened, in words."""
        return [record.what for record in self.told if isinstance(record, Happened)]


@pytest.fixture
async def made(board: BoardInLoop, front: Front, gateway: OwnGateway) -> AsyncIterator[Made]:
    """Makes devices of the board."""
    made = Made(board, front, gateway.link)
    yield made
    for device in made.devices:
        await device.aclose()


@pytest.fixture
async def device(made: Made) -> BoardDevice:
    """A device that is online."""
    device = made()
    await device.go_online()
    return device


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the loop will do."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110 - of what passes, and has no event
            await asyncio.sleep(0.005)


# --- talking ----------------------------------------------------------------------------------------------------


async def test_a_conversation(device: BoardDevice, gateway: OwnGateway, made: Made):
    """It connects, says hello, sends and receives; what passes is shown, and what the gateway knows of it."""
    await device.send({"type": "ping"})
    await device.expect("pong")

    assert device.is_online
    assert device.link.present
    assert device.link.session == device.session_id != ""
    assert device.close_code is None
    assert made.happened == ["connects", "is connected: 101"]
    passed = [(one.device, one.sent, one.opcode) for one in made.told if isinstance(one, FramePassed)]
    assert passed == [("board", sent, Opcode.TEXT) for sent in (True, False, True, False)]
    checked: Device = device
    assert checked.name == "board"


async def test_hello_with_other_fields(made: Made):
    """Fields of hello may differ; its answer is returned."""
    device = made()
    await device.connect()
    answer = await device.hello(version=3)

    assert (answer["type"], answer["session_id"]) == ("hello", device.session_id)


async def test_audio_both_ways(device: BoardDevice):
    """Opus packets come back from the loopback engine."""
    await device.send({"type": "listen", "state": "start", "mode": "manual"})
    for packet in (b"first", b"second"):
        await device.send_audio(packet, timestamp_ms=60)
    await device.send({"type": "listen", "state": "stop"})
    await device.expect("tts", state="stop")

    assert list(device.audio) == [b"first", b"second"]


async def test_frames_of_any_kind(device: BoardDevice, gateway: OwnGateway):
    """Text, pings and bytes that are no frames are put on the wire as they are."""
    await device.send_text('{"type":"ping"}')
    await device.send_text(b'{"type": "ping"}')
    for _ in range(2):
        await device.expect("pong")
    await device.send_ping(b"there?")
    await device.send_bytes(b"\xff" * 20)

    assert await device.expect_close() == CloseCode.PROTOCOL_ERROR
    await until(device.closed.is_set)


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


# --- the board --------------------------------------------------------------------------------------------------


async def test_power(device: BoardDevice, board: BoardInLoop, made: Made):
    """Without power it is silent, and the gateway not told; with power it can go online again. Twice is once."""
    await device.power_off()
    await device.power_off()
    assert device.link.present
    assert device.link.connections == 1
    assert not device.is_online

    await device.power_on()
    await device.power_on()
    await device.go_online()

    assert device.is_online
    assert device.link.arrivals == 2
    assert [what for what in made.happened if "power" in what] == ["loses power", "has power"]


async def test_power_on_is_no_news_to_a_device_that_has_it(device: BoardDevice, board: BoardInLoop):
    """It goes online anew afterwards, as any device does."""
    session = device.session_id
    await device.power_on()
    await device.go_online()

    assert device.session_id != session


async def test_firmware_that_connects_by_itself(device: BoardDevice, board: BoardInLoop, made: Made):
    """After power came back it is left as it is; the answer to its own hello is not taken for that of another."""
    board.automatic = True
    await device.send({"type": "ping"})
    await device.expect("pong", timeout=SOON)
    await device.send({"type": "ping", "id": "stale"})
    await until(lambda: len(device.received) == 3)
    await device.power_off()
    await device.power_on()
    session = device.session_id
    await device.go_online()

    assert device.session_id == session
    assert board.verbs_written().count("connect") == 1
    with pytest.raises(ExpectationFailed, match="nothing else arrived"):
        await device.expect("hello", timeout=0)


async def test_firmware_that_connects_by_itself_is_to_be_other(board: BoardInLoop, made: Made):
    """A device with settings of its own is told them, and connects anew."""
    board.automatic = True
    device = made(framing=3)
    await device.power_off()
    await device.power_on()
    await device.go_online()

    fake = board.connection.device
    assert fake is not None
    assert fake.framing == 3


@pytest.mark.parametrize("automatic", [True, False])
async def test_reset(device: BoardDevice, board: BoardInLoop, made: Made, automatic: bool):
    """It is online again, by itself or told to; the connection it had is left to the gateway."""
    board.automatic = automatic
    await device.reset()

    assert device.is_online
    assert device.link.arrivals == 2
    assert "is reset" in made.happened
    await device.send({"type": "ping"})
    await device.expect("pong")


async def test_provision(device: BoardDevice, board: BoardInLoop, front: Front, made: Made):
    """Settings are written to its NVS, and in force from the next connection; its way stays its own."""
    await device.provision(Settings("ws://elsewhere/", "secret", 3))
    assert (device.token, device.framing, device.url) == ("secret", 3, "ws://gateway/")
    asked = [(one["key"], one["value"]) for one in board.channel.of("nvs_set")]
    assert asked == [("url", front.url), ("token", "secret"), ("version", 3)]
    assert made.happened[-1] == "is provisioned: framing 3, a token"

    await device.go_online()
    fake = board.connection.device
    assert fake is not None
    assert (fake.token, fake.framing) == ("secret", 3)


async def test_settings_that_are_not_taken(device: BoardDevice, board: BoardInLoop):
    """Where the firmware could not write them, the device keeps those it had."""
    board.answers["provision"] = 'E (1) wsdevice: {number} failed BoardRefused {{"text":"NVS is full"}}'
    with pytest.raises(OrderFailed, match="BoardRefused: NVS is full"):
        await device.provision(Settings("ws://elsewhere/", "secret", 3))

    assert (device.token, device.framing) == ("", 1)


async def test_firmware_without_orders(board: BoardInLoop, made: Made):
    """It is woken, and connects; it can be asked for what the rig can, and nothing else."""
    board.deaf = True
    device = made(frozenset())
    await device.go_online()
    assert device.is_online
    assert device.capabilities == {"power", "reset"}
    assert "is woken" in made.happened

    await device.reset()
    assert device.link.arrivals == 2
    for refused in (
        device.send({}),
        device.send_audio(b""),
        device.send_ping(),
        device.send_bytes(b""),
        device.close(),
    ):
        with pytest.raises(Misuse, match=r"board can be asked for power, reset; say @pytest\.mark\.ws_needs"):
            await refused
    with pytest.raises(Misuse, match=r"takes the order 'hello' on its test console, that of board takes none"):
        await device.hello()
    with pytest.raises(Misuse, match="'configure'"):
        await device.connect()
    assert board.written == []


def test_what_a_board_can_be_asked_for():
    """What the rig can do, and what the firmware takes orders for."""
    assert able(frozenset({"reset"}), frozenset({"frame", "hello", "cut"})) == {"reset", "frames", "cut"}
    assert able(frozenset(), frozenset()) == frozenset()


async def test_a_rig_that_cannot(board: BoardInLoop, made: Made):
    """What the rig has not is refused before anything is done."""
    board.capabilities = frozenset()
    device = made(frozenset())
    for refused in (device.power_off(), device.power_on(), device.reset()):
        with pytest.raises(Misuse, match="board can be asked for nothing"):
            await refused


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


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ('UpgradeRefused {{"status":403,"reason":"no","headers":{{"a":"b"}}}}', UpgradeRefused, "refused with 403: no"),
        ('UpgradeRefused {{"status":"x","headers":1}}', UpgradeRefused, "refused with 0"),
        ('CannotConnect {{"why":"no network"}}', CannotConnect, "ws://127.0.0.1:.*: no network"),
        ('CannotConnect {{"text":"no network"}}', CannotConnect, "no network"),
        ('NotConnected {{"why":"it slept"}}', NotConnected, "^board cannot send: it slept"),
        ("NotConnected", NotConnected, "^board cannot send: its connection is open"),
        ('FirmwareWouldFail {{"text":"a frame"}}', FirmwareWouldFail, "^a frame$"),
        ('ExpectationFailed {{"text":"no pong"}}', ExpectationFailed, "an end to 'send', but after 0.0 s no pong"),
        ('Misuse {{"text":"expected base64"}}', Misuse, "^expected base64$"),
        ('Novelty {{"text":"news"}}', OrderFailed, "answered 'send' with Novelty: news"),
    ],
)
async def test_what_the_firmware_answers(
    device: BoardDevice, board: BoardInLoop, said: str, error: type[HarnessError], text: str
):
    """Its errors are those that fake devices raise, caused by what it said; unknown ones are told as they are."""
    board.answers["send"] = f"E (1) wsdevice: {{number}} failed {said}"
    with pytest.raises(error, match=text) as caught:
        await device.send({"type": "ping"})

    assert type(caught.value) is error
    if error is not OrderFailed:
        assert isinstance(caught.value.__cause__, OrderFailed)


async def test_firmware_that_is_deaf(made: Made, board: BoardInLoop, monkeypatch: pytest.MonkeyPatch):
    """It is said what was not answered."""
    monkeypatch.setattr(orders_module, "MARGIN", -4.8)
    board.deaf = True
    with pytest.raises(NoAnswer, match="an answer to 'configure'"):
        await made().connect()


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
