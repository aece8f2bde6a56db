"""Decoding of text frames: every bad input is refused in one way, every good one means what JSON says it means."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import BadMessage
from gateway.protocol import limits, messages
from gateway.protocol.decoding import decode_object, parse, reference, type_of
from gateway.protocol.messages import (
    HANDOVER_NOTICE,
    Abort,
    AudioParams,
    Error,
    Hello,
    HelloAnswer,
    Iot,
    Listen,
    Mcp,
    MeetingSummary,
    Mode,
    PeerMessage,
    PeerReceipt,
    Pong,
    Stats,
    encode,
    read_hello,
)


def code_of(data: bytes) -> str:
    """Decode what must be refused, and return the error code."""
    with pytest.raises(BadMessage) as caught:
        decode_object(data)
    assert len(caught.value.reason) <= limits.ERROR_TEXT_CHARACTERS
    return caught.value.code


def nested(levels: int) -> bytes:
    """Write an object of so many levels, itself the first; objects and arrays take turns."""
    text = b"1"
    for level in range(levels - 1):
        text = b"[" + text + b"]" if level % 2 else b'{"k":' + text + b"}"
    return b'{"k":' + text + b"}"


# --- what is no JSON object ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{"a":1}}',
        b'{"a":1} x',
        b'{"a":1}\x00',
        b"{a:1}",
        b"{'a':1}",
        b'{"a":1 "b":2}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a":tru}',
        b'{"a":True}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":0x10}',
        b'// comment\n{"a":1}',
        b'{"a":1}{"a":1}',
    ],
)
def test_malformed_json_is_bad_json(data):
    """As the grammar has it, nothing more lenient."""
    assert code_of(data) == "BAD_JSON"


@pytest.mark.parametrize("data", [b"1", b"null", b"true", b'"text"', b"[]", b'[{"type":"ping"}]', b"1.5"])
def test_json_that_is_no_object_is_bad_json(data):
    """The original server echoes bare numbers."""
    assert code_of(data) == "BAD_JSON"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "nan", "1e999", "-1e999", "1" * 400 + ".0"])
def test_numbers_that_are_none_are_bad_json(number):
    """No NaN, no infinities, nor what would become one."""
    assert code_of(b'{"a":%s}' % number.encode()) == "BAD_JSON"


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63, 0])
def test_integers_of_64_bits_are_taken(number):
    """Both ends of what any receiver can hold."""
    assert decode_object(b'{"a":[%d]}' % number) == {"a": [number]}


@pytest.mark.parametrize(
    "number", [str(2**64), str(-(2**63) - 1), "9" * 400, "1" * 4300, "1" * 5000, "-" + "1" * 60000]
)
def test_larger_integers_are_bad_json(number):
    """Past 64 bits, past what a float can hold, and past what Python itself will convert."""
    assert code_of(b'{"a":%s}' % number.encode()) == "BAD_JSON"
    assert code_of(b'{"a":[[%s]]}' % number.encode()) == "BAD_JSON"


@pytest.mark.parametrize(
    "text", [r"\ud800", r"\udfff", r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00\ud83d"], ids=lambda text: text[1:]
)
def test_lone_surrogates_are_bad_json(text):
    """In texts and in keys: they could not be sent on."""
    assert code_of(b'{"a":"%s"}' % text.encode()) == "BAD_JSON"
    assert code_of(b'{"%s":1}' % text.encode()) == "BAD_JSON"


def test_surrogate_pair_is_one_character():
    """An emoji written in escapes is that emoji."""
    assert decode_object(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}


def test_byte_order_mark_is_bad_json():
    """RFC 8259: must not be there; what some text editors add is no message."""
    assert code_of(b'\xef\xbb\xbf{"a":1}') == "BAD_JSON"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_bad_json(encoding):
    """The standard library would guess them; text frames are UTF-8."""
    assert code_of('{"a":1,"a":2}'.encode(encoding)) == "BAD_JSON"


def test_bytes_that_are_not_utf8_are_bad_json():
    """The channel closes on them before; here they raise nothing else at least."""
    assert code_of(b'{"a":"\xff"}') == "BAD_JSON"


# --- depth -------------------------------------------------------------------------------------------------------


def test_32_levels_are_taken_and_33_are_not():
    """The object itself is the first level."""
    assert decode_object(nested(32))
    assert code_of(nested(33)) == "BAD_JSON"


@pytest.mark.parametrize("bracket", [b"[", b'{"k":'])
@pytest.mark.parametrize("levels", [100, 1000, 10_000])
def test_any_deeper_nesting_is_bad_json(bracket, levels):
    """Far over the limit the decoder itself gives up, in its own way."""
    close = b"]" if bracket == b"[" else b"}"
    assert code_of(b'{"a":' + bracket * levels + b"1" + close * levels + b"}") == "BAD_JSON"
    assert code_of(b'{"a":' + bracket * levels) == "BAD_JSON"


def test_nesting_that_a_repeated_key_hides_is_bad_json():
    """What the last of two equal keys replaces is never seen decoded; at some depth it breaks the search for it."""
    for levels in range(30, 1100):
        assert code_of(b'{"a":' + b"[" * levels + b"]" * levels + b',"a":1}') == "BAD_JSON"


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a" :1,"a"\t\r\n :2}',
        b'{"a":1,"\\u0061":2}',
        b'{"\\u0061":1,"\\u0061":2}',
        b'{"a\\"":1,"a\\"":2}',
        b'{"":1,"":2}',
        b'{"a":{"b":1},"a":2}',
        b'{"x":{"a":1,"a":2}}',
        b'{"x":[{"a":1},{"a":1,"a":2}]}',
        b'{"a":1,"b":{"a":1},"a":2}',
        b'{"a":"\\":","a":1}',
        b'{"\\":":1,"\\":":2}',
        b'{"a":1,"b":[[[{"c":{"d":1,"d":[]}}]]]}',
        '{"é":1,"\\u00e9":2}'.encode(),
        b'{"/":1,"\\/":2}',
    ],
)
def test_repeated_keys_are_bad_json(data):
    """However they are spelled and wherever they stand: two readers could understand two messages."""
    assert code_of(data) == "BAD_JSON"


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"\\":"}',
        b'{"a":"\\":\\":\\":","b":"\\" :"}',
        b'{"\\":":1}',
        b'{"\\":":1,"a":"\\":"}',
        b'{"a\\"":1,"a":2}',
        b'{"a":{"a":{"a":1}}}',
        b'{"x":[{"a":1},{"a":1}]}',
        b'{"a":1,"A":2}',
        b'{"a":1,"a ":2}',
        b'{ "a"\t:\r\n1 , "b" : { } }',
        '{"é":1,"e\\u0301":2}'.encode(),
        b'{"text":"{\\"a\\":1,\\"a\\":2}"}',
    ],
)
def test_keys_that_only_look_repeated_are_taken(data):
    """Keys of other objects, text with ``":`` in it, JSON inside a text, letters of another case."""
    assert decode_object(data) == json.loads(data)


