"""The JSON messages, both ways, as typed structs; `gateway.protocol.decoding` reads them.

Not here: heartbeats, which `gateway.device.channel` answers without decoding them further, and what only applications
send to their firmware (``llm``, ``alert``, ``custom``, ``system`` commands), which they send as mappings.

Uplink structs are tolerant: each field has a default, because clients in the field leave out what they like
(``session_id`` may be absent, empty or stale, and is never looked at). What a feature must check itself, because the
wire names an own error code for it, is typed ``Any``.

Downlink structs are written exactly as devices expect them; optional fields are left out when unset.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.protocol import limits

_encoder = msgspec.json.Encoder()
encode = _encoder.encode
"""Encode a message (a struct of this module, or a mapping) as the bytes of one text frame."""


# --- audio parameters, shared by both ways ------------------------------------------------------------------------


class AudioParams(msgspec.Struct, frozen=True):
    """Parameters of an audio stream; the defaults are the firmware's uplink."""

    format: str = "opus"
    sample_rate: int = limits.UPLINK_SAMPLE_RATE
    channels: int = 1
    frame_duration: int = limits.FRAME_DURATION_MS


# --- device -> gateway ----------------------------------------------------------------------------------------


class Hello(msgspec.Struct, tag="hello"):
    """The first message of a session; read leniently by `read_hello`."""

    version: int = 1
    transport: str = "websocket"
    features: dict[str, Any] = {}
    audio_params: AudioParams = AudioParams()


def read_hello(message: dict[str, Any]) -> tuple[Hello, list[str]]:
    """Read a hello, taking the default for each field that is wrong.

    Returns:
        The hello, and the names of the fields that were wrong (empty for a good one). Audio parameters are taken
        or left as a whole. A browser page sends none of the fields; that is a good hello.
    """
    hello = Hello()
    wrong: list[str] = []
    version = message.get("version", 1)
    if type(version) is int and version >= 1:
        hello.version = version
    else:
        wrong.append("version")
    transport = message.get("transport", "websocket")
    if type(transport) is str:
        hello.transport = transport
    else:
        wrong.append("transport")
    features = message.get("features", {})
    if type(features) is dict:
        hello.features = features
    else:
        wrong.append("features")
    try:
        params = msgspec.convert(message.get("audio_params", {}), AudioParams)
    except msgspec.ValidationError:
        wrong.append("audio_params")
    else:
        # Opus knows 8 to 48 kHz, one or two channels, and frames of up to 120 ms (RFC 6716 section 2).
        if 8000 <= params.sample_rate <= 48000 and params.channels in (1, 2) and 1 <= params.frame_duration <= 120:
            hello.audio_params = params
        else:
            wrong.append("audio_params")
    return hello, wrong


class Listen(msgspec.Struct, tag="listen"):
    """Start or stop of an utterance; ``detect`` brings a wake word or typed text."""

    state: Literal["start", "stop", "detect"]
    mode: Literal["auto", "manual", "realtime"] = "auto"
    text: str = ""


class Abort(msgspec.Struct, tag="abort"):
    """Stop speaking now."""

    reason: str = ""


class Mcp(msgspec.Struct, tag="mcp"):
    """JSON-RPC 2.0, both ways."""

    payload: dict[str, Any]


class Iot(msgspec.Struct, tag="iot"):
    """The firmware's older description of things; taken and shown to observers."""

    update: bool = False
    descriptors: Any = None
    states: Any = None


class Peer(msgspec.Struct, tag="peer"):
    """A message to other devices, or (``event: "ack"``) the acknowledgement of one; checked by the courier."""

    to: Any = None
    payload: Any = None
    id: Any = None
    ttl_ms: Any = None
    confirm: Any = False
    event: Any = None
    ids: Any = None


class Meeting(msgspec.Struct, tag="meeting"):
    """One step of a meeting; checked by the meeting feature."""

    phase: Any = None
    items: Any = None
    title: Any = None
    meeting_id: Any = None
    delay_ms: Any = None


class Mode(msgspec.Struct, tag="mode"):
    """Enter or leave a mode."""

    state: Literal["start", "end"]
    mode: Literal["meeting", "coding", "working"]


class Workflow(msgspec.Struct, tag="workflow"):
    """Ask for the group's task list (``snapshot``) or change it (``update``)."""

    event: Literal["snapshot", "update"]
    tasks: Any = None
    delay_ms: Any = None


# --- gateway -> device ----------------------------------------------------------------------------------------


