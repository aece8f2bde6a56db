"""An application watches: every notable thing leaves a record, and observers are shown all of them, in order."""

from gateway.app import Gateway
from gateway.observe.events import DeviceOffline, DeviceOnline, Event
from harness.fakes.device import FakeDevice


class Presence:
    """Keeps a list of who is there; must return quickly, and can neither change nor stop what happens."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.seen: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, DeviceOnline) and not event.replaced:
            self.there.append(event.device)
            self.seen.append(event.device)
        elif isinstance(event, DeviceOffline):
            self.there.remove(event.device)


async def test_own_observer(config):
    """A device that says hello is there, and is gone when the gateway has stopped."""
    presence = Presence()
    async with Gateway(config, observers=[presence]) as gateway, FakeDevice(gateway.websocket_url, "kitchen"):
        assert presence.there == ["kitchen"]

    assert presence.seen == ["kitchen"]
    assert presence.there == []
