"""Supplies look whether switching helped."""

from __future__ import annotations

import pytest

from harness.bench.bench_file import PowerConfig
from harness.bench.errors import RigFailed
from harness.board.power import EnLine, NoSupply, PowerFailed, Supply, VirtualSupply
from harness.errors import Misuse

PROBED = PowerConfig(kind="shell", off_seconds=3.0, probed="2026-11-20")


class Relay(Supply):
    """A supply that can be asked, and can be stuck."""

    def __init__(self, config=PROBED, *, stuck=None, **others):
        super().__init__("b", config, **others)
        self.state = True
        self.stuck = stuck
        self.done = []

    def switch(self, *, on):
        """Obey, or not."""
        self.done.append("on" if on else "off")
        self.state = on if self.stuck is None else self.stuck

    def is_on(self):
        """Tell."""
        return self.state


def test_cycle():
    """Off, the time that capacitors take, on."""
    waited = []
    relay = Relay(wait=lambda seconds: waited.append((tuple(relay.done), seconds)))

    relay.cycle()

    assert (relay.done, waited) == (["off", "on"], [(("off",), 3.0)])


@pytest.mark.parametrize(
    ("stuck", "call", "text"),
    [
        (True, "off", "power of b: cannot switch it off: what switches it reports that it is still on"),
        (False, "on", "power of b: cannot switch it on: what switches it reports that it is still off"),
    ],
)
def test_stuck(stuck, call, text):
    """A switch that reports the other state has failed."""
    with pytest.raises(PowerFailed) as failed:
        getattr(Relay(stuck=stuck), call)()

    assert str(failed.value) == text
    assert failed.value.verdict == "rig"


def test_back_by_itself():
    """A port that the kernel has switched on again was no power cycle; uhubctl's remedy is named."""
    relay = Relay(wait=lambda _: setattr(relay, "state", True))

    with pytest.raises(PowerFailed, match=r'keep it off: it came back by itself within 3 s.*"-r", "100"'):
        relay.cycle()


def test_goes_on_talking():
    """A board whose console goes on is not off, whatever the switch says."""
    with pytest.raises(PowerFailed, match="shell reports that it is off, but its console goes on talking"):
        Relay(is_silent=lambda: False).off()

    Relay(is_silent=lambda: True).off()


def test_cannot_be_asked():
    """A supply that cannot be asked is believed."""
    relay = Relay(wait=lambda _: None)
    relay.is_on = lambda: None

    relay.cycle()

    assert relay.done == ["off", "on"]


def test_trusted():
    """Recovery counts only on what someone has seen working."""
    assert Relay().trusted
    assert not Relay(PowerConfig(kind="shell")).trusted
    assert not EnLine("b", PROBED, lambda held: None).trusted


def test_en_line():
    """EN is held low while it is off."""
    held = []
    line = EnLine("b", PowerConfig(kind="en"), held.append, wait=lambda _: None)

    line.cycle()

    assert (line.kind, held) == ("en", [True, False])


def test_virtual_supply():
    """The rig of a virtual board is told; nobody waits for capacitors."""
    orders = []
    supply = VirtualSupply("b", PowerConfig(kind="virtual", off_seconds=500), orders.append)

    supply.cycle()

    assert (supply.kind, supply.trusted, orders) == ("virtual", True, ["off", "on"])


@pytest.mark.parametrize("call", ["off", "on", "cycle"])
def test_a_rig_that_is_gone(call):
    """A rig that does not answer is a supply that cannot be switched, as any other."""

    def order(_):
        raise RigFailed("nobody listens")

    supply = VirtualSupply("b", PowerConfig(kind="virtual"), order)
    with pytest.raises(PowerFailed, match=r"power of b: cannot switch it (on|off): nobody listens"):
        getattr(supply, call)()


@pytest.mark.parametrize("call", ["off", "on", "cycle"])
def test_no_supply(call):
    """A board without a supply says so."""
    with pytest.raises(Misuse, match="b has no supply that can be switched"):
        getattr(NoSupply("b"), call)()
