"""Every fixed size, rate and time limit of the wire, each with the reason for its number.

What operators may change is in `gateway.config`, whose defaults are taken from here.
Times are seconds, sizes are bytes, unless the name says otherwise.
"""

from __future__ import annotations

# --- identity -------------------------------------------------------------------------------------------------
DEVICE_ID_CHARACTERS = 64  # a MAC is 17, a UUID 36; beyond 64 it is not an id
GROUP_CHARACTERS = 8  # the `/supie/v1/` fork's rule: a group is the first eight characters of the id
PRINTED_CHARACTERS = 64  # of a peer's text in a log line
ERROR_TEXT_CHARACTERS = 200  # of an error reply: it fits a small display and cannot echo input

# --- frames ---------------------------------------------------------------------------------------------------
TEXT_BYTES = 64 * 1024  # largest uplink text message
BINARY_BYTES = 16 * 1024  # largest uplink binary message; a 60 ms Opus packet is 100 to 200 bytes
FRAGMENTS = 4096  # of one message; a flood of empty fragments is otherwise free for its sender
MESSAGE_SECONDS = 60.0  # from a message's first fragment to its last: 64 KiB on a link of 10 kbit/s
JSON_DEPTH = 32  # nesting; the deepest message of the firmware (an MCP answer) has about 8
DOWNLINK_BYTES = 8 * 1024  # a text frame to a device: its RAM bounds what it can take
READ_BYTES = 4 * 1024  # taken from a socket per wake-up, so that no device holds the loop
READ_FRAMES_PER_SECOND = 200  # a talking device sends 17 frames/s; twelve times that is no longer a device
READ_FRAMES_BURST = 400  # what a device may have piled up in its send buffer during a short loss of Wi-Fi

# --- handshake ------------------------------------------------------------------------------------------------
REQUEST_BYTES = 16 * 1024  # of an upgrade request; the firmware's is below 400
UNANSWERED = 1000  # sockets beyond the connections allowed, while their requests are read; past it they are dropped
UNANSWERED_PER_SITE = 256  # of one address, /64 for IPv6; of 1,000 that come at once behind a NAT, 128 are: 64 a turn
OPEN_TIMEOUT = 5.0  # from TCP accept to a complete upgrade request
HELLO_TIMEOUT = 10.0  # the firmware says hello right after 101 and itself waits 10 s for the answer
INTRODUCTION = 2.5  # from TCP accept: the firmware says hello right behind the 101; mail is to come within 3 s
ALIVE_AFTER = 0.5  # an open socket counts as alive: the fork's clients may never say hello
HANDSHAKES_PER_MINUTE = 3000  # from one address: a site of 1,000 devices behind one NAT, three tries each
TOKEN_LIFE = 30 * 24 * 3600.0  # as the original server
TOKEN_SKEW = 300.0  # a device's token may be dated this far in the future

# --- heartbeat ------------------------------------------------------------------------------------------------
PONGS_PER_SECOND = 5.0
PONGS_BURST = 20
STORM_SECONDS = 10.0  # of continuous excess before the connection is closed
ERROR_EVERY = 10.0  # at most one RATE_LIMITED reply in this time
KEEPALIVE_AFTER = 100.0  # of downlink silence: the firmware counts the channel dead at 120 s without a data frame
IDLE_CLOSE = 600.0  # without any inbound frame
IDLE_MEETING_FACTOR = 3  # people in a meeting are silent for longer
CONTROL_PING_INTERVAL = 20.0  # only for devices that opted in: older firmware does not answer control pings

# --- errors ---------------------------------------------------------------------------------------------------
ERRORS = 20  # error replies in ERROR_WINDOW before 1008
ERROR_WINDOW = 10.0
BAD_FRAMES = 20  # dropped binary frames in ERROR_WINDOW before 1003

