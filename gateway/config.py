"""Every setting of the gateway: frozen structs, one per section, each field with its range and its meaning.

`gateway.config_file` reads them from TOML and the environment and lists every fault at once;
``docs/configuration.md`` is generated from the descriptions below. Times are seconds unless the name says otherwise.
Where a default comes from the wire, its reason stands beside it in `gateway.protocol.limits`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from gateway.protocol import limits

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens and keeps its state."""

    host: Annotated[
        list[str],
        Meta(
            min_length=1,
            description="Addresses to listen on; beyond loopback `auth.key` is required.",
            extra={"expected": "a list of 1 or more addresses or host names, without port or brackets"},
        ),
    ] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    ws_port: Annotated[int, Meta(ge=0, le=65535, description="WebSocket port; 0 lets the system choose.")] = 8000
    http_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port of the OTA/config endpoint, health and metrics; 0 lets the system choose.",
        ),
    ] = 8003
    paths: Annotated[
        list[str], Meta(min_length=1, description="Paths on which devices connect; others are answered 404.")
    ] = field(default_factory=lambda: ["/xiaozhi/v1/", "/supie/v1/"])
    public_websocket_url: Annotated[
        str,
        Meta(
            description="What the OTA endpoint tells devices to connect to, where a proxy stands in between; empty: "
            "the host the device asked, with the WebSocket port and the first path."
        ),
    ] = ""
    state_dir: Annotated[
        str,
        Meta(
            description="Directory of the mailbox and of checkpoints; empty: `$STATE_DIRECTORY` (set by systemd), else "
            "`$XDG_STATE_HOME/wsdevice`, else `~/.local/state/wsdevice`."
        ),
    ] = ""
    max_connections: Annotated[
        int, Meta(ge=1, description="Open connections at most; further upgrades are answered 503.")
    ] = 12_000
    allowed_origins: Annotated[
        list[str],
        Meta(description="Origins of browser pages that may connect, exact; a request without Origin is a device."),
    ] = field(default_factory=list)


class AuthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may connect."""

    enabled: Annotated[
        bool | None,
        Meta(description="Ask for a token; unset: unless every `server.host` is loopback. Off is refused beyond it."),
    ] = None
    key: Annotated[
        str,
        Meta(
            description="Secret that signs tokens, 16 characters or more. Better in `WSDEVICE_AUTH_KEY` or `key_file`.",
            extra_json_schema={"secret": True},
        ),
    ] = ""
    key_file: Annotated[str, Meta(description="File with the secret, for example a systemd credential.")] = ""
    token_life: Annotated[float, Meta(gt=0, description="Seconds a token is good for.")] = limits.TOKEN_LIFE
    token_skew: Annotated[
        float, Meta(ge=0, description="Seconds a token may be dated in the future, for clocks that differ.")
    ] = limits.TOKEN_SKEW
    allowed_devices: Annotated[
        list[str],
        Meta(description="Device ids that may connect and get tokens; empty: all. Others are answered 403."),
    ] = field(default_factory=list)
    query_token: Annotated[
        bool,
        Meta(description="Accept a token in the query string (`authorization=`): browsers cannot set headers."),
    ] = False
    takeover: Annotated[
        Literal["same_client", "token", "any"] | None,
        Meta(
            description="Who may replace a device's connection: the same Client-Id only, any holder of a valid token "
            "(or the same Client-Id), or anyone. Unset: `token` where tokens are asked for, else `any`."
        ),
    ] = None


class HandshakeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From TCP accept to a device that counts as present."""

    open_timeout: Annotated[float, Meta(gt=0, description="Seconds from accept to a complete request.")] = (
        limits.OPEN_TIMEOUT
    )
    hello_timeout: Annotated[
        float,
        Meta(gt=0, description="Seconds without any frame before a client that gave no id is closed with 4002."),
    ] = limits.HELLO_TIMEOUT
    alive_after: Annotated[
        float, Meta(ge=0, description="Seconds after which an open, silent connection counts as alive.")
    ] = limits.ALIVE_AFTER
    per_address_per_minute: Annotated[
        int, Meta(ge=1, description="Handshakes from one address; more are answered 429.")
    ] = limits.HANDSHAKES_PER_MINUTE


class HeartbeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pings, keepalive, liveness."""

    pongs_per_second: Annotated[float, Meta(gt=0, description="Pings answered per second and device.")] = (
        limits.PONGS_PER_SECOND
    )
    pong_burst: Annotated[int, Meta(ge=1, description="Pings answered at once after a pause.")] = limits.PONGS_BURST
    storm_close_after: Annotated[
        float,
        Meta(gt=0, description="Seconds of continuous excess before the connection is closed with 4008."),
    ] = limits.STORM_SECONDS
    keepalive_after: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds of downlink silence before a `keepalive` is sent; the firmware gives up at 120.",
        ),
    ] = limits.KEEPALIVE_AFTER
    idle_close: Annotated[
        float,
        Meta(gt=0, description="Seconds without an inbound frame before the connection is closed with 4003."),
    ] = limits.IDLE_CLOSE
    idle_meeting_factor: Annotated[
        float, Meta(ge=1, description="How much longer a device in a meeting may be silent.")
    ] = limits.IDLE_MEETING_FACTOR
    control_ping_devices: Annotated[
        list[str],
        Meta(
            description="Devices that are sent WebSocket pings; others never are, since older firmware closes on them."
        ),
    ] = field(default_factory=list)
    control_ping_interval: Annotated[float, Meta(gt=0, description="Seconds between WebSocket pings.")] = (
        limits.CONTROL_PING_INTERVAL
    )


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one connection may cost."""

    text_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 20, description="Largest text message from a device; past it 1009.")
    ] = limits.TEXT_BYTES
    binary_bytes: Annotated[
        int, Meta(ge=1024, le=1 << 20, description="Largest binary message from a device; past it 1009.")
    ] = limits.BINARY_BYTES
    frames_per_second: Annotated[
        float, Meta(gt=0, description="Frames read per second and connection; past it reading pauses.")
    ] = limits.READ_FRAMES_PER_SECOND
    frame_burst: Annotated[int, Meta(ge=1, description="Frames read at once after a pause.")] = limits.READ_FRAMES_BURST
    write_budget_bytes: Annotated[
        int, Meta(ge=16384, description="Bytes waiting for one device; past it the connection is aborted.")
    ] = limits.WRITE_BUDGET
    send_deadline: Annotated[
        float, Meta(gt=0, description="Seconds without progress in sending before the connection is aborted.")
    ] = limits.SEND_DEADLINE
    control_lane: Annotated[int, Meta(ge=1, description="Text frames waiting for one device; past it 4008.")] = (
        limits.CONTROL_LANE
    )
    audio_lane: Annotated[
        int, Meta(ge=1, description="Audio packets waiting for one device; past it the oldest is dropped.")
    ] = limits.AUDIO_LANE
    errors: Annotated[
        int, Meta(ge=1, description="Error replies in 10 s before the connection is closed with 1008.")
    ] = limits.ERRORS
    bad_frames: Annotated[int, Meta(ge=1, description="Bad binary frames in 10 s before 1003.")] = limits.BAD_FRAMES
    handlers_at_once: Annotated[
        int,
        Meta(ge=1, description="Application handlers of one device that run at once; past it `error` BUSY."),
    ] = 32


class HandoverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second connection of the same device."""

    window: Annotated[
        float,
        Meta(
            ge=0,
            le=1.5,
            description="Seconds the replaced connection may still send before it is closed with 4001.",
        ),
    ] = limits.HANDOVER_WINDOW
    replacements: Annotated[
        int, Meta(ge=1, description="Replacements in `replacement_window` that are still normal.")
    ] = limits.REPLACEMENTS
    replacement_window: Annotated[float, Meta(gt=0, description="Seconds over which replacements are counted.")] = (
        limits.REPLACEMENT_WINDOW
    )
    refusal: Annotated[
        float,
        Meta(gt=0, description="Seconds a flapping device is first refused with 429; doubles each time."),
    ] = limits.FLAPPING_REFUSAL
    refusal_max: Annotated[float, Meta(gt=0, description="Longest refusal in seconds.")] = limits.FLAPPING_REFUSAL_MAX


class PeerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages from device to device."""

    queue: Annotated[
        bool,
        Meta(description="Keep messages for targets that are not there; off: they fail with TARGET_OFFLINE."),
    ] = True
    reach: Annotated[
        Literal["all", "group"],
        Meta(description="Whom a device may write to: all, or its group (first 8 characters of the id)."),
    ] = "all"
    per_second: Annotated[float, Meta(gt=0, description="Messages accepted per second and device.")] = (
        limits.PEER_PER_SECOND
    )
    burst: Annotated[int, Meta(ge=1, description="Messages accepted at once after a pause.")] = limits.PEER_BURST
    broadcast_every: Annotated[float, Meta(ge=0, description="Seconds between broadcasts of one device.")] = (
        limits.BROADCAST_EVERY
    )
    payload_bytes: Annotated[int, Meta(ge=1, le=limits.TEXT_BYTES, description="Largest payload, as JSON text.")] = (
        limits.PEER_PAYLOAD_BYTES
    )
    ttl: Annotated[float, Meta(gt=0, description="Seconds a message is kept at most.")] = limits.MAILBOX_TTL
    live_ack: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds a present target has to acknowledge before the message goes to the mailbox.",
        ),
    ] = limits.LIVE_ACK
    in_flight: Annotated[int, Meta(ge=1, description="Unacknowledged messages per target.")] = limits.IN_FLIGHT
    retry_first: Annotated[
        float, Meta(gt=0, description="Seconds before an unacknowledged message is sent again; doubles.")
    ] = limits.RETRY_FIRST
    retry_max: Annotated[float, Meta(gt=0, description="Longest wait between two sends.")] = limits.RETRY_MAX
    attempts: Annotated[
        int, Meta(ge=1, description="Sends of one message to a present target before it is set aside.")
    ] = limits.ATTEMPTS
    redelivered_wait: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds to wait for a sender's share before its `redelivered` receipt goes out.",
        ),
    ] = limits.REDELIVERED_WAIT
    dedupe: Annotated[float, Meta(ge=0, description="Seconds a repeated (from, id) is recognised.")] = limits.DEDUPE
    waiting_total: Annotated[
        int,
        Meta(
            ge=1,
            description="Messages in memory awaiting confirmation, over all devices; past it: the mailbox.",
        ),
    ] = limits.WAITING_TOTAL


class MailboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The durable store of messages."""

    path: Annotated[
        str,
        Meta(description="SQLite file; empty: `mailbox.db` in the state directory; `:memory:` forgets at a restart."),
    ] = ""
    per_device: Annotated[
        int, Meta(ge=1, description="Messages kept per device; a further one fails with MAILBOX_FULL.")
    ] = limits.MAILBOX_PER_DEVICE
    per_sender: Annotated[
        int,
        Meta(
            ge=1,
            description="Messages kept of one sender, for all devices together; a further one fails with MAILBOX_FULL.",
        ),
    ] = limits.MAILBOX_PER_SENDER
    total: Annotated[int, Meta(ge=1, description="Messages kept in all.")] = limits.MAILBOX_TOTAL


class MeetingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meetings: snippets, transcript, summary; and the worker pool."""

    threadpool_max_workers: Annotated[
        Any,
        Meta(
            description="Worker threads of the process; anything else is taken for 2, with a warning.",
            extra={"expected": "an integer from 1 to 64"},
        ),
    ] = 2
    threadpool_queue: Annotated[int, Meta(ge=1, description="Work waiting for a thread; past it `error` BUSY.")] = 64
    transcript_push_interval_ms: Annotated[
        int, Meta(description="Milliseconds between transcript pushes, brought into 3000..15000.")
    ] = limits.TRANSCRIPT_PUSH_MS
    snippet_batch: Annotated[float, Meta(gt=0, description="Seconds between batches to the summarizer.")] = (
        limits.SNIPPET_BATCH
    )
    resume: Annotated[
        float,
        Meta(ge=0, description="Seconds a meeting waits for its device before it is finalized without it."),
    ] = limits.MEETING_RESUME


class WorkflowConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The task list of a group, and snapshots."""

    test_mode: Annotated[bool, Meta(description="Honour snapshot delays; for tests of devices.")] = False
    snapshot_on_register_delay_ms: Annotated[
        float,
        Meta(description="Milliseconds before the snapshot on register, brought into 0..60000; only in test mode."),
    ] = 0
    debounce: Annotated[float, Meta(ge=0, description="Seconds in which changes are gathered into one update.")] = (
        limits.TASKS_DEBOUNCE
    )


class SpeechConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Downlink audio."""

    audio_ahead: Annotated[int, Meta(ge=1, le=40, description="Packets sent at once before pacing by the clock.")] = (
        limits.AUDIO_AHEAD
    )
    recognition_timeout: Annotated[
        float,
        Meta(gt=0, description="Seconds an engine may take for one recognition, or for the next piece of speech."),
    ] = 30.0
    utterance_seconds: Annotated[
        float, Meta(gt=0, description="Longest utterance; audio past it is dropped and counted.")
    ] = 300.0


class OtaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The endpoint that tells a stock device where to connect, and serves firmware images."""

    path: Annotated[
        str,
        Meta(
            pattern="^/.*/$",
            description="Path of the endpoint, as in the device's NVS `wifi.ota_url`.",
            extra={"expected": "a path that begins and ends with a slash"},
        ),
    ] = "/xiaozhi/ota/"
    image_dir: Annotated[
        str,
        Meta(description="Directory of images named `<board>_<version>.bin`; the newest is offered. Empty: none."),
    ] = ""
    websocket_version: Annotated[
        Literal[1, 2, 3] | None,
        Meta(description="Binary framing the device is told to use; unset: its own choice."),
    ] = None
    timezone_offset_minutes: Annotated[
        int, Meta(ge=-720, le=840, description="Minutes east of UTC, for the device's clock.")
    ] = 480
    cors_origins: Annotated[list[str], Meta(description="Origins of browser pages that may ask; `*` is any.")] = field(
        default_factory=lambda: ["*"]
    )


class StatsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told who is online."""

    audience: Annotated[
        Literal["asked", "all", "off"],
        Meta(
            description="`asked`: devices with hello `features.stats` true, and those on `/supie/v1/`, "
            "whose clients expect it; `all`: every device; `off`: nobody."
        ),
    ] = "asked"
    every: Annotated[float, Meta(gt=0, description="Seconds between two stats.")] = limits.STATS_EVERY


class DrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Going down without cutting a sentence."""

    spread: Annotated[float, Meta(ge=0, description="Seconds over which idle devices are closed with 1012.")] = (
        limits.DRAIN_SPREAD
    )
    grace: Annotated[float, Meta(ge=0, description="Seconds speaking and dictating devices have to finish.")] = (
        limits.DRAIN_GRACE
    )


class LoggingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="Least level that is shown.")] = (
        "INFO"
    )
    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="`auto` is text on a terminal, JSON lines otherwise."),
    ] = "auto"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; ``Config()`` is what the gateway runs with when nothing is configured."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    handshake: HandshakeConfig = HandshakeConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    limits: LimitsConfig = LimitsConfig()
    handover: HandoverConfig = HandoverConfig()
    peer: PeerConfig = PeerConfig()
    mailbox: MailboxConfig = MailboxConfig()
    meeting: MeetingConfig = MeetingConfig()
    workflow: WorkflowConfig = WorkflowConfig()
    speech: SpeechConfig = SpeechConfig()
    ota: OtaConfig = OtaConfig()
    stats: StatsConfig = StatsConfig()
    drain: DrainConfig = DrainConfig()
    logging: LoggingConfig = LoggingConfig()

    @property
    def asks_for_tokens(self) -> bool:
        """Whether devices need a token: as configured, else unless every address is loopback."""
        if self.auth.enabled is not None:
            return self.auth.enabled
        return not LOOPBACK_HOSTS.issuperset(self.server.host)

    @property
    def takeover(self) -> str:
        """Who may replace a device's connection."""
        return self.auth.takeover or ("token" if self.asks_for_tokens else "any")

    @property
    def state_directory(self) -> Path:
        """Where state is kept; not created here."""
        if self.server.state_dir:
            return Path(self.server.state_dir)
        if systemd := os.environ.get("STATE_DIRECTORY"):
            return Path(systemd.split(":")[0])
        base = os.environ.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "wsdevice"

    @property
    def mailbox_path(self) -> str:
        """The SQLite file of the mailbox, or ``:memory:``."""
        return self.mailbox.path or str(self.state_directory / "mailbox.db")
