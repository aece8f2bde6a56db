"""What the metrics are: one table says which record is counted where, another which gauges there are.

No label has an id in it, and every label has a fixed set of values, so the number of time series is bounded whatever
peers send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.observe import events
from gateway.observe.events import Event
from gateway.protocol.close_codes import CloseCode

OTHER = "other"
"""What a label says for every value that was not foreseen."""


class Label(NamedTuple):
    """A label of a counter: its values, and how to read one from a record (by default the field of its name)."""

    name: str
    values: tuple[str, ...]
    read: Callable[[Any], object] | None = None


class Counted(NamedTuple):
    """A counter and the record it counts: one for each record, or the number in the field ``amount``."""

    name: str
    help: str
    event: type[Event]
    labels: tuple[Label, ...] = ()
    amount: str = ""


def _reason_of(event: events.ConnectionClosed) -> str:
    try:
        return CloseCode(event.code).name.lower()
    except ValueError:
        return OTHER


_TRUTH = ("true", "false")
_REFUSALS = ("400", "401", "403", "404", "405", "408", "414", "426", "429", "431", "500", "503", "505")
_ANSWERS = ("200", "202", "204", "206", "304", *_REFUSALS, "413", "416", "501")
_OTA_REFUSALS = ("400", "403", "404", "416", "503")
_CLOSE_CODES = tuple(str(code.value) for code in CloseCode)
_CLOSE_REASONS = tuple(code.name.lower() for code in CloseCode)
_ERROR_CODES = (
    "BAD_HELLO",
    "BAD_JSON",
    "BAD_TYPE",
    "BUSY",
    "INTERNAL_ERROR",
    "INVALID_REQUEST",
    "RATE_LIMITED",
    "SCHEMA_INVALID",
    "TARGET_OFFLINE",
    "UNAUTHORIZED",
    "UNKNOWN_TYPE",
)
_PEER_FAILURES = ("INTERNAL_ERROR", "INVALID_TARGET", "MAILBOX_FULL", "TARGET_OFFLINE", "UNAUTHORIZED")
_DROPPED_AUDIO = ("bad_frame", "before_hello", "no_dictation", "cut", "too_long", "lane_full")

COUNTERS = (
    # connections
    Counted(
        "wsdevice_handshakes_refused_total",
        "Upgrades answered with an HTTP status instead.",
        events.HandshakeRefused,
        (Label("status", _REFUSALS),),
    ),
    Counted("wsdevice_connections_opened_total", "Upgrades accepted.", events.ConnectionOpened),
    Counted(
        "wsdevice_connections_alive_total",
        "Connections that came to own their device's route, by what made them count as alive; "
        "those that replaced another one are takeovers.",
        events.DeviceOnline,
        (Label("because", ("hello", "frame", "open")), Label("replaced", _TRUTH)),
    ),
    Counted(
        "wsdevice_connections_closed_total",
        "Connections that ended, by close code, what the code means, and who closed.",
        events.ConnectionClosed,
        (
            Label("code", _CLOSE_CODES),
            Label("reason", _CLOSE_REASONS, _reason_of),
            Label("by", ("gateway", "peer")),
        ),
    ),
    Counted(
        "wsdevice_connections_aborted_total",
        "Connections whose TCP connection the gateway aborted, because waiting longer was of no use.",
        events.ConnectionClosed,
        amount="aborted",
    ),
    Counted(
        "wsdevice_connection_seconds_total",
        "How long the connections that ended were open, summed up.",
        events.ConnectionClosed,
        amount="seconds",
    ),
    Counted("wsdevice_departures_total", "Devices that went offline: nobody took their route.", events.DeviceOffline),
    Counted(
        "wsdevice_takeovers_total",
        "Connections replaced by a newer one of their device, by whether they could be told.",
        events.HandoverBegan,
        (Label("told", _TRUTH),),
    ),
    Counted("wsdevice_handovers_ended_total", "Replaced connections that are gone.", events.HandoverEnded),
    Counted(
        "wsdevice_handover_seconds_total",
        "How long replaced connections lived beside the newer one, summed up.",
        events.HandoverEnded,
        amount="seconds",
    ),
    Counted(
        "wsdevice_flapping_total",
        "Times a device was refused for a while because it kept replacing its own connection.",
        events.DeviceFlapping,
    ),
    # traffic
    Counted("wsdevice_pongs_sent_total", "Heartbeats answered.", events.PongSent),
    Counted("wsdevice_pings_limited_total", "Heartbeats over the budget, not answered.", events.PingLimited),
    Counted(
        "wsdevice_messages_rejected_total",
        "Text messages answered with an error, by its code.",
        events.MessageRejected,
        (Label("code", _ERROR_CODES),),
    ),
    Counted(
        "wsdevice_audio_frames_dropped_total",
        "Binary frames not used: from devices, or (lane_full) to them.",
        events.AudioFrameDropped,
        (Label("why", _DROPPED_AUDIO),),
    ),
    Counted(
        "wsdevice_retired_frames_dropped_total",
        "Frames of replaced connections that were neither audio of their dictation nor an acknowledgement.",
        events.RetiredFrameDropped,
    ),
    Counted(
        "wsdevice_unknown_types_dropped_total",
        "Messages of an unknown type left without an answer: it had one before, or there were too many types.",
        events.UnknownTypeDropped,
    ),
    Counted(
        "wsdevice_sends_failed_total",
        "Messages that could not be handed to a connection.",
        events.SendFailed,
        (Label("why", ("not_json",)),),
    ),
    Counted("wsdevice_mcp_unhandled_total", "JSON-RPC messages for which there is no handler.", events.McpReceived),
    # peer messages
    Counted("wsdevice_peer_accepted_total", "Peer messages taken from their senders.", events.PeerAccepted),
    Counted(
        "wsdevice_peer_targets_total",
        "Targets of the peer messages taken; each is later delivered, enqueued or failed.",
        events.PeerAccepted,
        amount="targets",
    ),
    Counted(
        "wsdevice_peer_delivered_total",
        "Peer messages that reached a device, by what proves it, and whether they came out of the mailbox.",
        events.PeerDelivered,
        (Label("confirm", ("ack", "written")), Label("redelivered", _TRUTH)),
    ),
    Counted("wsdevice_peer_enqueued_total", "Peer messages committed to the mailbox.", events.PeerEnqueued),
    Counted(
        "wsdevice_peer_failed_total",
        "Peer messages refused for one target, by the code its sender is told.",
        events.PeerFailed,
        (Label("code", _PEER_FAILURES),),
    ),
    Counted(
        "wsdevice_peer_lost_total",
        "Peer messages that left the mailbox undelivered: expired, or dropped.",
        events.PeerLost,
        (Label("kind", ("expired", "dropped")), Label("reason", ("ttl", "overflow", "attempts"))),
        amount="count",
    ),
    Counted(
        "wsdevice_peer_redelivered_total",
        "Peer messages out of the mailbox whose delivery their sender was told, by whether that went into the mailbox.",
        events.PeerRedelivered,
        (Label("mailboxed", _TRUTH),),
        amount="count",
    ),
    Counted("wsdevice_peer_retried_total", "Peer messages sent again for lack of an ack.", events.PeerRetried),
    Counted(
        "wsdevice_acks_ignored_total",
        "Acknowledgements of messages not in flight to the device; foreign ones are in flight to another: "
        "a fault, or an attack.",
        events.AckIgnored,
        (Label("foreign", _TRUTH),),
    ),
    # meetings, workflow, modes, speech
    Counted(
        "wsdevice_mode_changes_total",
        "Modes entered and left.",
        events.ModeChanged,
        (Label("mode", ("meeting", "coding", "working")), Label("state", ("start", "end"))),
    ),
    Counted("wsdevice_snippets_taken_total", "Snippets taken.", events.SnippetsTaken, amount="taken"),
    Counted(
        "wsdevice_snippets_ignored_total",
        "Snippets ignored: repeated, too many, or after the end of their meeting.",
        events.SnippetsTaken,
        amount="ignored",
    ),
    Counted(
        "wsdevice_meetings_finalized_total",
        "Meetings that ended, by why.",
        events.MeetingFinalized,
        (Label("because", ("asked", "absent", "drain", "next", "crowded")),),
    ),
    Counted(
        "wsdevice_snapshots_sent_total",
        "Snapshots sent.",
        events.SnapshotSent,
        (Label("kind", ("tasks", "transcript")),),
    ),
    Counted(
        "wsdevice_snapshots_cancelled_total",
        "Pending snapshots cancelled with their connection, or replaced by a newer request.",
        events.SnapshotCancelled,
        (Label("kind", ("tasks", "transcript")),),
    ),
    Counted(
        "wsdevice_dictations_ended_total",
        "Utterances that ended, by why.",
        events.DictationEnded,
        (Label("because", ("stop", "abort", "silence", "offline", "failed")),),
    ),
    Counted(
        "wsdevice_dictation_packets_total",
        "Audio packets of the utterances that ended.",
        events.DictationEnded,
        amount="packets",
    ),
    Counted(
        "wsdevice_speeches_ended_total",
        "Replies spoken, by whether to their end.",
        events.SpeechEnded,
        (Label("complete", _TRUTH),),
    ),
    Counted("wsdevice_speech_packets_total", "Audio packets spoken.", events.SpeechEnded, amount="packets"),
    # the process
    Counted(
        "wsdevice_http_answers_total",
        "Requests answered on the HTTP port, by status.",
        events.HttpAnswered,
        (Label("status", _ANSWERS),),
    ),
    Counted(
        "wsdevice_ota_refused_total",
        "Requests to the OTA endpoint that were answered with an error, by status.",
        events.OtaRefused,
        (Label("status", _OTA_REFUSALS),),
    ),
    Counted(
        "wsdevice_tasks_failed_total",
        "Background tasks that ended with an exception; the log has the traceback.",
        events.TaskFailed,
    ),
)
"""Every counter of the gateway."""

NOT_COUNTED = (events.GatewayListening, events.DrainBegan, events.GatewayStopped)
"""Records that happen about once in the life of a process."""

GAUGES = {
    "wsdevice_connections": "Open WebSocket connections, replaced ones included.",
    "wsdevice_devices": "Devices that are present.",
    "wsdevice_handovers": "Replaced connections that are not gone yet.",
    "wsdevice_send_queue_bytes": "Bytes that wait to be written, in the lanes and transports of all connections.",
    "wsdevice_peer_unacked": "Peer messages sent to devices and not acknowledged yet.",
    "wsdevice_peer_waiting": "Peer messages in memory: neither confirmed nor in the mailbox yet.",
    "wsdevice_mailbox_letters": "Letters that wait in the mailbox.",
    "wsdevice_mailbox_set_aside": "Letters set aside after too many attempts, for an operator to look at.",
    "wsdevice_mailbox_oldest_seconds": "Age of the oldest letter that waits.",
    "wsdevice_mailbox_dropped": "Events, set-aside letters and settled names given up to the mailbox's limits.",
    "wsdevice_mailbox_failed": "1 while the mailbox cannot store, for example because the disk is full, else 0.",
    "wsdevice_meetings": "Meetings that run.",
    "wsdevice_dictations": "Utterances that are being taken.",
    "wsdevice_loop_lag_seconds": "How late the event loop has been at worst since the last scrape.",
    "wsdevice_threads": "Threads of the process; it does not depend on the number of devices.",
    "wsdevice_pool_calls": "Calls of the worker pool that run or wait.",
    "wsdevice_draining": "1 while the gateway takes no more devices because it is going down, else 0.",
}
"""Every gauge of the gateway, and what it shows; the application registers the functions that know."""
