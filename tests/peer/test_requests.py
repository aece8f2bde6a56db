"""What a device may ask the courier for, and how a wrong request is refused."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.config import PeerConfig
from gateway.errors import BadMessage
from gateway.identity import device_id
from gateway.peer.requests import PeerRequest, read_ack, read_request
from gateway.protocol import limits
from gateway.protocol.messages import Peer

CONFIG = PeerConfig()


def read(**fields):
    """Read a request that is good but for what is given."""
    return read_request(Peer(**{"to": "bb", "payload": {}, **fields}), CONFIG)


def refusal(**fields):
    """Return the code a request is refused with."""
    with pytest.raises(BadMessage) as caught:
        read(**fields)
    assert len(caught.value.reason) <= limits.ERROR_TEXT_CHARACTERS
    return caught.value.code


def test_a_whole_request():
    """Every field of a request is read."""
    message = Peer(to=["bb", "cc"], payload={"text": "hi"}, id="m1", ttl_ms=1500, confirm=True)
    assert read_request(message, CONFIG) == PeerRequest(("bb", "cc"), False, b'{"text":"hi"}', "m1", 1.5, True)


def test_defaults():
    """Only a target and a payload are needed."""
    assert read() == PeerRequest(("bb",), False, b"{}", None, CONFIG.ttl, False)


@pytest.mark.parametrize("to", ["broadcast", ["broadcast"], " BroadCast ", ["broadcast", "broadcast"]])
def test_broadcast(to):
    """A broadcast names nobody."""
    request = read(to=to)
    assert request.broadcast
    assert request.targets == ()


def test_targets_in_their_one_form_and_once():
    """Ids are brought to their form, and repeated ones count once, in the order of their first mention."""
    assert read(to=["CC", " bb ", "cc", '"bb"', "dd", "CC"]).targets == ("cc", "bb", "dd")


def test_ten_targets_are_the_most():
    """Ten targets are taken and eleven are not; a repeated id is no further target."""
    ten = [f"d{n}" for n in range(limits.PEER_TARGETS)]
    assert len(read(to=ten).targets) == limits.PEER_TARGETS
    assert len(read(to=ten * 5).targets) == limits.PEER_TARGETS
    assert refusal(to=[*ten, "one more"]) == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "to",
    [None, "", "   ", [], {}, 7, True, [7], [None], [["bb"]], ["bb", {}], [""], ["bb", ""], {"bb": 1}, 1.5],
)
def test_bad_targets(to):
    """Missing, empty, numbers, nested: all are INVALID_REQUEST."""
    assert refusal(to=to) == "INVALID_REQUEST"


def test_broadcast_stands_alone():
    """A broadcast has everybody already."""
    assert refusal(to=["broadcast", "bb"]) == "INVALID_REQUEST"


def test_a_target_that_can_be_no_device():
    """Ids that no device can have are refused, and not repeated in the answer."""
    assert refusal(to="x" * limits.DEVICE_ID_CHARACTERS + "x") == "INVALID_REQUEST"
    with pytest.raises(BadMessage) as caught:
        read(to="secret\x07name")
    assert "secret" not in caught.value.reason


@pytest.mark.parametrize("payload", [None, [], "text", 7, True])
def test_a_payload_is_an_object(payload):
    """Anything else is SCHEMA_INVALID."""
    assert refusal(payload=payload) == "SCHEMA_INVALID"


def test_payload_size():
    """A payload of just the limit is taken; one byte more is not. The size is that of its UTF-8."""
    room = CONFIG.payload_bytes - len('{"t":""}')
    assert len(read(payload={"t": "x" * room}).body) == CONFIG.payload_bytes
    assert refusal(payload={"t": "x" * (room + 1)}) == "SCHEMA_INVALID"
    assert refusal(payload={"t": "好" * (room // 3 + 1)}) == "SCHEMA_INVALID"


@pytest.mark.parametrize("own", ["m", "x" * limits.PEER_ID_CHARACTERS, "with blanks", "消息"])
def test_good_ids(own):
    """An id is 1 to 128 printable characters."""
    assert read(id=own).id == own


@pytest.mark.parametrize("own", ["", "x" * limits.PEER_ID_CHARACTERS + "x", 7, True, [], {}, "a\nb", "\x1b[0m"])
def test_bad_ids(own):
    """An id that is no such text is refused, since it gets into records and logs."""
    assert refusal(id=own) == "INVALID_REQUEST"


@pytest.mark.parametrize("confirm", [None, 1, "true", []])
def test_confirm_is_true_or_false(confirm):
    """Nothing is guessed from other values."""
    assert refusal(confirm=confirm) == "SCHEMA_INVALID"


@pytest.mark.parametrize(("ttl_ms", "seconds"), [(1, 0.001), (0.5, 0.0005), (2000, 2.0), (1e300, CONFIG.ttl)])
def test_time_to_live(ttl_ms, seconds):
    """A time to live is in milliseconds, and shortens the configured one."""
    assert read(ttl_ms=ttl_ms).ttl == pytest.approx(seconds)


@pytest.mark.parametrize("ttl_ms", [0, -1, -0.5, True, "1000", []])
def test_bad_time_to_live(ttl_ms):
    """A time to live is a number above 0."""
    assert refusal(ttl_ms=ttl_ms) == "SCHEMA_INVALID"


def test_acknowledgements():
    """One id, or several."""
    assert read_ack(Peer(id="m1")) == ("m1",)
    assert read_ack(Peer(ids=["m1", "m2"])) == ("m1", "m2")
    assert read_ack(Peer(ids=[])) == ()
    assert len(read_ack(Peer(ids=["m"] * limits.MAILBOX_PER_DEVICE))) == limits.MAILBOX_PER_DEVICE


@pytest.mark.parametrize(
    "fields",
    [{}, {"id": 7}, {"ids": "m1"}, {"ids": [7]}, {"ids": {}}, {"ids": ["m"] * (limits.MAILBOX_PER_DEVICE + 1)}],
)
def test_bad_acknowledgements(fields):
    """Anything else is INVALID_REQUEST."""
    with pytest.raises(BadMessage) as caught:
        read_ack(Peer(**fields))
    assert caught.value.code == "INVALID_REQUEST"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def _outcome(read, *args):
    try:
        return read(*args)
    except BadMessage as error:
        return error.code


@settings(deadline=None, max_examples=200)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("to", "payload", "id", "ttl_ms", "confirm", "ids"), _JSON)))
def test_any_request_is_read_or_refused(fields):
    """Whatever a device sends, it is a request within the limits, or is refused with a code; nothing else is raised."""
    request = _outcome(read_request, Peer(**fields), CONFIG)
    if isinstance(request, PeerRequest):
        assert request.broadcast != bool(request.targets)
        assert len(set(request.targets)) == len(request.targets) <= limits.PEER_TARGETS
        assert all(device_id(target) == target for target in request.targets)
        assert isinstance(json.loads(request.body), dict)
        assert 0 < request.ttl <= CONFIG.ttl
    else:
        assert request in ("INVALID_REQUEST", "SCHEMA_INVALID")
    ids = _outcome(read_ack, Peer(**fields))
    assert ids == "INVALID_REQUEST" or all(isinstance(one, str) for one in ids)