# --- hypothesis --------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(['":', '\\":', '"', "\\", '{"a":1,"a":2}', "\u2028", "😀"]),
)
keys = st.one_of(st.text(max_size=4), st.sampled_from(["a", "b", '":', '"', "type", "\\"]))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(keys, values, max_size=5)


@settings(deadline=None)
@given(objects, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
def test_valid_documents_mean_what_json_says(value, ascii_only, separators):
    """Any object in any writing decodes to the same as with the standard library."""
    data = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    assert decode_object(data) == json.loads(data) == value


class _Repeated(Exception):
    """A key stands twice in one object."""


def strictly(data: bytes) -> Any:
    """Decode with the standard library, which shows repeated keys to those who ask."""

    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise _Repeated
        return dict(pairs)

    return json.loads(data, object_pairs_hook=once)


class Pairs(list):
    """An object as a list of pairs, in which keys can be repeated."""


def written(value: Any) -> str:
    """Write JSON, with objects as lists of pairs."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(key)} : {written(member)}" for key, member in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


few_keys = st.sampled_from(["a", "b", '":', '"', ""])
pairs = st.recursive(
    st.one_of(st.integers(0, 9), st.sampled_from(['":', '\\":', "x"])),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(few_keys, inner), max_size=3).map(Pairs),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(few_keys, pairs), max_size=4).map(Pairs))
def test_repeated_keys_are_found_exactly(value):
    """A document is refused if, and only if, one of its objects has a key twice."""
    data = written(value).encode()
    try:
        expected = strictly(data)
    except _Repeated:
        assert code_of(data) == "BAD_JSON"
    else:
        assert decode_object(data) == expected


fragments = st.lists(
    st.sampled_from(
        ['{"a":1}', "{", "}", "[", "]", '"', ":", ",", '"a"', '":', "\\", "\\u", "d800", "1", "e999", "-", "NaN", " ",
         "null", "\ufeff", "\x00", "😀", "9" * 25, "[" * 40]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(), fragments, fragments.map(lambda text: '{"a":' + text + "}")))
@example('{"a":' * 33)
def test_nothing_but_bad_message_is_ever_raised(text):
    """Any UTF-8: an object that the standard library reads too, or BAD_JSON."""
    data = text.encode()
    try:
        value = decode_object(data)
    except BadMessage as refused:
        code = refused.code
    else:
        code = None
        assert value == strictly(data)
    assert code in (None, "BAD_JSON")


# --- type --------------------------------------------------------------------------------------------------------


def test_type_is_any_text_but_an_empty_one():
    """Whether it is known is the channel's question."""
    assert type_of({"type": "no such thing"}) == "no such thing"


@pytest.mark.parametrize("kind", [None, "", 1, True, ["x"], {"a": 1}, 1.5])
def test_other_types_are_bad_type(kind):
    """A list as type ends the original server's connection."""
    with pytest.raises(BadMessage) as caught:
        type_of({"type": kind})
    assert caught.value.code == "BAD_TYPE"


def test_missing_type_is_bad_type():
    """A message without type means nothing."""
    with pytest.raises(BadMessage) as caught:
        type_of({})
    assert caught.value.code == "BAD_TYPE"


# --- parse -------------------------------------------------------------------------------------------------------


class Lamp(msgspec.Struct, tag="lamp", forbid_unknown_fields=True):
    """An application's message with every kind of field."""

    color: Literal["red", "green"] = "red"
    level: int = 0
    modes: dict[Literal["a"], int] = {}
    inner: AudioParams = AudioParams()
    names: list[str] = []
    size: float | None = None
    bright: Annotated[int, msgspec.Meta(le=10)] = 0
    is_on: bool = msgspec.field(default=False, name="isOn")


def reason_of(message: dict[str, Any], struct: type[msgspec.Struct]) -> str:
    """Parse what must be refused, and return the reason."""
    with pytest.raises(BadMessage) as caught:
        parse(message, struct)
    assert caught.value.code == "SCHEMA_INVALID"
    return caught.value.reason


def test_parse_fills_in_what_is_absent_and_ignores_what_is_unknown():
    """Clients leave out what they like and bring what they like."""
    message = {"type": "listen", "state": "start", "session_id": "stale", "extra": [1]}
    assert parse(message, Listen) == Listen(state="start")


@pytest.mark.parametrize(
    ("message", "struct", "reason"),
    [
        ({"type": "listen"}, Listen, "expected a field 'state'"),
        ({"type": "listen", "state": 1}, Listen, "expected 'state' to be one of start, stop, detect"),
        ({"type": "listen", "state": "pause"}, Listen, "expected 'state' to be one of start, stop, detect"),
        ({"state": "start", "mode": "m"}, Mode, "expected 'mode' to be one of meeting, coding, working"),
        ({"type": "mcp", "payload": [1]}, Mcp, "expected 'payload' to be an object"),
        ({"type": "abort", "reason": None}, Abort, "expected 'reason' to be a string"),
        ({"type": "iot", "update": "yes"}, Iot, "expected 'update' to be true or false"),
        ({"type": "lamp", "inner": {"channels": "x"}}, Lamp, "expected 'inner.channels' to be an integer"),
        ({"type": "lamp", "inner": 1}, Lamp, "expected 'inner' to be an object"),
        ({"type": "lamp", "names": [1]}, Lamp, "expected 'names' to be an array, each item a string"),
        ({"type": "lamp", "size": "x"}, Lamp, "expected 'size' to be a number or null"),
        ({"type": "lamp", "bright": 11}, Lamp, "expected 'bright' to be an integer within its limits"),
        ({"type": "lamp", "isOn": 1}, Lamp, "expected 'isOn' to be true or false"),
        ({"type": "other"}, Lamp, "expected other fields"),
    ],
)
def test_parse_says_what_the_wrong_field_should_be(message, struct, reason):
    """That is what the developer of the device needs."""
    assert reason_of(message, struct) == reason


@pytest.mark.parametrize("text", ["sesame", "sesame - at `$.sesame`", "sesame' - at `$", "sesame\n - at sesame"])
@pytest.mark.parametrize(
    ("message", "struct"),
    [
        pytest.param(lambda text: {"type": "listen", "state": text}, Listen, id="literal"),
        pytest.param(lambda text: {"type": text, "state": "start"}, Listen, id="tag"),
        pytest.param(lambda text: {"type": "lamp", "color": text}, Lamp, id="literal of an application"),
        pytest.param(lambda text: {"type": "lamp", "level": text}, Lamp, id="type"),
        pytest.param(lambda text: {"type": "lamp", "modes": {text: 1}}, Lamp, id="key"),
        pytest.param(lambda text: {"type": "lamp", text: 1}, Lamp, id="unknown field"),
    ],
)
def test_parse_never_repeats_the_peer(text, message, struct):
    """No value and no unknown key stands in an error reply, however it dresses up."""
    assert "sesame" not in reason_of(message(text), struct)


def test_error_names_the_message_it_refers_to():
    """The id of the message, where it has one that is short."""
    with pytest.raises(BadMessage) as caught:
        parse({"type": "listen", "id": "m-1"}, Listen)
    assert caught.value.ref == "m-1"


@pytest.mark.parametrize(
    ("found", "expected"),
    [("m-1", "m-1"), ("x" * 64, "x" * 64), ("x" * 65, None), ("", None), (1, None), (["x"], None), (None, None)],
)
def test_reference_is_a_short_text(found, expected):
    """Anything else is not sent back."""
    assert reference({"id": found}) == expected


# --- hello -------------------------------------------------------------------------------------------------------


def test_hello_of_the_stock_firmware():
    """Exactly what it sends right after the upgrade."""
    hello, wrong = read_hello(
        {
            "type": "hello",
            "version": 3,
            "features": {"mcp": True, "aec": True, "glyph_push": False},
            "transport": "websocket",
            "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
            "text_font": {"bundle": "a", "charset": "b", "size": 1, "bpp": 2},
        }
    )
    assert wrong == []
    assert (hello.version, hello.transport) == (3, "websocket")
    assert hello.features == {"mcp": True, "aec": True, "glyph_push": False}
    assert hello.audio_params == AudioParams()


def test_hello_of_a_browser_page_is_a_good_one():
    """It has none of the fields, and its own."""
    hello, wrong = read_hello({"type": "hello", "device_id": "x", "device_mac": "y", "features": {"emoji": True}})
    assert (wrong, hello.version, hello.features) == ([], 1, {"emoji": True})


def test_audio_parameters_may_be_given_in_part():
    """py-xiaozhi sends other frame durations; the rest is as usual."""
    hello, wrong = read_hello({"audio_params": {"frame_duration": 20}})
    assert (wrong, hello.audio_params) == ([], AudioParams(frame_duration=20))


WRONG = {
    "version": ["1", 0, -1, 1.5, True, None, [], 10**3000 * -1],
    "transport": [None, 1, ["websocket"], {}],
    "features": [None, [], "mcp", 1],
    "audio_params": [
        [],
        None,
        "opus",
        {"sample_rate": 0},
        {"sample_rate": 7999},
        {"sample_rate": 48001},
        {"sample_rate": "16000"},
        {"channels": 0},
        {"channels": 3},
        {"frame_duration": 0},
        {"frame_duration": 121},
        {"format": 1},
        {"sample_rate": 16000, "channels": None},
    ],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_wrong_hello_field_is_its_default_and_named(field, value):
    """One wrong field costs that field only; audio parameters are taken or left as a whole."""
    good = {"version": 2, "transport": "udp", "features": {"mcp": True}, "audio_params": {"frame_duration": 20}}
    hello, wrong = read_hello({**good, field: value})
    assert wrong == [field]
    assert getattr(hello, field) == getattr(Hello(), field)
    for other in good.keys() - {field}:
        assert getattr(hello, other) != getattr(Hello(), other)


@pytest.mark.parametrize(
    "params",
    [{"sample_rate": 8000}, {"sample_rate": 48000}, {"channels": 2}, {"frame_duration": 1}, {"frame_duration": 120}],
)
def test_audio_parameters_at_their_limits_are_good(params):
    """Whatever Opus can do."""
    assert read_hello({"audio_params": params})[1] == []


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["version", "transport", "features", "audio_params"]), values))
def test_any_object_is_a_hello(message):
    """Never an exception, always the types the device will be answered with."""
    hello, wrong = read_hello(message)
    assert set(wrong) <= set(WRONG)
    assert type(hello.version) is int
    assert type(hello.transport) is str
    assert type(hello.features) is dict
    assert 8000 <= hello.audio_params.sample_rate <= 48000


