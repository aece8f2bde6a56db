"""Gateways and devices for plain tests: each call waits for its end, and the gateway serves meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Config, DrainConfig, HandoverConfig
from gateway.observe.events import DeviceOnline
from harness.blocking import BlockingDevice, BlockingGateway, BlockingTimeline, LoopThread
from harness.device import Settings
from harness.errors import ExpectationFailed, Misuse
from harness.fakes.device import FakeDevice
from harness.gateways import ExternalGateway, OwnGateway
from harness.timeline import Timeline


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """A loop in a thread."""
    with LoopThread() as running:
        yield running


@pytest.fixture
def timeline(thread: LoopThread) -> BlockingTimeline:
    """A timeline in that loop."""
    return BlockingTimeline(thread.call(Timeline), thread)


@pytest.fixture
def gateway(thread: LoopThread, timeline: BlockingTimeline, tmp_path: Path) -> Iterator[BlockingGateway]:
    """A gateway in that loop, with a short handover."""
    config = Config(handover=HandoverConfig(window=0.05), drain=DrainConfig(spread=0, grace=0))
    own = BlockingGateway(OwnGateway(config, tmp_path, observers=[timeline.timeline.event]), thread)
    own.start()
    yield own
    own.stop()


@pytest.fixture
def device(thread: LoopThread, gateway: BlockingGateway, timeline: BlockingTimeline) -> Iterator[BlockingDevice]:
    """A device that is online."""
    made = FakeDevice(gateway.url, "aa", name="kitchen", watch=timeline.timeline.record, view=gateway.gateway.link)
    blocking = BlockingDevice(made, thread)
    blocking.go_online()
    yield blocking
    thread.run(made.aclose())


class TestLoopThread:
    """A loop in a thread of its own."""

    def test_result_and_error(self, thread: LoopThread):
        """What a coroutine returns or raises comes back."""

        async def fail() -> None:
            raise ValueError("no")

        assert thread.run(asyncio.sleep(0, 7)) == 7
        assert thread.call(threading.current_thread).name == "wsdevice test loop"
        with pytest.raises(ValueError, match="no"):
            thread.run(fail())

    def test_deadline(self, thread: LoopThread):
        """A call that takes too long is cancelled; one that times out by itself says so itself."""
        ended: list[str] = []

        async def long() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")

        async def times_out() -> None:
            raise TimeoutError("of its own")

        with pytest.raises(TimeoutError, match=r"an answer within 0\.05 s"):
            thread.run(long(), 0.05)
        thread.run(asyncio.sleep(0))
        assert ended == ["cancelled"]
        with pytest.raises(TimeoutError, match="of its own"):
            thread.run(times_out())

    def test_after_its_end(self):
        """A call after the end is refused, and its coroutine is closed."""
        with LoopThread() as thread:
            pass

        with pytest.raises(Misuse, match="torn down"):
            thread.run(asyncio.sleep(0))

    def test_what_still_runs_is_cancelled(self):
        """The end cancels what was left running."""
        ended: list[str] = []

        async def live() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")

        with LoopThread() as thread:
            task = thread.call(lambda: asyncio.ensure_future(live()))
            thread.run(asyncio.sleep(0))
        assert (ended, task.cancelled()) == (["cancelled"], True)


class TestDevice:
    """A device, call by call."""

    def test_talks(self, device: BlockingDevice):
        """It sends, and waits for what is to come or not to come."""
        device.send({"type": "ping", "id": 1})
        assert device.expect("pong") == {"type": "pong", "id": 1}
        device.expect_nothing("pong", 0.01)
        with pytest.raises(ExpectationFailed, match="kitchen expected"):
            device.expect("pong", 0.01)
        device.send({"type": "listen", "state": "start", "mode": "manual"})
        device.send_audio(b"opus")
        device.send({"type": "listen", "state": "stop"})
        device.expect("stt")

    def test_is_someone(self, device: BlockingDevice):
        """It is known by what the device is known by."""
        assert (device.name, device.device_id, device.body) == ("kitchen", "aa", "fake")
        assert device.capabilities == device.device.capabilities
        assert device.link.present

    def test_comes_and_goes(self, device: BlockingDevice, gateway: BlockingGateway):
        """It can do whatever a device can: leave in each way, lose power, be reset, be provisioned."""
        device.close()
        device.connect()
        device.hello()
        device.cut()
        device.go_online()
        device.vanish()
        device.reset()
        device.power_off()
        device.power_on()
        device.provision(Settings(gateway.url, framing=2))
        device.go_online()
        device.send({"type": "ping"})
        device.expect("pong")
        gateway.stop()
        assert device.expect_close() == 1001


class TestGateway:
    """A gateway, call by call."""

    def test_serves_while_the_test_sleeps(self, device: BlockingDevice, timeline: BlockingTimeline):
        """Nothing waits for the test's thread."""
        device.device.capabilities  # noqa: B018 - any object of the loop
        device.send({"type": "ping"})
        time.sleep(0.1)
        answered = [frame.at for frame in timeline.timeline.frames("kitchen", sent=False)][-1]
        asked = [frame.at for frame in timeline.timeline.frames("kitchen", sent=True)][-1]
        assert answered - asked < 0.1

    def test_life(self, gateway: BlockingGateway, device: BlockingDevice):
        """It can be restarted and drained, and says what it knows."""
        assert gateway.link("aa").present
        assert gateway.token_for("aa", "c") == ""
        assert gateway.config.handover.window == 0.05
        assert gateway.http_url.startswith("http://127.0.0.1:")
        assert "restart" in gateway.capabilities
        url = gateway.url
        gateway.restart()
        assert gateway.url == url
        device.go_online()
        gateway.stop()
        gateway.start()
        gateway.drain()

    def test_not_ours(self, thread: LoopThread):
        """One that runs elsewhere cannot be stopped."""
        with pytest.raises(Misuse, match="ws://h/ cannot be started or stopped"):
            BlockingGateway(ExternalGateway("ws://h/"), thread).stop()


def test_timeline(device: BlockingDevice, timeline: BlockingTimeline, tmp_path: Path):
    """The record of a plain test is asked like any other."""
    assert timeline.expect_event(DeviceOnline, device="aa").because == "hello"
    assert len(timeline.events(DeviceOnline)) == 1
    timeline.note("look")
    timeline.write(tmp_path / "t.jsonl")

    assert timeline.listing(seconds=60).splitlines()[-2].endswith("  look")
    assert timeline.rows()[-1]["what"] == "look"
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == len(timeline.rows())
    assert device.name == "kitchen"
