"""Cutting frames out of bytes, however they arrive, and framing what is sent."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from gateway.protocol.frames import FrameCutter, binary_frame, text_frame
from tests.raw_peer import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame

LIMIT = 1 << 20


class Cut:
    """A cutter with a connection's habits: it keeps the rest of an incomplete frame, and notes what it is handed."""

    def __init__(self, text_limit: int = LIMIT, binary_limit: int = LIMIT) -> None:
        self.seen: list[tuple] = []
        self.cutter = FrameCutter(
            self.note("text"), self.note("binary"), self.note("other"), self.note("too big"), text_limit, binary_limit
        )
        self.rest = b""
        self.frames = 0
        self.stop_after: int | None = None

    def note(self, kind):
        """Make a callback that notes what it is called with."""

        def take(what):
            self.seen.append((kind, what if isinstance(what, int) else bytes(what)))
            if len(self.seen) == self.stop_after:
                self.cutter.stopped = True

        return take

    def feed(self, data: bytes) -> int:
        """Hand over what was read; how many bytes were used."""
        buffer = bytearray(self.rest + data + b"\xff" * 20)  # what stands behind the size is not to be looked at
        size = len(self.rest) + len(data)
        used, frames = self.cutter.cut(buffer, size)
        self.rest = bytes(buffer[used:size])
        self.frames += frames
        return used


STREAM = [
    (("text", b"hello"), frame(TEXT, b"hello")),
    (("binary", b"\x00" * 126), frame(BINARY, b"\x00" * 126)),
    (("text", b""), frame(TEXT, b"")),
    (("other", frame(PING, b"are you there")), frame(PING, b"are you there")),
    (("binary", bytes(range(256)) * 2), frame(BINARY, bytes(range(256)) * 2)),
    (("other", frame(TEXT, b"be", fin=False)), frame(TEXT, b"be", fin=False)),
    (("other", frame(CONT, b"gin")), frame(CONT, b"gin")),
    (("other", frame(PONG)), frame(PONG)),
    (("text", b"x" * 125), frame(TEXT, b"x" * 125)),
    (("other", frame(CLOSE, b"\x03\xe8bye")), frame(CLOSE, b"\x03\xe8bye")),
]
SEEN = [seen for seen, _ in STREAM]
BYTES = b"".join(data for _, data in STREAM)


def test_whole_stream_in_one_read():
    """Many frames of all kinds, each handed on once, in order, and all bytes used."""
    cut = Cut()
    assert cut.feed(BYTES) == len(BYTES)
    assert cut.seen == SEEN
    assert cut.frames == len(STREAM)


def test_stream_byte_by_byte():
    """Nothing is handed on before its last byte is there."""
    cut = Cut()
    ends = []
    for index in range(len(BYTES)):
        before = len(cut.seen)
        cut.feed(BYTES[index : index + 1])
        if len(cut.seen) > before:
            ends.append(index + 1)
    assert cut.seen == SEEN
    assert ends == [sum(len(data) for _, data in STREAM[: n + 1]) for n in range(len(STREAM))]
    assert cut.rest == b""


def test_stream_split_at_every_position():
    """Two reads, wherever the packet ends."""
    for position in range(len(BYTES) + 1):
        cut = Cut()
        cut.feed(BYTES[:position])
        cut.feed(BYTES[position:])
        assert cut.seen == SEEN, position


def test_what_stands_behind_the_read_is_not_looked_at():
    """The buffer is shared and larger than what was read: old bytes in it are another connection's."""
    cut = Cut()
    data = frame(TEXT, b"old")
    cut.cutter.cut(bytearray(data), 5)
    assert cut.seen == []


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 124, 125, 126, 127, 65535, 65536, 65537])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_every_form_of_length(opcode, size):
    """7, 16 and 64 bits, at and beside their edges."""
    payload = bytes(n % 251 for n in range(size))
    cut = Cut()
    cut.feed(frame(opcode, payload))
    assert cut.seen == [("text" if opcode == TEXT else "binary", payload)]


@pytest.mark.parametrize(
    "header", [b"\x81\xfe\x00\x02", b"\x81\xff" + struct.pack(">Q", 2)], ids=["16 bits for 2", "64 bits for 2"]
)
def test_length_longer_than_need_be(header):
    """RFC 6455 forbids it to senders; `websockets` takes it, and so it is taken here."""
    cut = Cut()
    cut.feed(header + b"\x00\x00\x00\x00hi")
    assert cut.seen == [("text", b"hi")]


