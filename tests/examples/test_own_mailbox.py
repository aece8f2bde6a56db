"""An application brings its own mailbox: here the one in memory, which tells what it is given."""

from collections.abc import Sequence

from gateway.app import Gateway
from gateway.observe.clock import wall_clock
from gateway.peer.mailbox import Letter, Stored
from gateway.peer.memory_mailbox import MemoryMailbox
from harness.fakes.device import FakeDevice


class TellingMailbox(MemoryMailbox):
    """Any class that keeps the promises of `gateway.peer.mailbox.Mailbox` will do; inheriting is not needed."""

    def __init__(self) -> None:
        super().__init__(per_device=100, total=1000, dedupe=600, wall_clock=wall_clock)
        self.told: list[str] = []

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        self.told += [f"{letter.sender} -> {letter.recipient}" for letter in letters]
        return await super().store(letters)


async def test_own_mailbox(config):
    """A message for a device that is not there goes into the application's mailbox."""
    mailbox = TellingMailbox()
    async with Gateway(config, mailbox=mailbox) as gateway, FakeDevice(gateway.websocket_url, "kitchen") as kitchen:
        await kitchen.send({"type": "peer", "to": "hallway", "payload": {"text": "dinner"}})

        assert (await kitchen.expect("peer"))["enqueued"] == ["hallway"]

    assert mailbox.told == ["kitchen -> hallway"]