# --- writing --------------------------------------------------------------------------------------------------
CONTROL_LANE = 256  # text frames waiting behind a stalled socket; full means 4008
AUDIO_LANE = 40  # packets: 2.4 s of 60 ms frames, the size of the device's own decode queue
WRITE_HIGH_WATER = 16 * 1024  # in the transport before frames wait in their lanes, where control overtakes audio
WRITE_BUDGET = 512 * 1024  # in lanes and transport together; with the kernel's share below 1 MiB a stalled reader
SEND_DEADLINE = 5.0  # without a byte of progress before the connection is aborted
SOCKET_SEND_BUFFER = 128 * 1024  # kernel send buffer per connection: the kernel's share of a stalled reader
SOCKET_RECEIVE_BUFFER = 64 * 1024  # what a device that vanished had sent is read at our pace, and it counts as here
CLOSE_TIMEOUT = 1.0  # from our Close to an abort: the firmware never answers Close, others do in a round trip
HANDOVER_CLOSE_TIMEOUT = 0.3  # the same in a handover, whose two channels may live 1.8 s in all
NOTICE_TIMEOUT = 0.3  # for a peer that does not read to make room for the handover notice, before it is withdrawn

# --- handover -------------------------------------------------------------------------------------------------
HANDOVER_WINDOW = 1.5  # the time of two channels in the `/supie/v1/` fork
REPLACEMENTS = 5  # in REPLACEMENT_WINDOW before a device counts as flapping
REPLACEMENT_WINDOW = 60.0
FLAPPING_REFUSAL = 5.0  # first refusal; doubles each time
FLAPPING_REFUSAL_MAX = 60.0

# --- peer messages --------------------------------------------------------------------------------------------
PEER_TARGETS = 10
PEER_PAYLOAD_BYTES = 8 * 1024  # the target's RAM
PEER_PER_SECOND = 5.0
PEER_BURST = 5
BROADCAST_EVERY = 5.0
PEER_ID_CHARACTERS = 128
MAILBOX_PER_DEVICE = 100
MAILBOX_PER_SENDER = 1000  # full mailboxes of ten targets: a few devices cannot fill it for everybody
MAILBOX_TOTAL = 100_000  # rows; at 8 KiB each below 1 GiB of disk
MAILBOX_TTL = 3 * 24 * 3600.0
MAILBOX_EVENTS = 100  # merged sender events per device
LIVE_ACK = 0.25  # a live target's ack, before the message is committed to the mailbox
WRITTEN_CHECK = 0.05  # how often the kernel's send queue is looked at
WRITTEN_TIMEOUT = 2.0  # for it to drain
IN_FLIGHT = 50  # unacknowledged messages per device
RETRY_FIRST = 2.0
RETRY_MAX = 30.0
ATTEMPTS = 10  # sends of one message while its target is online, then it is set aside
REDELIVERED_WAIT = 3.0  # for a sender's share to be acknowledged before its receipt goes out
DEDUPE = 600.0  # a repeated (from, id) gets its first receipt again
KNOWN_ACKNOWLEDGERS = 10_000  # devices of which is remembered, beyond their session, that they acknowledge
WAITING_TOTAL = 10_000  # messages in memory between send and ack, over all devices

# --- meetings, workflow, modes --------------------------------------------------------------------------------
SNIPPET_BYTES = 2048  # of one snippet's text, cut at a UTF-8 border
SNIPPETS_PENDING = 200  # not yet digested
SNIPPETS_PER_SECOND = 10
SNIPPET_DEDUPE = 60.0
SNIPPET_BATCH = 12.0  # how often pending snippets go to the summarizer
TRANSCRIPT_ITEMS = 50  # the last ones, in pushes and snapshots
TRANSCRIPT_PUSH_MS = 5000
TRANSCRIPT_PUSH_MS_MIN = 3000
TRANSCRIPT_PUSH_MS_MAX = 15000
MEETING_RESUME = 60.0  # after a disconnect, before the meeting is finalized without its device
SNAPSHOT_DELAY_MS_MAX = 60_000
TASKS_DEBOUNCE = 1.5
LISTEN_DEBOUNCE = 0.3  # duplicate start/stop

# --- speech ---------------------------------------------------------------------------------------------------
UPLINK_SAMPLE_RATE = 16_000
FRAME_DURATION_MS = 60
DICTATION_SILENCE = 30.0  # without a packet, where a device sends one each 60 ms while it listens: its link is dead
AUDIO_AHEAD = 5  # packets sent at once before pacing: the device starts playing without a gap

# --- stats ----------------------------------------------------------------------------------------------------
STATS_EVERY = 10.0

# --- drain ----------------------------------------------------------------------------------------------------
DRAIN_SPREAD = 10.0
DRAIN_GRACE = 30.0
