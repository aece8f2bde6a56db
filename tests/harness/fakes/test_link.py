"""One connection: the upgrade as the firmware asks for it, and its habits on the wire."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable

import pytest
from websockets.frames import Opcode

from harness.errors import CannotConnect, FirmwareWouldFail, UpgradeRefused
from harness.fakes.device import FakeDevice
from tests.harness.fakes.conftest import Watched
from tests.harness.fakes.stub import SOON, Stub, Stubs

MAC = "02:00:00:00:00:01"


class TestRequest:
    """The upgrade request."""

    async def test_as_the_firmware_sends_it(self, stubs: Stubs):
        """Host without its port, then all headers in the order of a ``std::map``, and no other."""
        device = FakeDevice(stubs.url, MAC, client_id="c-1", token="t0k", framing=3)
        stub = await stubs.meet(device)
        await device.aclose()

        lines = stub.request.decode().split("\r\n")
        key = next(line for line in lines if line.startswith("Sec-WebSocket-Key: "))
        assert lines == [
            "GET /xiaozhi/v1/ HTTP/1.1",
            "Host: 127.0.0.1",
            "Authorization: Bearer t0k",
            "Client-Id: c-1",
            "Connection: Upgrade",
            f"Device-Id: {MAC}",
            "Protocol-Version: 3",
            key,
            "Sec-WebSocket-Version: 13",
            "Upgrade: websocket",
            "",
            "",
        ]

    async def test_no_token(self, stubs: Stubs):
        """Without a token there is no Authorization header."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        await device.aclose()

        assert b"Authorization" not in stub.request

    async def test_token_with_its_scheme(self, stubs: Stubs):
        """A token with a space in it is sent as it is."""
        device = FakeDevice(stubs.url, MAC, token="Basic abc")
        stub = await stubs.meet(device)
        await device.aclose()

        assert b"Authorization: Basic abc\r\n" in stub.request

    async def test_query(self, stubs: Stubs):
        """A query string is sent."""
        device = FakeDevice(f"{stubs.url}?from=mqtt_gateway", MAC)
        stub = await stubs.meet(device)
        await device.aclose()

        assert stub.request.startswith(b"GET /xiaozhi/v1/?from=mqtt_gateway HTTP/1.1\r\n")