def test_hellos_do_not_share_their_features():
    """What one session notes in its hello is not in the next one's."""
    read_hello({})[0].features["x"] = True
    assert read_hello({})[0].features == {}


# --- what is sent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Pong(), '{"type":"pong"}'),
        (Pong(7), '{"type":"pong","id":7}'),
        (Error("BAD_JSON", "no"), '{"type":"error","code":"BAD_JSON","message":"no"}'),
        (HANDOVER_NOTICE, '{"type":"system","message":"检测到新连接，当前通道将于约1.5秒后关闭以切换到新通道"}'),
        (
            Stats(ts=1, device_count=1, online=["a"]),
            '{"type":"server","ts":1,"deviceCount":1,"online":["a"],"event":"stats"}',
        ),
    ],
)
def test_messages_to_devices_are_written_exactly(message, text):
    """These bytes are what clients in the field compare with."""
    assert json.loads(encode(message)) == json.loads(text)
    assert encode(Pong()) == b'{"type":"pong"}'


def test_hello_answer_has_all_fields_the_firmware_reads():
    """It crashes where ``transport`` is missing."""
    answer = json.loads(encode(HelloAnswer("s-1", AudioParams(sample_rate=24000), {})))
    assert answer["transport"] == "websocket"
    assert (answer["type"], answer["version"], answer["session_id"]) == ("hello", 1, "s-1")
    assert answer["audio_params"] == {"format": "opus", "sample_rate": 24000, "channels": 1, "frame_duration": 60}


def test_names_of_the_wire_that_are_not_python_s():
    """``from``, ``elapsedMs``, ``targetsCount`` and ``nextSteps`` are spelled as clients expect them."""
    assert json.loads(encode(PeerMessage("a", {"x": 1}, "m", 5)))["from"] == "a"
    receipt = json.loads(encode(PeerReceipt(["a"], [], [], "1 delivered", 3, 1)))
    assert (receipt["elapsedMs"], receipt["targetsCount"], receipt["status"]) == (3, 1, "done")
    assert "reasons" not in receipt
    assert "nextSteps" in json.loads(encode(MeetingSummary("t", 1, [], [], [], [], [])))


@pytest.mark.parametrize(
    "struct", [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
)
def test_every_message_is_tagged_in_its_type(struct):
    """Only the audio parameters are no message of their own."""
    tagged = struct.__struct_config__.tag is not None
    assert tagged or struct is AudioParams
