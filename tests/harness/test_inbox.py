"""What a device has received and nobody has asked for."""

from __future__ import annotations

import asyncio

import pytest

from harness.inbox import KEPT, Inbox, Message, in_words


def filled(*messages: Message) -> Inbox:
    """An inbox with messages in it."""
    inbox = Inbox()
    for message in messages:
        inbox.put(message)
    return inbox


def is_second(message: Message) -> bool:
    """Fits one message."""
    return message["n"] == 2


class TestTake:
    """Finding what is wanted."""

    def test_by_type(self):
        """The first message of the type is taken, those before it stay."""
        inbox = filled({"type": "a"}, {"type": "b", "n": 1}, {"type": "b", "n": 2})

        assert inbox.take("b", {}) == {"type": "b", "n": 1}
        assert inbox.unread == ({"type": "a"}, {"type": "b", "n": 2})

    def test_once(self):
        """What was taken is not found again, but stays in the record."""
        inbox = filled({"type": "a"})
        inbox.take("a", {})

        assert inbox.take("a", {}) is None
        assert list(inbox.received) == [{"type": "a"}]

    def test_by_fields(self):
        """All fields must be there and equal; a missing one is not None."""
        inbox = filled({"type": "a"}, {"type": "a", "n": 1}, {"type": "a", "n": None})

        assert inbox.take("a", {"n": None}) == {"type": "a", "n": None}
        assert inbox.take("a", {"n": 2}) is None

    def test_by_predicate(self):
        """A function may decide, and fields still count."""
        inbox = filled({"type": "a", "n": 1}, {"type": "b", "n": 2})

        assert inbox.take(is_second, {"type": "a"}) is None
        assert inbox.take(is_second, {"type": "b"}) == {"type": "b", "n": 2}

    def test_clear(self):
        """What is cleared is not found, but stays in the record."""
        inbox = filled({"type": "a"})
        inbox.clear()

        assert inbox.take("a", {}) is None
        assert len(inbox.received) == 1


class TestBound:
    """A device that nobody listens to."""

    def test_at_the_edge(self):
        """As many as are kept are kept."""
        inbox = filled(*({"type": "a", "n": n} for n in range(KEPT)))

        assert (len(inbox.unread), inbox.dropped) == (KEPT, 0)

    def test_past_the_edge(self):
        """One more drops the oldest, and says so."""
        inbox = filled(*({"type": "a", "n": n} for n in range(KEPT + 1)))

        assert (len(inbox.unread), inbox.dropped) == (KEPT, 1)
        assert inbox.take("a", {}) == {"type": "a", "n": 1}
        assert len(inbox.received) == KEPT


class TestUntil:
    """Waiting for news."""

    async def test_there_already(self):
        """What is there is found without waiting, even with no time at all."""
        assert await Inbox().until(lambda: 1, 0) == 1

    async def test_comes(self):
        """What comes later is found when it comes."""
        inbox = Inbox()
        asyncio.get_running_loop().call_soon(inbox.put, {"type": "a"})
        asyncio.get_running_loop().call_soon(inbox.wake)

        assert await inbox.until(lambda: inbox.take("a", {}), 5) == {"type": "a"}

    async def test_several_wait(self):
        """Each of several that wait gets its own message, whoever looks first."""
        inbox = Inbox()
        waits = [asyncio.create_task(inbox.until(lambda kind=kind: inbox.take(kind, {}), 5)) for kind in "ab"]
        await asyncio.sleep(0)
        inbox.put({"type": "b"})
        inbox.wake()
        await asyncio.sleep(0)
        inbox.put({"type": "a"})
        inbox.wake()

        assert await asyncio.gather(*waits) == [{"type": "a"}, {"type": "b"}]

    async def test_does_not_come(self):
        """After the time there is nothing, and no TimeoutError."""
        assert await Inbox().until(lambda: None, 0.01) is None

    async def test_comes_with_the_end_of_the_time(self):
        """What has come is found, though a loop that was held up sees the end of the time in the same turn."""
        inbox, loop = Inbox(), asyncio.get_running_loop()
        wait = asyncio.create_task(inbox.until(lambda: inbox.take("a", {}), 0.01))
        await asyncio.sleep(0)
        loop.call_later(0.001, lambda: [inbox.put({"type": "a"}), inbox.wake()])
        until = loop.time() + 0.02
        while loop.time() < until:
            pass

        assert await wait == {"type": "a"}

    async def test_cancelled(self):
        """A wait that is cancelled ends."""
        wait = asyncio.create_task(Inbox().until(lambda: None, 60))
        await asyncio.sleep(0)
        wait.cancel()

        with pytest.raises(asyncio.CancelledError):
            await wait


def test_in_words():
    """What was wanted is said as it was asked for."""
    assert in_words("peer", {}) == 'a message "peer"'
    assert in_words("peer", {"event": "redelivered", "count": 1}) == (
        "a message \"peer\" with event='redelivered' and count=1"
    )
    assert in_words(is_second, {}) == "a message that fits is_second"
