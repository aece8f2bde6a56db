"""An application brings its speech engine: here one that hears a word in every packet, and answers with the text."""

from collections.abc import AsyncIterator

from gateway.app import Gateway
from gateway.identity import DeviceId
from gateway.protocol.messages import AudioParams
from gateway.speech.recognizers import Hearing, Sentence, Spoken, Utterance
from harness.fakes.device import FakeDevice


class WordHearing:
    """One utterance; a real engine puts the packets where its own thread or process finds them."""

    def __init__(self) -> None:
        self.words = 0

    def feed(self, packet: bytes) -> None:
        self.words += 1

    async def finish(self) -> str:
        return " ".join(["word"] * self.words)

    def cancel(self) -> None:
        """Nothing is held."""


class WordEngine:
    """Hears, and answers."""

    def begin(self, device: DeviceId, audio: AudioParams) -> Hearing:
        return WordHearing()

    def audio(self, client: AudioParams) -> AudioParams:
        return AudioParams(sample_rate=24000)

    async def speak(self, device: DeviceId, utterance: Utterance) -> AsyncIterator[Spoken]:
        yield Sentence(f"You said {len(utterance.text.split())} words.")
        yield b"an Opus packet"


async def test_own_recognizer(config):
    """What a device says goes to the engine, and what the engine says is heard by the device."""
    engine = WordEngine()
    async with Gateway(config, recognizer=engine, speaker=engine) as gateway:
        async with FakeDevice(gateway.websocket_url, "kitchen") as device:
            await device.send({"type": "listen", "state": "start", "mode": "manual"})
            await device.send_audio(b"packet")
            await device.send_audio(b"packet")
            await device.send({"type": "listen", "state": "stop"})

            assert (await device.expect("stt"))["text"] == "word word"
            assert (await device.expect("tts"))["state"] == "start"
            assert (await device.expect("tts"))["text"] == "You said 2 words."
            assert (await device.expect("tts"))["state"] == "stop"