class HelloAnswer(msgspec.Struct, tag="hello"):
    """The answer to hello; the firmware crashes when ``transport`` is not a string, so all fields are always there."""

    session_id: str
    audio_params: AudioParams
    gateway: dict[str, Any]
    version: int = 1
    transport: str = "websocket"


class Pong(msgspec.Struct, tag="pong"):
    """The answer to a heartbeat, exactly ``{"type":"pong"}`` unless the ping had an id."""

    id: str | int | UnsetType = UNSET


class Error(msgspec.Struct, tag="error"):
    """An error reply; it never repeats what the peer sent."""

    code: str
    message: str
    ref: str | UnsetType = UNSET


class Stt(msgspec.Struct, tag="stt"):
    """What was heard."""

    text: str


class Tts(msgspec.Struct, tag="tts"):
    """Speech begins, a sentence begins, speech ends; the firmware plays audio only between start and stop."""

    state: Literal["start", "sentence_start", "stop"]
    text: str | UnsetType = UNSET


class SystemNotice(msgspec.Struct, tag="system"):
    """A notice for people; the firmware ignores a system message without command."""

    message: str


HANDOVER_NOTICE = SystemNotice("检测到新连接，当前通道将于约1.5秒后关闭以切换到新通道")
"""The `/supie/v1/` fork's notice to a connection that is being replaced; verbatim, whatever the configured window."""


class PeerMessage(msgspec.Struct, tag="peer"):
    """A message as its target gets it.

    ``from`` is the sender, ``ts`` the time of acceptance in milliseconds since 1970.
    """

    from_: str = msgspec.field(name="from")
    payload: Any
    id: str
    ts: int
    redelivered: bool | UnsetType = UNSET


class PeerReceipt(msgspec.Struct, tag="peer", rename={"elapsed_ms": "elapsedMs", "targets_count": "targetsCount"}):
    """What became of a message; each target is in exactly one of the lists.

    ``reasons`` says why for each failed target; ``confirm`` is ``written`` where a delivery was confirmed by the
    target's TCP only.
    """

    delivered: list[str]
    enqueued: list[str]
    failed: list[str]
    summary: str
    elapsed_ms: int
    targets_count: int
    status: str = "done"
    id: str | UnsetType = UNSET
    confirm: str | UnsetType = UNSET
    reasons: dict[str, str] | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET


class PeerError(msgspec.Struct, tag="peer"):
    """A peer request that was not taken."""

    code: str
    message: str
    status: str = "error"
    id: str | UnsetType = UNSET


class PeerEvent(msgspec.Struct, tag="peer"):
    """What happened later to messages a device has sent: ``redelivered``, ``delivered``, ``expired``, ``dropped``.

    ``id`` is the message's for ``delivered``; for an event that waited in the mailbox it is the event's own, so that
    a device which acknowledges can acknowledge it.
    """

    event: str
    to: str
    count: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class ModeAnswer(msgspec.Struct, tag="mode"):
    """The mode is as asked."""

    state: str
    mode: str
    status: str = "ok"


class MeetingAnswer(msgspec.Struct, tag="meeting"):
    """The answer to a step of a meeting."""

    phase: str
    status: str = "ok"
    ignored: int | UnsetType = UNSET
    revision: int | UnsetType = UNSET
    items: list[dict[str, Any]] | UnsetType = UNSET
    idempotent: bool | UnsetType = UNSET


class MeetingError(msgspec.Struct, tag="meeting"):
    """A step of a meeting that was not taken."""

    code: str
    message: str
    status: str = "error"


class MeetingTranscript(msgspec.Struct, tag="meeting"):
    """The last lines of the running transcript, pushed while the meeting runs."""

    items: list[dict[str, Any]]
    revision: int
    phase: str = "transcript"


class MeetingSummary(msgspec.Struct, tag="meeting", rename={"next_steps": "nextSteps"}):
    """The summary of a finalized meeting; ``duration`` is in seconds."""

    title: str
    duration: int
    bullets: list[str]
    decisions: list[str]
    actions: list[str]
    risks: list[str]
    next_steps: list[str]
    phase: str = "summary"
    idempotent: bool | UnsetType = UNSET
    id: str | UnsetType = UNSET


class WorkflowUpdate(msgspec.Struct, tag="workflow"):
    """The group's task list."""

    tasks: list[Any]
    event: str = "update"


class Stats(msgspec.Struct, tag="server", rename={"device_count": "deviceCount"}):
    """Who is online; ``ts`` in milliseconds since 1970, ``online`` capped so that the frame fits a device."""

    ts: int
    device_count: int
    online: list[str]
    event: str = "stats"
