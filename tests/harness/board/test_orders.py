"""Orders to a board's firmware over a console that a test plays."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from harness.board import orders as module
from harness.board.console_lines import Line, LineKind
from harness.board.errors import PortVanished
from harness.board.orders import QUEUED, NoAnswer, OrderFailed, Orders, announced

SOON = 5.0


class Scripted:
    """A console: what is written to it, and what it says.

    Attributes:
        written: lines.
        held: cleared: the port takes nothing.
        error: of the port.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self.held = threading.Event()
        self.held.set()
        self.error: Exception | None = None
        self.watchers: list[Callable[[Line], None]] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._count = 0

    def write_line(self, text: str) -> None:
        """Take a line, in the thread of whoever writes."""
        self.held.wait(SOON)
        if self.error is not None:
            raise self.error
        self.written.append(text)
        self._loop.call_soon_threadsafe(self._news.set)

    def watch(self, watcher: Callable[[Line], None]) -> Callable[[], None]:
        """Show it what is said."""
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher) if watcher in self.watchers else None

    async def until(self, count: int) -> list[str]:
        """Return what was written, once it is so many lines."""
        async with asyncio.timeout(SOON):
            while len(self.written) < count:
                self._news.clear()
                await self._news.wait()
        return self.written

    def say(self, text: str, kind: LineKind = "said") -> None:
        """Say a line."""
        self._count += 1
        for watcher in tuple(self.watchers):
            watcher(Line(self._count, 0.0, kind, text))

    async def asked(self, count: int = 1) -> tuple[str, str, dict[str, object]]:
        """Return number, verb and arguments of an order."""
        words = (await self.until(count))[count - 1].split(" ", 3)
        assert words[0] == "wsdevice"
        return words[1], words[2], json.loads(words[3])


@pytest.fixture
async def console() -> AsyncIterator[Scripted]:
    """A console."""
    console = Scripted()
    yield console
    console.held.set()


@pytest.fixture
async def orders(console: Scripted) -> AsyncIterator[Orders]:
    """Orders over it."""
    orders = Orders(console)
    yield orders
    await orders.aclose()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait longer than a moment."""
    monkeypatch.setattr(module, "MARGIN", 0.05)


def test_announcement():
    """The verbs are in the announcement; other lines are none."""
    assert announced("I (412) wsdevice: test console 1: connect hello send") == {"connect", "hello", "send"}
    assert announced("I (412) wsdevice: test console 2: connect") is None
    assert announced("I (412) wsdevice: 7 ok {}") is None


async def test_an_order_and_its_answer(console: Scripted, orders: Orders):
    """The order is one line with its arguments as JSON; the answer with its number is returned, decoded."""
    call = asyncio.create_task(orders.call("hello", 1.0, fields={"version": 3}))
    number, verb, arguments = await console.asked()
    console.say(f"I (5) wsdevice: {int(number) + 1000} ok {{}}")
    console.say(f'I (6) wsdevice: {number} ok {{"type":"hello"}}')

    assert (verb, arguments) == ("hello", {"fields": {"version": 3}})
    assert await call == {"type": "hello"}


@pytest.mark.parametrize(("rest", "answer"), [("", {}), (" {}", {}), (" [1]", [1]), (" {cut", {"text": "{cut"})])
async def test_answers(console: Scripted, orders: Orders, rest: str, answer: object):
    """An answer may have no facts, or some that are cut."""
    call = asyncio.create_task(orders.call("state"))
    console.say(f"I (6) wsdevice: {(await console.asked())[0]} ok{rest}")

    assert await call == answer


@pytest.mark.parametrize(
    ("facts", "text"), [('{"text":"no way","why":"x"}', "no way"), ("gibberish", "gibberish"), ("[1]", "[1]"), ("", "")]
)
async def test_an_order_that_fails(console: Scripted, orders: Orders, facts: str, text: str):
    """The error has its name, its facts, and a sentence."""
    call = asyncio.create_task(orders.call("send"))
    console.say(f"E (6) wsdevice: {(await console.asked())[0]} failed NotConnected {facts}".rstrip())

    with pytest.raises(OrderFailed) as caught:
        await call
    assert (caught.value.verb, caught.value.error, caught.value.text) == ("send", "NotConnected", text)
    assert str(caught.value) == f"the firmware answered 'send' with NotConnected: {text}"


async def test_written_in_order(console: Scripted, orders: Orders):
    """Orders are written in the order of the calls, however long the port takes, and answered in any."""
    console.held.clear()
    calls = [asyncio.create_task(orders.call("send", n=number)) for number in range(20)]
    await asyncio.sleep(0)
    console.held.set()
    await console.until(20)
    for line in reversed(console.written):
        _, number, _, arguments = line.split(" ", 3)
        console.say(f"I (6) wsdevice: {number} ok {arguments}")

    assert [json.loads(line.split(" ", 3)[3])["n"] for line in console.written] == list(range(20))
    assert [answer["n"] for answer in await asyncio.gather(*calls)] == list(range(20))


async def test_a_full_queue(console: Scripted, orders: Orders):
    """A port that takes nothing does not fill the memory."""
    console.held.clear()
    for _ in range(QUEUED):
        orders.post("send")

    with pytest.raises(OrderFailed, match=f"QueueFull: {QUEUED} orders wait already"):
        orders.post("send")
    with pytest.raises(OrderFailed, match="QueueFull"):
        await orders.call("send")


async def test_no_answer(console: Scripted, orders: Orders, short: None, caplog: pytest.LogCaptureFixture):
    """It is told after the order's own deadline and the margin; an answer that comes later is nobody's."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(NoAnswer, match=r"an answer to 'connect' on the test console, none came in 0\.[12] s"):
        await orders.call("connect", 0.05)
    assert 0.1 <= asyncio.get_running_loop().time() - began < SOON

    number, _, _ = await console.asked()
    console.say(f"I (6) wsdevice: {number} ok {{}}")
    call = asyncio.create_task(orders.call("state"))
    console.say(f'I (6) wsdevice: {(await console.asked(2))[0]} ok {{"is":"other"}}')
    assert await call == {"is": "other"}
    assert caplog.records == []


