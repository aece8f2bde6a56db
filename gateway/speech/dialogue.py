"""The spoken dialogue: ``listen`` and audio in, ``stt`` and a spoken reply out; ``abort``, ``mcp`` and ``iot``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gateway.config import SpeechConfig
from gateway.errors import PoolBusy
from gateway.feature import Feature, Handler
from gateway.observe.events import AudioFrameDropped, DictationEnded, McpReceived
from gateway.protocol import limits
from gateway.protocol.messages import Abort, AudioParams, Iot, Listen, Mcp, Stt
from gateway.speech.dictation import Dictation, Mode
from gateway.speech.recognizers import Recognizer, Speaker, Utterance
from gateway.speech.speaking import TEXT_CHARACTERS, Speech
from gateway.tasks import is_being_cancelled

if TYPE_CHECKING:
    from gateway.device.channel import Channel
    from gateway.device.session import Session

_log = logging.getLogger(__name__)


class Dialogue(Feature):
    """Joins hearing and speaking for every device; see ``docs/speech.md`` for the dialogue on the wire.

    An application that wants ``mcp`` or ``iot`` messages, or ``listen`` for itself, registers its own handlers.
    """

    def __init__(self, config: SpeechConfig, recognizer: Recognizer, speaker: Speaker) -> None:
        self._config = config
        self._recognizer = recognizer
        self._speaker = speaker
        self._conversations: dict[Session, Conversation] = {}

    def handlers(self) -> Iterable[Handler[Any]]:
        """Listen, abort, mcp and iot."""
        return (
            Handler(Listen, self._listen),
            Handler(Abort, self._abort),
            Handler(Mcp, self._mcp),
            Handler(Iot, self._iot),
        )

    def on_online(self, session: Session) -> None:
        """A device may speak now."""
        self._conversations[session] = Conversation(session, self._config, self._recognizer, self._speaker)

    def on_replaced(self, session: Session) -> None:
        """The running utterance goes on over both connections; speech follows with its next packet."""
        self._conversations[session].moved()

    def on_offline(self, session: Session) -> None:
        """What was being said is lost, in both directions."""
        conversation = self._conversations.pop(session, None)
        if conversation is not None:  # it may have gone before it was announced
            conversation.end()

    def is_busy(self, session: Session) -> bool:
        """Whether an utterance is being dictated, recognized or answered."""
        conversation = self._conversations.get(session)
        return conversation is not None and conversation.is_busy()

    @property
    def dictations(self) -> int:
        """Utterances that are being taken."""
        return sum(conversation.is_dictating for conversation in self._conversations.values())

    def downlink_audio(self, client: AudioParams) -> AudioParams:
        """What a device will hear, given what it sends; for the hello answer."""
        return self._speaker.audio(client)

    def on_audio(self, channel: Channel, packet: bytes) -> None:
        """Take one uplink Opus packet of a device, from whichever of its connections; never raises."""
        session = channel.session
        conversation = self._conversations.get(session) if session is not None else None
        if conversation is not None:
            conversation.hear(channel, packet)

    def _listen(self, session: Session, message: Listen) -> None:
        conversation = self._conversations[session]
        if message.state == "start":
            conversation.start(message.mode)
        elif message.state == "stop":
            conversation.stop()
        else:
            conversation.detect(message.text)

    def _abort(self, session: Session, message: Abort) -> None:  # noqa: ARG002 - the reason changes nothing
        self._conversations[session].abort()

    def _mcp(self, session: Session, message: Mcp) -> None:  # noqa: ARG002 - records hold no bodies
        session.observers.emit(McpReceived(device=session.device, session=session.id))

    def _iot(self, session: Session, message: Iot) -> None:
        """Taken and left: the firmware announces its things whether or not anybody asks."""


class Conversation:
    """What one device and its engine are about: at most one dictation, one recognition and one speech.

    In half-duplex modes these follow each other. In ``realtime`` mode, and after the engine has ended an utterance, the
    next dictation runs beside the recognition and the reply of the one before.
    """

    __slots__ = (
        "_config",
        "_detected_at",
        "_dictation",
        "_recognition",
        "_recognized",
        "_recognizer",
        "_session",
        "_silence",
        "_speaker",
        "_speech",
        "_speech_task",
    )

    def __init__(self, session: Session, config: SpeechConfig, recognizer: Recognizer, speaker: Speaker) -> None:
        self._session = session
        self._config = config
        self._recognizer = recognizer
        self._speaker = speaker
        self._dictation: Dictation | None = None
        self._silence: asyncio.TimerHandle | None = None  # as long as an utterance is heard
        self._recognized: Dictation | None = None
        """Ended, its text not there yet."""
        self._recognition: asyncio.Task[None] | None = None
        self._speech: Speech | None = None
        self._speech_task: asyncio.Task[None] | None = None
        self._detected_at = -limits.LISTEN_DEBOUNCE

    # --- what the device says -----------------------------------------------------------------------------------

    def start(self, mode: Mode) -> None:
        """Begin an utterance, or go on with it on a new connection; a repeat within 300 ms changes nothing."""
        now, channel = self._now(), self._session.channel
        if self._dictation is not None and self._dictation.is_repeat(channel, now):
            return
        # the firmware says start right behind the wake word, before it can know of the reply to that
        if mode != "realtime" and now - self._detected_at >= limits.LISTEN_DEBOUNCE:
            self.abort()
        if self._dictation is not None and self._dictation.taken_over(channel, mode, now):
            return
        self._cancel_dictation("abort")
        self._begin(mode)

    def stop(self) -> None:
        """End the utterance: it is recognized and answered. Without one (a repeat, or a stray), nothing happens."""
        dictation = self._dictation
        if dictation is None:
            return
        answered = dictation.continued and (self._recognized is not None or self._is_speaking())
        if dictation.hearing is None or answered:
            # the end was heard before the device said it, and nothing came since, or the reply is under way
            self._cancel_dictation("stop")
        else:
            self._recognize()

    def detect(self, text: str) -> None:
        """Answer a wake word, or typed text; empty text is none."""
        text = text.strip()[:TEXT_CHARACTERS]
        if text:
            self._detected_at = self._now()
            self._answer(Utterance(text, (), self._session.hello.audio_params))

    def abort(self) -> None:
        """Stop speaking now, and do not begin to; what the device is dictating goes on."""
        self._cancel_recognition("abort")
        self._stop_speech()

    def hear(self, channel: Channel, packet: bytes) -> None:
        """Take one packet of the device."""
        dictation = self._dictation
        if dictation is None:
            self._emit(AudioFrameDropped, why="no_dictation")
            return
        dictation.heard_at = self._now()
        if (refusal := dictation.refusal(channel)) is not None:
            self._emit(AudioFrameDropped, why=refusal)
            return
        if dictation.hearing is None and not self._begin_to_hear(dictation):
            return
        try:
            ended = dictation.hear(packet)
        except Exception as error:  # noqa: BLE001 - the rim: an engine is foreign code
            self._cancel_dictation("failed")
            self._engine_failed("hear", error)
            return
        if ended and dictation.mode != "manual" and self._recognized is None:
            self._recognize()
            # the device streams on until it hears the reply: what it still has to say is not lost
            self._begin(dictation.mode, continued=True)

    # --- its life -----------------------------------------------------------------------------------------------

    def moved(self) -> None:
        """A newer connection of the device owns the route."""
        if self._dictation is not None:
            self._dictation.moved(self._session.channel)

    def end(self) -> None:
        """The device is gone."""
        self._cancel_dictation("offline")
        self._cancel_recognition("offline")
        if self._speech is not None:
            self._speech.abandon()
        self._stop_speech()

    @property
    def is_dictating(self) -> bool:
        """Whether an utterance is being taken."""
        return self._dictation is not None and self._dictation.hearing is not None

    def is_busy(self) -> bool:
        """Whether a sentence runs, in either direction."""
        return self.is_dictating or self._recognized is not None or self._is_speaking()

    # --- hearing ------------------------------------------------------------------------------------------------

    def _begin(self, mode: Mode, *, continued: bool = False) -> None:
        """Begin an utterance; one that continues begins to be heard with its first packet, if there is one."""
        session = self._session
        longest = self._config.utterance_seconds
        self._dictation = Dictation(
            session.channel, session.hello.audio_params, mode, self._now(), longest, continued=continued
        )
        if not continued:
            self._begin_to_hear(self._dictation)

    def _begin_to_hear(self, dictation: Dictation) -> bool:
        try:
            dictation.hearing = self._recognizer.begin(self._session.device, dictation.audio)
        except Exception as error:  # noqa: BLE001 - the rim: an engine is foreign code
            self._dictation = None
            self._emit(DictationEnded, packets=0, because="failed")
            self._engine_failed("begin to hear", error)
            return False
        self._watch_silence(dictation)
        return True

    def _watch_silence(self, dictation: Dictation) -> None:
        """Give the utterance up when no audio has come for long; the timer is not touched by what comes."""
        due = dictation.heard_at + limits.DICTATION_SILENCE
        if self._now() < due:
            self._silence = asyncio.get_running_loop().call_at(due, self._watch_silence, dictation)
            return
        self._cancel_dictation("silence")
        self._begin(dictation.mode, continued=True)  # a link that was stalled may come back, with the device listening

    def _end_dictation(self) -> Dictation | None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        dictation, self._dictation = self._dictation, None
        return dictation

    def _recognize(self) -> None:
        """End the dictation and have its text found; one is recognized at a time, the last to end."""
        self._cancel_recognition("abort")
        dictation = self._end_dictation()
        assert dictation is not None
        self._recognized = dictation
        self._recognition = self._session.tasks.spawn(self._find_text(dictation), "recognition")

    async def _find_text(self, dictation: Dictation) -> None:
        assert dictation.hearing is not None
        try:
            async with asyncio.timeout(self._config.recognition_timeout):
                found = await dictation.hearing.finish()
            text = found.strip()[:TEXT_CHARACTERS]
        except (Exception, asyncio.CancelledError) as error:
            if self._recognized is not dictation or is_being_cancelled():
                raise  # over already; the owner of the task reports it
            self._cancel_recognition("failed")
            self._engine_failed("recognize", error)
            return
        if self._recognized is not dictation:
            return  # aborted, and the engine did not heed its cancellation
        self._recognized = None
        self._emit(DictationEnded, packets=dictation.packets, because="stop")
        if text:
            self._answer(dictation.utterance(text))

    def _cancel_dictation(self, because: str) -> None:
        dictation = self._end_dictation()
        if dictation is not None:
            self._cancel_hearing(dictation, because)

    def _cancel_recognition(self, because: str) -> None:
        dictation, self._recognized = self._recognized, None
        if dictation is None:
            return
        if self._recognition is not None and self._recognition is not asyncio.current_task():
            self._recognition.cancel()
        self._cancel_hearing(dictation, because)

    def _cancel_hearing(self, dictation: Dictation, because: str) -> None:
        if dictation.hearing is None:
            return  # it has not begun
        try:
            dictation.hearing.cancel()
        except Exception:  # noqa: BLE001 - the rim: an engine is foreign code
            _log.exception("the speech engine failed to cancel for %s", self._session.device)
        self._emit(DictationEnded, packets=dictation.packets, because=because)

    # --- speaking -----------------------------------------------------------------------------------------------

    def _answer(self, utterance: Utterance) -> None:
        """Show what was heard and speak the reply; a reply that is still being spoken gives way."""
        self._stop_speech()
        self._session.send_json(Stt(utterance.text))
        try:
            self._speech = Speech(self._session, self._speaker, utterance, self._config)
        except Exception as error:  # noqa: BLE001 - the rim: an engine is foreign code
            self._engine_failed("speak", error)
            return
        self._speech.start()
        self._speech_task = self._session.tasks.spawn(self._speak(self._speech), "speech")

    async def _speak(self, speech: Speech) -> None:
        try:
            await speech.run()
        except (Exception, asyncio.CancelledError) as error:
            if self._speech is not speech or is_being_cancelled():
                raise  # over already; the owner of the task reports it
            self._engine_failed("speak", error)

    def _stop_speech(self) -> None:
        if self._speech is not None and self._speech_task is not None:
            self._speech.stop()
            self._speech_task.cancel()
        self._speech = self._speech_task = None

    def _is_speaking(self) -> bool:
        return self._speech is not None and not self._speech.over

    # --- records and errors -------------------------------------------------------------------------------------

    def _engine_failed(self, what: str, error: BaseException) -> None:
        session = self._session
        if isinstance(error, PoolBusy):
            session.send_error("BUSY", "the speech engine has no room now; try again")
            return
        _log.error("the speech engine failed to %s for %s", what, session.device, exc_info=error)
        session.send_error("INTERNAL_ERROR", "the speech engine failed")

    def _emit(self, event: Callable[..., Any], **facts: Any) -> None:
        self._session.observers.emit(event(device=self._session.device, session=self._session.id, **facts))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