@pytest.mark.parametrize("length", [LIMIT + 1, 2**62, 2**63, 2**64 - 1])
def test_absurd_length_is_too_big_as_soon_as_the_header_is_there(length):
    """It is not waited for, and the buffer never has to hold it."""
    cut = Cut()
    header = b"\x82\xff" + struct.pack(">Q", length) + b"mask"
    cut.feed(header[:-1])
    assert cut.seen == []
    cut.feed(header[-1:])
    assert cut.seen == [("too big", BINARY)]


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize("other", [10, 5000], ids=["the other limit is lower", "the other limit is higher"])
@pytest.mark.parametrize("limit", [100, 1000], ids=["7 bits", "16 bits"])
def test_limit_at_and_past_its_edge(kind, other, limit):
    """Each kind has its own limit: the last size that is taken, and the first that is not."""
    opcode = TEXT if kind == "text" else BINARY
    limits = {f"{kind}_limit": limit, f"{'binary' if kind == 'text' else 'text'}_limit": other}
    cut = Cut(**limits)
    cut.feed(frame(opcode, b"x" * limit))
    assert cut.seen == [(kind, b"x" * limit)]
    cut.feed(frame(opcode, b"x" * (limit + 1))[:8])
    assert cut.seen[1:] == [("too big", opcode)]


def test_continuation_may_be_as_long_as_either_limit():
    """What it continues is not known here; the owner adds up."""
    cut = Cut(100, 200)
    cut.feed(frame(CONT, b"x" * 200))
    assert [kind for kind, _ in cut.seen] == ["other"]
    cut.feed(frame(CONT, b"x" * 201))
    assert cut.seen[1:] == [("too big", CONT)]


def test_control_frames_do_not_know_the_limits_of_messages():
    """125 bytes are always allowed."""
    cut = Cut(10, 10)
    cut.feed(frame(PING, b"x" * 125))
    assert cut.seen == [("other", frame(PING, b"x" * 125))]


def test_nothing_is_looked_at_after_a_frame_that_is_too_big():
    """The connection is lost; where the next frame begins is of no interest."""
    cut = Cut(10, 10)
    data = frame(TEXT, b"x" * 11) + frame(TEXT, b"smuggled")
    assert cut.feed(data) == len(data)
    assert cut.seen == [("too big", TEXT)]


def test_data_frames_within_a_fragmented_message_go_to_the_judge():
    """While the owner says that a message is in pieces, a whole one in between is for `websockets` to refuse."""
    cut = Cut()
    cut.cutter.fragmented = True
    cut.feed(frame(TEXT, b"a") + frame(BINARY, b"b"))
    assert cut.seen == [("other", frame(TEXT, b"a")), ("other", frame(BINARY, b"b"))]
    cut.cutter.fragmented = False
    cut.feed(frame(TEXT, b"c"))
    assert cut.seen[2:] == [("text", b"c")]


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stop_from_within_a_callback(stop_after):
    """The rest is left alone, and is told to begin right behind the frame that stopped it."""
    frames = [frame(TEXT, b"one"), frame(PING, b"two"), frame(BINARY, b"three"), frame(TEXT, b"four")]
    cut = Cut()
    cut.stop_after = stop_after
    assert cut.feed(b"".join(frames)) == sum(map(len, frames[:stop_after]))
    assert len(cut.seen) == stop_after
    assert cut.feed(b"") == 0
    assert len(cut.seen) == stop_after