async def test_who_is_cancelled_leaves_nothing_behind(console: Scripted, orders: Orders):
    """The order goes out all the same; nobody waits for its answer."""
    console.held.clear()
    call = asyncio.create_task(orders.call("send"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    console.held.set()

    assert (await console.asked())[1] == "send"
    await asyncio.sleep(0)
    assert not orders._answers


async def test_the_port_is_gone(console: Scripted, orders: Orders):
    """Who waits is told what became of the port; when it is back, orders are taken again."""
    console.error = PortVanished("rfc2217://rig:4001", "unplugged")
    for _ in range(2):
        with pytest.raises(PortVanished, match="unplugged"):
            await orders.call("send")

    console.error = None
    call = asyncio.create_task(orders.call("send"))
    console.say(f"I (6) wsdevice: {(await console.asked())[0]} ok")
    assert await call == {}


async def test_the_port_is_gone_and_nobody_asks(console: Scripted, orders: Orders, caplog: pytest.LogCaptureFixture):
    """An order whose answer nobody wants fails without a word, also in asyncio's log."""
    console.error = PortVanished("rfc2217://rig:4001", "unplugged")
    order = orders.post("cut")
    async with asyncio.timeout(SOON):
        await asyncio.wait([order])
    del order
    gc.collect()

    assert caplog.records == []


async def test_a_console_that_breaks_its_promise(console: Scripted, orders: Orders):
    """What it may not raise is told to who waits, and to everybody after: nothing is written any more."""
    console.error = ZeroDivisionError("a bug")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await orders.call("send")


async def test_a_thread_of_its_own(console: Scripted, orders: Orders):
    """Whatever else blocks in the threads of the loop, orders are written; the thread ends with them."""
    threads = set(threading.enumerate())
    end = threading.Event()
    loop = asyncio.get_running_loop()
    others = [loop.run_in_executor(None, end.wait, SOON) for _ in range(40)]
    orders.post("send")
    await console.until(1)
    end.set()
    await asyncio.gather(*others)
    await orders.aclose()

    async with asyncio.timeout(SOON):
        while any("orders" in one.name for one in set(threading.enumerate()) - threads):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)


async def test_an_order_is_no_answer(console: Scripted, orders: Orders, short: None):
    """What is written to the board is on its console, too, and may hold what looks like an answer."""
    call = asyncio.create_task(orders.call("send", 0.05))
    number, _, _ = await console.asked()
    console.say(f'wsdevice {number} send {{"text":"I (5) wsdevice: {number} ok "}}', "written")

    with pytest.raises(NoAnswer):
        await call


async def test_an_answer_that_comes_twice(console: Scripted, orders: Orders, caplog: pytest.LogCaptureFixture):
    """The first one counts; the loop has nothing to complain about."""
    call = asyncio.create_task(orders.call("state"))
    number, _, _ = await console.asked()
    for answer in (1, 2):
        console.say(f"I (6) wsdevice: {number} ok {answer}")

    assert await call == 1
    assert caplog.records == []


async def test_starts(console: Scripted, orders: Orders):
    """Each announcement is of a new life of the firmware."""
    console.say("I (412) wsdevice: test console 1: connect")
    console.say("I (413) wsdevice: 7 ok {}")
    console.say("I (412) wsdevice: test console 1: connect", "written")
    await asyncio.sleep(0)

    assert orders.starts == 1


async def test_the_end(console: Scripted, orders: Orders):
    """Who waits at the end is told so, and not cancelled; afterwards nobody is asked any more. Twice is once."""
    call = asyncio.create_task(orders.call("hello", 60.0))
    await console.asked()
    nobodys = orders.post("cut")
    await orders.aclose()
    await orders.aclose()
    assert nobodys.cancelled()

    with pytest.raises(NoAnswer):
        await call
    with pytest.raises(NoAnswer):
        await orders.call("hello", 60.0)
    assert console.watchers == []


def test_a_loop_that_was_closed_without_a_word():
    """A console outlives the loops of tests: lines that come later end the watching, and hurt nobody."""
    loop = asyncio.new_event_loop()

    async def begin() -> Scripted:
        console = Scripted()
        orders = Orders(console)
        orders._writer.cancel()
        await asyncio.wait([orders._writer])
        return console

    console = loop.run_until_complete(begin())
    loop.close()
    console.say("I (5) Application: hello")
    assert len(console.watchers) == 1
    console.say("I (5) wsdevice: 7 ok {}")

    assert console.watchers == []