class TestAnswer:
    """What comes of the request."""

    async def answered(self, stubs: Stubs, answer: bytes, timeout: float = SOON) -> None:
        """Have a device connect, and answer it."""

        async def act() -> None:
            stub = await stubs.next()
            await stub.read_request()
            stub.writer.write(answer)
            if answer:
                stub.writer.close()

        await asyncio.gather(FakeDevice(f"{stubs.url}?token=s3cret", MAC).connect(timeout), act())

    async def test_refused(self, gateway: Watched):
        """An HTTP status is an error that carries it."""
        with pytest.raises(UpgradeRefused, match="upgrade refused with 404: expected one of the paths") as caught:
            await FakeDevice(gateway.websocket_url.replace("xiaozhi", "nothing"), MAC).connect()
        assert caught.value.status == 404

    async def test_refused_with_headers(self, stubs: Stubs):
        """The headers of a refusal are there, and an answer may end with its connection."""
        with pytest.raises(UpgradeRefused) as caught:
            await self.answered(stubs, b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\nlater\x07")
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "7"})
        assert str(caught.value) == r"upgrade refused with 503: later\x07"

    async def test_closed_right_behind_the_answer(self, stubs: Stubs):
        """It was a 101: the device is in, and finds itself closed."""
        device = FakeDevice(stubs.url, MAC)

        async def act() -> None:
            stub = await stubs.next()
            await stub.read_request()
            stub.writer.write(stub.switching_protocols() + b"\x88\x02\x03\xe8")
            stub.writer.close()

        await asyncio.gather(device.connect(SOON), act())

        assert await device.expect_close(SOON) == 1000
        await device.aclose()

    async def test_wrong_key(self, stubs: Stubs):
        """A 101 whose key is wrong is refused, though the firmware would not look."""
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
        )
        with pytest.raises(UpgradeRefused, match=r"^upgrade refused with 101: .*Sec-WebSocket-Accept"):
            await self.answered(stubs, answer)

    @pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 "])
    async def test_no_http(self, stubs: Stubs, answer: bytes):
        """What is not an HTTP answer is no connection."""
        with pytest.raises(CannotConnect, match=r"/xiaozhi/v1/: did not receive a valid HTTP response"):
            await self.answered(stubs, answer)

    async def test_silence(self, stubs: Stubs):
        """No answer in time is no connection; the token in the query string is not told."""
        with pytest.raises(CannotConnect, match=r"/xiaozhi/v1/: no answer within 0\.05 s$"):
            await self.answered(stubs, b"", timeout=0.05)
        assert await stubs.all[0].rest() == b""

    async def test_nobody_listens(self):
        """A refused TCP connection says so."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        device = FakeDevice(f"ws://127.0.0.1:{port}/", MAC)

        with pytest.raises(CannotConnect, match=rf"^cannot connect to ws://127\.0\.0\.1:{port}/: .*refused"):
            await device.connect()
        assert device.closed.is_set()
        assert device.close_code is None

    async def test_cancelled(self, stubs: Stubs):
        """A cancelled connect leaves no socket behind."""
        connecting = asyncio.create_task(FakeDevice(stubs.url, MAC).connect())
        stub = await stubs.next()
        await stub.read_request()
        connecting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert await stub.rest() == b""

    async def test_byte_by_byte(self, stubs: Stubs):
        """The answer and the frames behind it may come in any pieces."""
        device = FakeDevice(stubs.url, MAC)

        async def act() -> Stub:
            stub = await stubs.next()
            await stub.read_request()
            answer = stub.switching_protocols() + b'\x81\x0c{"type":"a"}' + b'\x01\x06{"type' + b'\x80\x06":"b"}'
            for byte in answer:
                stub.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            return stub

        await asyncio.gather(device.connect(), act())
        assert await device.expect("a") == {"type": "a"}
        assert await device.expect("b") == {"type": "b"}
        await device.aclose()

    async def test_all_at_once(self, stubs: Stubs):
        """Frames that come in one piece with the 101 are not lost."""
        device = FakeDevice(stubs.url, MAC)

        async def act() -> None:
            stub = await stubs.next()
            await stub.read_request()
            stub.writer.write(stub.switching_protocols() + b'\x81\x0c{"type":"a"}')

        await asyncio.gather(device.connect(), act())
        await device.expect("a")
        await device.aclose()

    async def test_given_up(self, stubs: Stubs):
        """A connection that is given up on its way leaves no complaint behind that nobody could take."""
        loop = asyncio.get_running_loop()
        complaints: list[object] = []
        loop.set_exception_handler(lambda _, context: complaints.append(context))

        async def dial(factory: Callable[[], asyncio.Protocol], host: str, port: int, _secure: bool) -> None:
            await loop.create_connection(factory, host, port)
            raise asyncio.CancelledError

        device = FakeDevice(stubs.url, MAC, dial=dial)
        with pytest.raises(asyncio.CancelledError):
            await device.connect(SOON)
        await stubs.connections.get()
        await device.aclose()
        for _ in range(3):  # turns of the loop, in which the socket is gone
            await asyncio.sleep(0)
        gc.collect()

        assert complaints == []


class TestFrames:
    """Control frames, fragments, and what breaks the rules."""

    async def test_ping_is_answered(self, stubs: Stubs):
        """A control ping is answered with its payload."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.frame(Opcode.PING, b"abc")

        assert await stub.read_frame() == (Opcode.PONG, b"abc")
        await device.aclose()

    async def test_close_is_not_answered(self, stubs: Stubs):
        """A Close frame is noted, and nothing at all is said: neither an answer nor, at the end, one of its own."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.close(4001, "replaced")

        assert await device.expect_close() == 4001
        assert not device.closed.is_set()
        await device.aclose()
        assert await stub.rest() == b""

    async def test_cut_is_not_announced(self, stubs: Stubs):
        """What was sent before the cut arrives, then the connection ends without a Close."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        await device.send({"type": "ping"})
        device.cut()

        assert await stub.read_message() == {"type": "ping"}
        assert await stub.rest() == b""
        await asyncio.wait_for(device.closed.wait(), SOON)
        assert device.close_code == 1006

    async def test_cut_by_the_gateway(self, stubs: Stubs):
        """A connection that the gateway ends without a Close is 1006, too, and the device closes its side."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.writer.write_eof()

        assert await device.expect_close() == 1006
        assert await stub.rest() == b""
        assert device.closed.is_set()

    async def test_rules_broken(self, stubs: Stubs):
        """A frame that breaks RFC 6455 ends the connection, and is said to whoever waits."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.writer.write(b"\xf1\x00")  # reserved bits

        with pytest.raises(FirmwareWouldFail, match="the gateway broke RFC 6455: reserved bits must be 0"):
            await device.expect("a")
        assert await stub.rest() == b""

    async def test_slow_reader(self, stubs: Stubs):
        """Sending waits while the gateway does not read, and ends when the connection does."""
        device = FakeDevice(stubs.url, MAC)
        stub = await stubs.meet(device)
        stub.writer.transport.pause_reading()

        async def send_on() -> None:
            while True:
                await device.send_text("x" * 65536)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_on(), 0.2)
        waiting = asyncio.create_task(device.send_text("x"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await device.aclose()
        await asyncio.wait_for(waiting, SOON)
