"""A session without a socket, and engines that do as they are told, for the tests of speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from gateway.config import SpeechConfig
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.identity import DeviceId
from gateway.observe.events import Event, Observers
from gateway.protocol.messages import AudioParams, Hello, Listen
from gateway.speech.dialogue import Dialogue
from gateway.speech.recognizers import Sentence, Spoken, Utterance

DEVICE = DeviceId("aa:bb:cc:dd:ee:ff")
INTERVAL = 0.06


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


async def turns(count: int = 5) -> None:
    """Let everything run that is ready, without moving the clock."""
    for _ in range(count):
        await asyncio.sleep(0)


class FakeChannel:
    """One connection; keeps what is sent to it, each with its time."""

    def __init__(self, name: str, audio: AudioParams | None = None) -> None:
        self.name = name
        self.hello = Hello(audio_params=audio or AudioParams())
        self.session: Session | None = None
        self.sent: list[tuple[float, Any]] = []
        self.dropped_at: list[float] = []
        self.result = Sent.WRITTEN

    def __repr__(self) -> str:
        return f"<channel {self.name}>"

    def send_json(self, message: Any) -> Sent:
        """Keep a text frame."""
        self.sent.append((now(), msgspec.to_builtins(message)))
        return self.result

    def send_audio(self, packet: bytes) -> Sent:
        """Keep a packet; like framing, refuse an empty one."""
        if not packet:
            raise ValueError("expected an Opus packet, got no bytes")
        self.sent.append((now(), packet))
        return self.result

    def send_error(self, code: str, message: str, ref: str | None = None, answer: Any = None) -> Sent:
        """Keep an error reply."""
        return self.send_json({"type": "error", "code": code, "message": message})

    def drop_audio(self) -> int:
        """Keep that waiting audio was dropped."""
        self.dropped_at.append(now())
        self.sent.append((now(), "drop"))
        return 0

    # --- looking at what was sent ---

    @property
    def said(self) -> list[str]:
        """In short words: the text frames, ``audio`` for a run of packets, ``drop`` for dropped audio."""
        words: list[str] = []
        for _, item in self.sent:
            word = _word(item)
            if word != "audio" or not words or words[-1] != "audio":
                words.append(word)
        return words

    @property
    def audio(self) -> list[bytes]:
        """All packets."""
        return [item for _, item in self.sent if isinstance(item, bytes)]

    @property
    def audio_times(self) -> list[float]:
        """When each packet was sent."""
        return [when for when, item in self.sent if isinstance(item, bytes)]

    def when(self, word: str) -> list[float]:
        """When a frame, in the words of `said`, was sent."""
        return [when for when, item in self.sent if _word(item) == word]


def _word(item: Any) -> str:
    if isinstance(item, bytes):
        return "audio"
    if isinstance(item, str):
        return item
    if item["type"] == "tts":
        return f"tts {item['state']}" + (f" {item['text']}" if "text" in item else "")
    if item["type"] == "stt":
        return f"stt {item['text']}"
    return f"error {item['code']}"


class Stage:
    """One device with a dialogue; made inside the running loop."""

    def __init__(self, recognizer: Any, speaker: Any, audio: AudioParams | None = None, **config: Any) -> None:
        self.dialogue = Dialogue(SpeechConfig(**config), recognizer, speaker)
        self.handlers = {handler.type: handler for handler in self.dialogue.handlers()}
        self.events: list[Event] = []
        self.channel = FakeChannel("first", audio)
        self.session = Session(DEVICE, self.channel, Observers([self.events.append]), now())  # type: ignore[arg-type]
        self.channel.session = self.session
        self.dialogue.on_online(self.session)

    def receive(self, kind: str, **fields: Any) -> None:
        """One text message of the device, as its channel hands it on."""
        handler = self.handlers[kind]
        handler.handle(self.session, msgspec.convert({"type": kind, **fields}, handler.message))

    def listen(self, state: str, mode: str = "manual", text: str = "") -> None:
        """A ``listen`` message of the device."""
        self.handlers["listen"].handle(self.session, Listen(state, mode, text))  # type: ignore[arg-type]

    def audio(self, *packets: bytes, channel: FakeChannel | None = None) -> None:
        """Packets of the device, as its channel hands them on."""
        for packet in packets:
            self.dialogue.on_audio(channel or self.channel, packet)  # type: ignore[arg-type]

    def reconnect(self, name: str = "second") -> FakeChannel:
        """A newer connection takes the route; the older one's frames may still come."""
        channel = FakeChannel(name)
        channel.session = self.session
        self.session.channel = self.channel = channel  # type: ignore[assignment]
        self.dialogue.on_replaced(self.session)
        return channel

    def leave(self) -> None:
        """The last connection is gone."""
        self.dialogue.on_offline(self.session)
        self.session.tasks.cancel()

    async def close(self) -> None:
        """Leave, and see all tasks end."""
        self.leave()
        assert await self.session.tasks.close(1.0)

    @property
    def busy(self) -> bool:
        """What a drain would ask."""
        return self.dialogue.is_busy(self.session)

    def of(self, kind: type[Event]) -> list[Any]:
        """The records of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


class FakeHearing:
    """Does as its recognizer is told, and remembers what was done to it."""

    def __init__(self, engine: FakeRecognizer) -> None:
        self._engine = engine
        self.packets: list[bytes] = []
        self.cancelled = 0
        self.finished = 0

    def feed(self, packet: bytes) -> bool | None:
        """Keep the packet; it may be one that ends the utterance."""
        if self.cancelled or self.finished:
            raise AssertionError("fed after its end")
        self.packets.append(packet)
        if self._engine.feed_error is not None:
            raise self._engine.feed_error
        return packet in self._engine.ends

    async def finish(self) -> str:
        """Take its time, then fail or tell the text."""
        self.finished += 1
        if self._engine.takes:
            await asyncio.sleep(self._engine.takes)
        if self._engine.finish_error is not None:
            raise self._engine.finish_error
        return self._engine.text if self._engine.text is not None else b"".join(self.packets).decode()

    def cancel(self) -> None:
        """Count it."""
        self.cancelled += 1
        if self._engine.cancel_error is not None:
            raise self._engine.cancel_error


class FakeRecognizer:
    """Its text is what its packets spell, unless told otherwise."""

    def __init__(self, *, takes: float = 0, text: str | None = None, ends: Iterable[bytes] = ()) -> None:
        self.takes = takes
        self.text = text
        self.ends = frozenset(ends)
        self.begin_error: Exception | None = None
        self.feed_error: Exception | None = None
        self.finish_error: BaseException | None = None
        self.cancel_error: Exception | None = None
        self.hearings: list[FakeHearing] = []
        self.begun: list[tuple[str, AudioParams]] = []

    def begin(self, device: DeviceId, audio: AudioParams) -> FakeHearing:
        """Begin an utterance, or fail."""
        if self.begin_error is not None:
            raise self.begin_error
        self.begun.append((device, audio))
        hearing = FakeHearing(self)
        self.hearings.append(hearing)
        return hearing


class FakeSpeaker:
    """Speaks a script: pieces of speech, pauses in seconds, and exceptions to raise."""

    def __init__(self, *script: Spoken | float | BaseException, audio: AudioParams | None = None) -> None:
        self.script = script
        self.params = audio
        self.utterances: list[Utterance] = []
        self.closed = 0

    def audio(self, client: AudioParams) -> AudioParams:
        """As told, else as the client."""
        return self.params or client

    async def speak(self, device: DeviceId, utterance: Utterance) -> AsyncIterator[Spoken]:
        """Follow the script."""
        self.utterances.append(utterance)
        try:
            for item in self.script:
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, bytes | Sentence):
                    yield item
                else:
                    await asyncio.sleep(item)
        finally:
            self.closed += 1


def packets(count: int) -> list[bytes]:
    """Packets that can be told apart: ``b"0"``, ``b"1"`` and so on."""
    return [b"%d" % number for number in range(count)]
