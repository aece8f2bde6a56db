"""Tests of the desk: the table of handlers, and what features are asked."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.app import Gateway
from gateway.config import Config
from gateway.desk import ABILITIES, MainDesk
from gateway.errors import Misuse
from gateway.feature import Feature, Handler
from gateway.observe.events import Observers
from gateway.protocol.messages import AudioParams
from tests.simulated import IN_MEMORY

SESSION: Any = SimpleNamespace(device="aa", mode=None)


class Lamp(msgspec.Struct, tag="lamp"):
    """An application's message."""


class Bell(msgspec.Struct, tag="bell"):
    """Another one."""


def one(session: Any, message: Any) -> None:
    """Handle a message."""


def other(session: Any, message: Any) -> None:
    """Handle it otherwise."""


class Part(Feature):
    """A feature that does as it is told.

    Args:
        handlers: its handlers.
        busy: what it says when asked; an exception is raised.
    """

    def __init__(self, *handlers: Handler[Any], busy: Any = False) -> None:
        self._handlers = handlers
        self.busy = busy
        self.online: list[Any] = []
        self.hellos: list[Any] = []

    def handlers(self) -> Iterable[Handler[Any]]:
        """As given."""
        return self._handlers

    def on_online(self, session: Any) -> None:
        """Note it."""
        self.online.append(session)

    def on_hello(self, session: Any) -> None:
        """Note it."""
        self.hellos.append(session)

    def is_busy(self, session: Any) -> bool:
        """Answer as told."""
        if isinstance(self.busy, Exception):
            raise self.busy
        return self.busy


class Broken(Part):
    """A feature that fails to hear of a device."""

    def on_online(self, session: Any) -> None:
        """Fail."""
        raise RuntimeError("broken")


class FakeDialogue:
    """As much of a dialogue as the desk uses."""

    def __init__(self, audio: Any = None) -> None:
        self.audio = audio
        self.taken: list[Any] = []

    def downlink_audio(self, client: AudioParams) -> AudioParams:
        """Answer as told."""
        if isinstance(self.audio, Exception):
            raise self.audio
        return self.audio

    def on_audio(self, channel: Any, packet: bytes) -> None:
        """Note a packet."""
        self.taken.append((channel, packet))


def desk(*features: Feature, dialogue: Any = None) -> MainDesk:
    """A desk of these features, in a meeting of all but nobody."""
    meetings: Any = SimpleNamespace(is_in_meeting=lambda device: device == "in")
    return MainDesk(Config(), Observers(), features, dialogue or FakeDialogue(), meetings)


# --- the table ----------------------------------------------------------------------------------------------------


def test_handlers():
    """The handlers of all features stand in one table, by type."""
    lamp, bell = Handler(Lamp, one), Handler(Bell, one)

    assert desk(Part(lamp), Part(), Part(bell)).handlers == {"lamp": lamp, "bell": bell}


def test_a_later_handler_takes_the_place():
    """A later feature's handler for the same type takes the place of an earlier one's."""
    built_in, own = Handler(Lamp, one), Handler(Lamp, other)

    assert desk(Part(built_in), Part(own)).handlers == {"lamp": own}


def test_offers():
    """What is offered is every type there is a handler for, and what a hello may ask for, once each and in order."""
    offers = desk(Part(Handler(Lamp, one)), Part(Handler(Bell, one), Handler(Lamp, other))).offers

    assert offers == sorted({"lamp", "bell", *ABILITIES})


@pytest.mark.parametrize("name", ["hello", "ping", "keepalive"])
def test_types_that_reach_no_handler(name: str):
    """A handler for what connections handle themselves would never be called, and is refused."""
    message = msgspec.defstruct("Own", [], tag=name)

    with pytest.raises(Misuse, match=name):
        desk(Part(Handler(message, one)))
    with pytest.raises(Misuse, match=name):
        Gateway(Config(mailbox=IN_MEMORY), handlers=[Handler(message, one)])


