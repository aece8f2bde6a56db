"""Tests of the registry."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.identity import DeviceId
from gateway.presence.registry import Registry


def channel(device: str = "aa") -> Any:
    """As much of a channel as the registry looks at."""
    return SimpleNamespace(connect=SimpleNamespace(device=DeviceId(device)))


def session(owner: Any) -> Any:
    """As much of a session as the registry looks at."""
    return SimpleNamespace(device=owner.connect.device, channel=owner)


@pytest.fixture
def registry() -> Registry:
    """Return an empty registry."""
    return Registry()


def test_add_and_get(registry: Registry):
    """A session that was added is found by its device, and by nothing else."""
    one = session(channel("aa"))
    registry.add(one)

    assert registry.get(DeviceId("aa")) is one
    assert registry.get(DeviceId("bb")) is None
    assert len(registry) == 1


def test_one_session_per_device(registry: Registry):
    """A device that is present cannot be added a second time."""
    registry.add(session(channel()))

    with pytest.raises(AssertionError):
        registry.add(session(channel()))


def test_order_of_arrival(registry: Registry):
    """Sessions are iterated in the order of their arrival; a handover does not change it."""
    sessions = [session(channel(name)) for name in ("cc", "aa", "bb")]
    for one in sessions:
        registry.add(one)
    registry.switch(sessions[0], channel("cc"))

    assert list(registry) == sessions


def test_changed_while_iterated(registry: Registry):
    """Sessions may come and go while somebody iterates: it is a copy that is iterated."""
    first, second = channel("aa"), channel("bb")
    registry.add(session(first))
    registry.add(session(second))

    for one in registry:
        registry.release(one.channel)

    assert len(registry) == 0


def test_switch(registry: Registry):
    """The route moves to the newer channel; the one that had it is returned."""
    old, new = channel(), channel()
    one = session(old)
    registry.add(one)

    assert registry.switch(one, new) is old
    assert one.channel is new
    assert len(registry) == 1


def test_release_by_the_owner(registry: Registry):
    """The owner of the route ends the session, once."""
    owner = channel()
    one = session(owner)
    registry.add(one)

    assert registry.release(owner) is one
    assert registry.get(one.device) is None
    assert registry.release(owner) is None


def test_release_by_one_that_was_replaced(registry: Registry):
    """The cleanup of a replaced channel does not unregister the one that replaced it, however equal they look."""
    old, new = channel(), channel()
    assert old == new
    one = session(old)
    registry.add(one)
    registry.switch(one, new)

    assert registry.release(old) is None
    assert registry.get(one.device) is one


def test_release_by_one_that_never_came_alive(registry: Registry):
    """A channel that never owned the route changes nothing, whether or not its device is present."""
    assert registry.release(channel()) is None

    one = session(channel())
    registry.add(one)

    assert registry.release(channel()) is None
    assert registry.get(one.device) is one


DEVICES = ("aa", "bb", "cc")


class Presence(RuleBasedStateMachine):
    """Channels come alive and end in any order; the model knows who came last."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.alive: dict[str, list[Any]] = {name: [] for name in DEVICES}
        self.owners: dict[str, Any] = {}

    @rule(name=st.sampled_from(DEVICES))
    def arrive(self, name: str) -> None:
        """A channel comes alive."""
        new = channel(name)
        present = self.registry.get(DeviceId(name))
        if present is None:
            self.registry.add(session(new))
        else:
            assert self.registry.switch(present, new) is self.owners[name]
        self.alive[name].append(new)
        self.owners[name] = new

    @rule(name=st.sampled_from(DEVICES), which=st.integers(0, 3))
    def leave(self, name: str, which: int) -> None:
        """One of the channels of a device ends, be it the newest or one that was replaced long ago."""
        if not self.alive[name]:
            return
        gone = self.alive[name].pop(which % len(self.alive[name]))
        released = self.registry.release(gone)
        assert (released is not None) == (self.owners.get(name) is gone)
        if released is not None:
            del self.owners[name]

    @invariant()
    def agrees(self) -> None:
        """A device is present while the channel that came last is alive, once, and under its own name."""
        assert {one.device: one.channel for one in self.registry} == self.owners
        assert len(self.registry) == len(self.owners)


TestPresence = Presence.TestCase
TestPresence.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