BROKEN = {
    "unmasked": frame(TEXT, b"hi", mask=None),
    "unmasked ping": frame(PING, b"hi", mask=None),
    "first reserved bit": frame(TEXT, b"hi", rsv=0x40),
    "second reserved bit": frame(BINARY, b"hi", rsv=0x20),
    "third reserved bit": frame(PING, b"hi", rsv=0x10),
    "opcode 3": frame(3, b"hi"),
    "opcode 7": frame(7, b"hi"),
    "opcode 11": frame(11, b"hi"),
    "opcode 15": frame(15),
    "long ping": frame(PING, b"x" * 126),
    "longer close": frame(CLOSE, b"x" * 65536),
    "fragmented ping": frame(PING, b"hi", fin=False),
    "fragmented close": frame(CLOSE, b"\x03\xe8", fin=False),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_a_frame_goes_to_the_judge_with_all_behind_it(data):
    """However it is cut: only the judge knows where the next frame would begin, so a message may not be found in it."""
    smuggled = frame(TEXT, b"smuggled")
    for position in range(2, min(len(data), 20)):
        cut = Cut()
        cut.feed(frame(TEXT, b"fine") + data[:position])
        cut.feed(data[position:] + smuggled)
        cut.feed(smuggled)
        assert cut.cutter.broken
        assert [kind for kind, _ in cut.seen] == ["text", "other", "other", "other"]
        assert b"".join(payload for _, payload in cut.seen[1:]) == data + smuggled * 2


# --- against websockets ------------------------------------------------------------------------------------------


class Judge:
    """`ServerProtocol` alone, and what it makes of bytes."""

    def __init__(self, max_size: int = LIMIT) -> None:
        self.protocol = ServerProtocol(state=OPEN, max_size=max_size)
        self.messages: list[tuple[str, bytes]] = []
        self._opcode = Opcode.TEXT
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take bytes; messages and pongs are noted."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._opcode, self._pieces = event.opcode, []
            elif event.opcode is not Opcode.CONT:
                continue
            self._pieces.append(bytes(event.data))
            if event.fin:
                self.messages.append((self._opcode.name.lower(), b"".join(self._pieces)))

    @property
    def verdict(self) -> int | None:
        """The close code it has sent, None while all is well."""
        return self.protocol.close_sent.code if self.protocol.close_sent else None


class Shortened(Judge):
    """The cutter before the judge, joined as a connection joins them."""

    def __init__(self, max_size: int = LIMIT) -> None:
        super().__init__(max_size)
        self.cutter = FrameCutter(
            lambda payload: self.messages.append(("text", bytes(payload))),
            lambda payload: self.messages.append(("binary", bytes(payload))),
            self.other,
            lambda opcode: self.too_big(),
            max_size,
            max_size,
        )
        self.rest = b""

    def other(self, data: bytes) -> None:
        """Have an unusual frame judged."""
        super().feed(data)
        self.cutter.fragmented = self.protocol.current_size is not None
        self.cutter.stopped = self.protocol.state is not OPEN

    def too_big(self) -> None:
        """Fail the connection."""
        self.protocol.fail(1009)
        self.cutter.stopped = True

    def feed(self, data: bytes) -> None:
        """Take bytes; what is cut out of them goes one way or the other."""
        buffer = bytearray(self.rest + data)
        used, _ = self.cutter.cut(buffer, len(buffer))
        self.rest = bytes(buffer[used:])


masks = st.binary(min_size=4, max_size=4)
whole_frames = st.builds(
    frame,
    st.sampled_from([TEXT, BINARY, CONT, PING, PONG, CLOSE, TEXT, BINARY, TEXT, BINARY, 3, 11]),
    st.one_of(st.binary(max_size=140), st.just(b"\x03\xe8"), st.just(b"")),
    fin=st.sampled_from([True, True, True, False]),
    rsv=st.sampled_from([0] * 12 + [0x10, 0x40]),
    mask=st.one_of(masks, masks, masks, masks, masks, masks, masks, st.none()),
)
lying_frames = st.builds(
    lambda opcode, length, data: frame(opcode, data, length=length),
    st.sampled_from([TEXT, BINARY, CONT, PING]),
    st.sampled_from([0, 1, 125, 126, 200, 201, 65535, 65536, 2**63, 2**64 - 1]),
    st.binary(max_size=20),
)
streams = st.lists(st.one_of(whole_frames, whole_frames, whole_frames, lying_frames, st.binary(max_size=8)), max_size=8)


@settings(deadline=None, max_examples=400)
@given(streams, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([130, 200, LIMIT]))
@example([frame(BINARY, frame(TEXT, b"smuggled"), rsv=0x40, mask=b"\0\0\0\0")], [6], LIMIT)
@example([frame(PING, b"x" * 200), frame(TEXT, b"smuggled")], [10], LIMIT)
@example([frame(TEXT, b"a", fin=False), frame(PING), frame(CONT, b"b"), frame(TEXT, b"c")], [], LIMIT)
@example([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], [3], LIMIT)
def test_any_bytes_give_the_messages_that_websockets_gives(pieces, cuts, max_size):
    """Whatever comes, in whatever pieces: the same messages, the same pongs and Close, the same verdict."""
    data = b"".join(pieces)
    alone, shortened = Judge(max_size), Shortened(max_size)
    borders = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    for begin, end in itertools.pairwise(borders):
        for judge in (alone, shortened):
            if judge.protocol.state is OPEN:
                judge.feed(data[begin:end])
    if alone.verdict == 1009 and shortened.verdict is None:
        shortened.feed(bytes(max_size + 4))  # it waits for the whole frame, websockets for its length
    assert shortened.messages == alone.messages
    assert shortened.verdict == alone.verdict
    if alone.verdict != 1009:  # the sentence is not ours to repeat
        assert b"".join(shortened.protocol.data_to_send()) == b"".join(alone.protocol.data_to_send())


# --- framing -----------------------------------------------------------------------------------------------------


def parsed(data: bytes) -> Frame:
    """Have websockets take a frame of a server apart; all of the bytes must belong to it."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False)
    try:
        while True:
            next(parser)
    except StopIteration as done:
        assert reader.buffer == b""
        return done.value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize(("make", "opcode"), [(text_frame, Opcode.TEXT), (binary_frame, Opcode.BINARY)])
def test_what_is_framed_is_what_websockets_reads(make, opcode, size):
    """At the edges of each form of length, and written as websockets writes it."""
    payload = b"a" * size
    made = make(payload)
    found = parsed(made)
    assert (found.opcode, found.data, found.fin) == (opcode, payload, True)
    assert made == Frame(opcode, payload).serialize(mask=False)
