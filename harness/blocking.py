"""Gateways and devices for tests that are plain functions: they live in a loop in a thread, and calls wait for them.

::

    with LoopThread() as thread:
        device = BlockingDevice(FakeDevice(...), thread)
        device.go_online()
        device.send({"type": "ping"})
        assert device.expect("pong") == {"type": "pong"}

The gateway goes on serving while the test does something else, ``time.sleep`` included.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from gateway.config import Config
from gateway.observe.events import Event
from harness.device import Body, Capability, Device, LinkView, Message, Settings, Wanted
from harness.errors import Misuse
from harness.fakes.device import PATIENCE
from harness.gateways import GatewayCapability, GatewayUnderTest, OwnGateway
from harness.receiving import EXPECT
from harness.timeline import Timeline

T = TypeVar("T")
E = TypeVar("E", bound=Event)

_MARGIN = 10.0  # seconds beyond the deadline of the call itself, which fires first and says more
_LONGEST = 120.0  # seconds for a call without a deadline of its own: a drain with its grace is the longest


class LoopThread:
    """An event loop in a thread of its own; ``with`` starts and ends it, and what still runs in it is cancelled."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsdevice test loop", daemon=True)
        self._end: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """Start the thread, and wait until its loop runs."""
        self._thread.start()
        self._running.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the loop, and wait for the thread."""
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_MARGIN)
        if self._thread.is_alive():
            raise Misuse(f"expected all that runs in the test's loop to end when cancelled, it still runs: {self}")

    def run(self, work: Coroutine[Any, Any, T], timeout: float = _LONGEST) -> T:
        """Run a coroutine in the loop, wait for it, and return or raise what it does; cancelled after ``timeout``."""
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise Misuse("expected a loop that runs; the fixtures of this test have been torn down")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            if future.cancel():
                raise TimeoutError(f"expected an answer within {timeout:g} s; is the test's loop blocked?") from None
            raise  # the work itself has timed out

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the loop, and return a future of it; for callers in a loop of their own."""
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise Misuse("expected a loop that runs")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Callable[[], T]) -> T:
        """Run a plain function in the loop's thread, between two turns of it, and return or raise what it does."""

        async def run() -> T:
            return work()

        return self.run(run())

    def _run(self) -> None:
        async def until_ended() -> None:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            self._running.set()
            await self._end.wait()

        asyncio.run(until_ended())


class BlockingDevice:
    """A device for plain tests: the calls of `Device`, each of which waits for its end; see there for what they do."""

    def __init__(self, device: Device, thread: LoopThread) -> None:
        self.device = device
        self._thread = thread

    @property
    def name(self) -> str:
        """What tests and reports call it."""
        return self.device.name

    @property
    def device_id(self) -> str:
        """What the gateway calls it."""
        return self.device.device_id

    @property
    def body(self) -> Body:
        """What it is made of."""
        return self.device.body

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can be asked for."""
        return self.device.capabilities

    @property
    def link(self) -> LinkView:
        """What the gateway knows of it."""
        return self._thread.call(lambda: self.device.link)

    def connect(self, timeout: float = PATIENCE) -> None:
        """Open a new connection, as far as the answer to the upgrade."""
        self._thread.run(self.device.connect(timeout), timeout + _MARGIN)

    def hello(self, timeout: float = PATIENCE, **fields: Any) -> Message:
        """Say hello and return the answer."""
        return self._thread.run(self.device.hello(timeout, **fields), timeout + _MARGIN)

    def go_online(self, timeout: float = PATIENCE) -> None:
        """Connect and say hello."""
        self._thread.run(self.device.go_online(timeout), 2 * timeout + _MARGIN)

    def send(self, message: Mapping[str, Any] | msgspec.Struct) -> None:
        """Send a JSON message."""
        self._thread.run(self.device.send(message))

    def send_audio(self, packet: bytes, timestamp_ms: int = 0) -> None:
        """Send one Opus packet."""
        self._thread.run(self.device.send_audio(packet, timestamp_ms))

    def expect(self, wanted: Wanted, timeout: float = EXPECT, **fields: Any) -> Message:
        """Take and return the first unread message that is wanted and has these fields."""
        return self._thread.run(self.device.expect(wanted, timeout, **fields), timeout + _MARGIN)

    def expect_nothing(self, wanted: Wanted, seconds: float, **fields: Any) -> None:
        """Wait so long and see no such message."""
        self._thread.run(self.device.expect_nothing(wanted, seconds, **fields), seconds + _MARGIN)

    def expect_close(self, timeout: float = EXPECT) -> int:
        """Wait for the end of the connection and return the code."""
        return self._thread.run(self.device.expect_close(timeout), timeout + _MARGIN)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave politely."""
        self._thread.run(self.device.close(code, reason))

    def cut(self) -> None:
        """End the TCP connection without a Close frame."""
        self._thread.call(self.device.cut)

    def vanish(self) -> None:
        """Read, answer and send nothing any more, while the connection stays."""
        self._thread.call(self.device.vanish)

    def power_off(self) -> None:
        """Take its power."""
        self._thread.run(self.device.power_off())

    def power_on(self) -> None:
        """Give it power again."""
        self._thread.run(self.device.power_on())

    def reset(self) -> None:
        """Press its reset button and have it go online again."""
        self._thread.run(self.device.reset())

    def provision(self, settings: Settings) -> None:
        """Write its settings."""
        self._thread.run(self.device.provision(settings))


