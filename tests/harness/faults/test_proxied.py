"""One connection through the proxy, and what faults make of it, seen from both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from harness.faults import proxied
from harness.faults.shape import Shape
from tests.harness.faults.lines import REQUEST, line


async def test_cut(monkeypatch: pytest.MonkeyPatch):
    """Both ends get FIN behind what has passed; what they still say is dropped; when both have closed, it is over."""
    monkeypatch.setattr(proxied, "LINGER_SECONDS", 60.0)
    async with line() as between:
        between.manners = {"keeps": True}
        device, gateway, connection = await between.pair(keeps=True)
        gateway.transport.write(b"arrives")
        await device.hears(7)
        connection.cut()
        await gateway.until(lambda: "eof" in gateway.said)
        await device.until(lambda: "eof" in device.said)
        device.transport.write(b"to nobody")
        device.transport.close()
        gateway.transport.close()

        assert await device.ends() == "lost"
        assert await gateway.ends() == "lost"
        assert bytes(gateway.heard) == REQUEST
        assert await between.closed() == "cut by a fault"


async def test_cut_of_one_that_does_not_notice(monkeypatch: pytest.MonkeyPatch):
    """A side that does not read, and so does not close, does not keep the proxy's socket."""
    monkeypatch.setattr(proxied, "LINGER_SECONDS", 0.05)
    async with line() as between:
        _, gateway, connection = await between.pair(paused=True)
        connection.cut()
        assert await gateway.ends() == "lost"
        await between.closed()


async def test_reset():
    """Both ends get RST."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.reset()

        assert await device.ends() == "lost ConnectionResetError"
        assert await gateway.ends() == "lost ConnectionResetError"
        assert await between.closed() == "reset by a fault"


async def test_silence():
    """Nothing passes any more, not even an end, and no acknowledgement; neither side is told."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.silence()
        gateway.transport.write(b"lost")
        device.transport.close()
        await asyncio.sleep(0.05)

        assert gateway.unacknowledged == 4
        assert gateway.said == ["data"]
        connection.hold("to_gateway", False)
        await asyncio.sleep(0.3)
        assert gateway.unacknowledged == 4


async def test_refuse():
    """After its device has been reset, what the gateway still sends is answered with RST."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.silence()
        device.transport.abort()
        connection.refuse()
        await asyncio.sleep(0.02)
        assert gateway.said == ["data"]
        gateway.transport.write(b"are you there?")

        assert await gateway.ends() == "lost ConnectionResetError"


async def test_refuse_an_end():
    """The end of the gateway's stream is answered in the same way."""
    async with line() as between:
        _, gateway, connection = await between.pair()
        connection.silence()
        connection.refuse()
        gateway.transport.write_eof()
        assert await gateway.ends() == "lost ConnectionResetError"


async def test_refuse_one_that_never_reached_the_gateway():
    """A connection that no gateway knows of just ends."""
    async with line() as between:
        device = await between.device()
        await between.until(lambda: between.records)
        connection = between.proxy.connections[1]
        connection.silence()
        connection.refuse()
        assert await device.ends() == "lost"


async def test_swallow():
    """What is sent one way is acknowledged and goes nowhere; the other way goes on."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.swallow("to_gateway")
        device.transport.write(b"to nobody")
        gateway.transport.write(b"arrives")
        assert await device.hears(7) == b"arrives"
        await asyncio.sleep(0.05)  # delayed acknowledgements come within 40 ms
        assert device.unacknowledged == 0
        assert bytes(gateway.heard) == REQUEST
        assert connection.is_swallowed


async def test_swallowing_a_silent_one():
    """What hears nothing any more does not begin to acknowledge."""
    async with line() as between:
        device, _, connection = await between.pair()
        connection.silence()
        connection.swallow("to_gateway")
        device.transport.write(b"to nobody")
        await asyncio.sleep(0.02)
        assert device.unacknowledged == 9


async def test_hold_before_it_is_dialled():
    """A connection that is held from the beginning never reaches the gateway; released, it does."""
    async with line() as between:
        device = await between.device()
        await between.until(lambda: between.records)
        connection = between.proxy.connections[1]
        connection.hold("to_gateway", True)
        connection.hold("to_device", True)
        device.transport.write(REQUEST)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(between.gateway(), 0.05)
        connection.hold("to_gateway", False)
        gateway = await between.gateway()
        await gateway.hears(len(REQUEST))
        gateway.transport.write(b"held")
        assert gateway.unacknowledged == 4
        connection.hold("to_device", False)
        assert await device.hears(4) == b"held"


async def test_latency_of_an_end():
    """The end of a stream travels like its bytes."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.to_gateway.set_shape(Shape(latency=0.1))
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        device.transport.write(b"last")
        device.transport.close()
        assert await gateway.ends() == "lost"
        assert 0.1 <= loop.time() - began < 0.4
        assert bytes(gateway.heard) == REQUEST + b"last"


async def test_reset_after_cut():
    """A connection ends once: what comes after is nothing."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.cut()
        connection.cut()
        connection.reset()
        connection.abort()
        await device.ends()
        await gateway.ends()
        assert await between.closed() == "cut by a fault"


async def test_end_while_the_gateway_answers():
    """A connection that ends just when its gateway takes it is not left open there."""
    async with line() as between:
        device = await between.device()
        await between.until(lambda: between.records)
        connection = between.proxy.connections[1]
        dial = connection._dial

        async def dial_and_end(factory: Callable[[], asyncio.Protocol]) -> Any:
            def make() -> asyncio.Protocol:
                end = factory()
                connection.reset()
                return end

            return await dial(make)

        connection._dial = dial_and_end
        device.transport.write(REQUEST)
        gateway = await between.gateway()
        assert (await gateway.ends()).startswith("lost")
        assert await device.ends() == "lost ConnectionResetError"
        assert await between.closed() == "reset by a fault"
