"""The host's end of the test console: orders to a board's firmware, and its answers, as lines on the UART.

``docs/device-programs.md`` has the lines. An order is ``wsdevice 7 send {"message":{"type":"ping"}}``; its answer is
one log line, ``I (5123) wsdevice: 7 ok {}`` or ``E (5123) wsdevice: 7 failed NotConnected {"text":"..."}``.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import msgspec

from gateway.identity import printable
from gateway.workers import DaemonExecutor
from harness.board.console_lines import Line
from harness.errors import HarnessError, WorldError

TAG = "wsdevice"
QUEUED = 256
"""Orders that wait for the ones before them to be written: more than any test gives without waiting for an answer."""
MARGIN = 5.0
"""Seconds beyond an order's own deadline: two ways over a serial line at 115200 baud, and a busy machine."""
_ANNOUNCEMENT = re.compile(rf"\(\d+\) {TAG}: test console 1: (.+)$")
_ANSWER = re.compile(rf"[IE] \(\d+\) {TAG}: (\d+) (ok|failed)(?: (.*))?$")
_numbers = itertools.count(1)  # of the process: the answer to an order of an earlier test is nobody's


class Console(Protocol):
    """What is needed of a board's console."""

    def write_line(self, text: str) -> None:
        """Put a line on the UART; may block as long as the port does."""

    def watch(self, watcher: Callable[[Line], None]) -> Callable[[], None]:
        """Show each line to ``watcher``, in the console's own thread; the result ends that."""
        ...


class OrderFailed(WorldError):
    """The firmware could not do what it was told.

    Attributes:
        verb: what it was to do.
        error: the name of what went wrong, as of `harness.errors`.
        facts: about it; ``text`` is a sentence.
    """

    def __init__(self, verb: str, error: str, facts: dict[str, Any]) -> None:
        super().__init__(verb, error)
        self.verb = verb
        self.error = error
        self.facts = facts

    @property
    def text(self) -> str:
        """What went wrong, as a sentence."""
        return printable(str(self.facts.get("text", "")), 500)

    def __str__(self) -> str:
        return f"the firmware answered {self.verb!r} with {self.error}: {self.text}"


class NoAnswer(WorldError):
    """The firmware did not answer an order.

    Attributes:
        verb: what it was to do.
        seconds: how long was waited.
    """

    def __init__(self, verb: str, seconds: float) -> None:
        super().__init__(verb, seconds)
        self.verb = verb
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"expected an answer to {self.verb!r} on the test console, none came in {self.seconds:.1f} s; has the "
            "board power, does it run firmware with a test console, and has it not crashed?"
        )


def announced(text: str) -> frozenset[str] | None:
    """Return the verbs that a line announces; None if it is not the announcement of a test console."""
    found = _ANNOUNCEMENT.search(text)
    return frozenset(found[1].split()) if found else None


Order: TypeAlias = "asyncio.Future[tuple[str, str] | HarnessError]"
"""One that was given; it becomes ``ok`` or ``failed`` and the rest of the answer, or why it could not be written."""


class Orders:
    """Orders to one board, in the running loop; written in the order of the calls, in a thread of their own.

    `aclose` ends it.

    Args:
        console: of the board.

    Attributes:
        starts: how often the firmware has announced its test console since then: what it was told before is forgotten.
    """

    def __init__(self, console: Console) -> None:
        self.starts = 0
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[tuple[str, Order]] = asyncio.Queue(QUEUED)
        self._answers: dict[int, Order] = {}
        self._thread = DaemonExecutor(1, "orders to a board")
        self._detach = console.watch(self._said)
        self._writer = self._loop.create_task(self._write(), name="orders to a board")

    async def call(self, verb: str, timeout: float = MARGIN, /, **arguments: Any) -> Any:
        """Give an order and return its answer.

        Raises:
            OrderFailed: the firmware could not do it; or as of `post`.
            NoAnswer: none came within ``timeout`` seconds and `MARGIN`, or before `aclose`.
            PortFailed: it could not be written; the next one may be, when the port is back.
        """
        return await self.answer(verb, self.post(verb, **arguments), timeout)

    def post(self, verb: str, /, **arguments: Any) -> Order:
        """Give an order without waiting; the result is for `answer`, if anybody wants to know.

        Raises:
            OrderFailed: `QUEUED` orders wait already.
        """
        number = next(_numbers)
        order: Order = self._loop.create_future()
        try:
            self._waiting.put_nowait((f"{TAG} {number} {verb} {msgspec.json.encode(arguments).decode()}", order))
        except asyncio.QueueFull:
            raise OrderFailed(verb, "QueueFull", {"text": f"{QUEUED} orders wait already for the port"}) from None
        self._answers[number] = order
        order.add_done_callback(lambda _: self._answers.pop(number, None))
        return order

    async def answer(self, verb: str, order: Order, timeout: float = MARGIN) -> Any:
        """Wait for the answer to an order that was posted; see `call`."""
        began = self._loop.time()
        try:
            either: list[asyncio.Future[Any]] = [order, self._writer]
            await asyncio.wait(either, timeout=timeout + MARGIN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            order.cancel()  # what comes later is nobody's; no change where it is answered
        if order.cancelled():
            if self._writer.done() and not self._writer.cancelled():
                self._writer.result()  # raises what nobody has foreseen
            raise NoAnswer(verb, self._loop.time() - began)
        answer = order.result()
        if isinstance(answer, HarnessError):
            raise answer
        outcome, rest = answer
        if outcome == "ok":
            return _decoded(rest)
        error, _, facts = rest.partition(" ")
        decoded = _decoded(facts)
        raise OrderFailed(verb, error, decoded if isinstance(decoded, dict) else {"text": facts})

    async def aclose(self) -> None:
        """Give up what was not written yet; idempotent."""
        self._detach()
        self._writer.cancel()  # where it has failed, asyncio does not complain that nobody was told
        for order in list(self._answers.values()):
            order.cancel()
        await asyncio.wait([self._writer])
        self._thread.shutdown(wait=False, cancel_futures=True)  # a line that is being written has a deadline

    async def _write(self) -> None:
        while True:
            line, order = await self._waiting.get()
            try:
                await self._loop.run_in_executor(self._thread, self._console.write_line, line)
            except HarnessError as error:
                if not order.done():
                    order.set_result(error)

    def _said(self, line: Line) -> None:
        if line.kind != "said":
            return  # an order may hold what looks like an answer
        if found := _ANSWER.search(line.text):
            self._call(self._answered, int(found[1]), found[2], found[3] or "")
        elif announced(line.text) is not None:
            self._call(self._started)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed without a word: a test that has crashed
            self._detach()

    def _started(self) -> None:
        self.starts += 1

    def _answered(self, number: int, outcome: str, rest: str) -> None:
        order = self._answers.get(number)
        if order is not None and not order.done():
            order.set_result((outcome, rest))


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        return {"text": text}