def test_the_gateways_own_table():
    """The built-in types are those of the wire, and an application's are added or take their place."""
    built_in = {"abort", "iot", "listen", "mcp", "meeting", "mode", "peer", "workflow"}
    lamp, mcp = Handler(Lamp, one), Handler(msgspec.defstruct("Mcp", [], tag="mcp"), one)

    assert set(Gateway(Config(mailbox=IN_MEMORY))._desk.handlers) == built_in
    handlers = Gateway(Config(mailbox=IN_MEMORY), handlers=[lamp, mcp])._desk.handlers
    assert set(handlers) == {*built_in, "lamp"}
    assert handlers["mcp"] is mcp


# --- telling ------------------------------------------------------------------------------------------------------


def test_tell_in_order():
    """A hook is called on every feature, in order."""
    told: list[Feature] = []

    class Noting(Feature):
        def on_online(self, session: Any) -> None:
            told.append(self)

    features = [Noting(), Noting()]
    desk(*features).tell(lambda feature: feature.on_online, SESSION)

    assert told == features


def test_tell_one_that_fails(caplog: pytest.LogCaptureFixture):
    """A feature that fails is logged by name and does not keep the others from hearing."""
    before, after = Part(), Part()
    with caplog.at_level(logging.ERROR):
        desk(before, Broken(), after).tell(lambda feature: feature.on_online, SESSION)

    assert before.online == after.online == [SESSION]
    assert [record.message for record in caplog.records] == ["Broken failed for aa"]
    assert caplog.records[0].exc_info is not None


def test_answers_hello():
    """Features hear that a hello was answered."""
    part = Part()
    desk(part).answers_hello(SESSION)

    assert part.hellos == [SESSION]


# --- asking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busy", "expected"), [((), False), ((False, False), False), ((False, True), True), ((True, False), True)]
)
def test_is_busy(busy: tuple[bool, ...], expected: bool):
    """A device is busy when any feature says so."""
    assert desk(*(Part(busy=one) for one in busy)).is_busy(SESSION) is expected


def test_one_that_cannot_say_whether_it_is_busy(caplog: pytest.LogCaptureFixture):
    """A feature that fails when asked has no vote, others have; it is logged once, however often it is asked."""
    broken = RuntimeError("broken")
    idle = desk(Part(busy=broken), Part())
    with caplog.at_level(logging.ERROR):
        assert [idle.is_busy(SESSION) for _ in range(100)] == [False] * 100

    assert [record.message for record in caplog.records] == ["Part failed to say whether it is busy"]
    assert desk(Part(busy=broken), Part(busy=True)).is_busy(SESSION)


def test_in_meeting():
    """Who is in a meeting is the meetings' to say."""
    there: list[Any] = [SimpleNamespace(device="in", mode=None), SimpleNamespace(device="aa", mode="meeting")]
    elsewhere: list[Any] = [SESSION, SimpleNamespace(device="aa", mode="working")]
    assert [desk().in_meeting(session) for session in there] == [True, True]
    assert [desk().in_meeting(session) for session in elsewhere] == [False, False]


def test_audio_both_ways():
    """Uplink packets go to the dialogue, which also says what the downlink is."""
    dialogue = FakeDialogue(AudioParams(sample_rate=24000))
    channel: Any = object()
    main = desk(dialogue=dialogue)
    main.take_audio(channel, b"opus")

    assert dialogue.taken == [(channel, b"opus")]
    assert main.downlink_audio(AudioParams()).sample_rate == 24000


def test_an_engine_that_cannot_say_what_its_audio_is(caplog: pytest.LogCaptureFixture):
    """The hello is answered all the same, with what the device sends itself."""
    client = AudioParams(frame_duration=20)
    with caplog.at_level(logging.ERROR):
        assert desk(dialogue=FakeDialogue(RuntimeError("broken"))).downlink_audio(client) == client

    assert len(caplog.records) == 1