class BlockingGateway:
    """A gateway for plain tests: the calls of `GatewayUnderTest` and `OwnGateway`, each of which waits for its end."""

    def __init__(self, gateway: GatewayUnderTest, thread: LoopThread) -> None:
        self.gateway = gateway
        self._thread = thread

    @property
    def capabilities(self) -> frozenset[GatewayCapability]:
        """What it can be asked for."""
        return self.gateway.capabilities

    @property
    def config(self) -> Config:
        """Its settings."""
        return self.gateway.config

    @property
    def url(self) -> str:
        """Where devices connect."""
        return self.gateway.url

    @property
    def http_url(self) -> str:
        """The root of its HTTP port."""
        return self.gateway.http_url

    def link(self, device: str) -> LinkView:
        """What it knows of a device, by its id."""
        return self._thread.call(lambda: self.gateway.link(device))

    def token_for(self, device: str, client: str) -> str:
        """Return a token that it accepts from this device; empty where it asks for none."""
        return self.gateway.token_for(device, client)

    def start(self) -> None:
        """Start it again, on the ports it had."""
        self._thread.run(self._own.start())

    def drain(self) -> None:
        """Let its devices finish, then stop it."""
        self._thread.run(self._own.drain())

    def stop(self) -> None:
        """Stop it at once."""
        self._thread.run(self._own.stop())

    def restart(self) -> None:
        """Stop it at once, and start it with the state and the ports it had."""
        self._thread.run(self._own.restart())

    @property
    def _own(self) -> OwnGateway:
        if not isinstance(self.gateway, OwnGateway):
            raise Misuse(f"expected a gateway of the test's own; {self.gateway.url} cannot be started or stopped")
        return self.gateway


class BlockingTimeline:
    """The timeline of a plain test: the calls of `Timeline`."""

    def __init__(self, timeline: Timeline, thread: LoopThread) -> None:
        self.timeline = timeline
        self._thread = thread

    def note(self, text: str, *, fault: bool = False) -> None:
        """Write down what the test itself does."""
        self._thread.call(lambda: self.timeline.note(text, fault=fault))

    def events(self, kind: type[E], **facts: Any) -> list[E]:
        """Return the gateway's events of one kind with these facts, in order."""
        return self._thread.call(lambda: self.timeline.events(kind, **facts))

    def expect_event(self, kind: type[E], timeout: float = EXPECT, **facts: Any) -> E:
        """Wait until the gateway has reported such an event, and return the first."""
        return self._thread.run(self.timeline.expect_event(kind, timeout, **facts), timeout + _MARGIN)

    def listing(self, **how: Any) -> str:
        """Return the last entries as text."""
        return self._thread.call(lambda: self.timeline.listing(**how))

    def rows(self) -> list[dict[str, Any]]:
        """Return everything, as objects, with secrets masked."""
        return self._thread.call(lambda: list(self.timeline.rows()))

    def write(self, path: Path) -> None:
        """Write everything as JSON lines."""
        self._thread.call(lambda: self.timeline.write(path))
