"""Upgrade requests: who may connect, as whom, and how everybody else is refused."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gateway.config import AuthConfig, Config, ServerConfig
from gateway.errors import BadDeviceId, HandshakeRefused
from gateway.identity import device_id
from gateway.protocol import handshake
from gateway.protocol.handshake import (
    CLIENT_ID_CHARACTERS,
    QUERY_FIELDS,
    Connect,
    Terms,
    TokenVerdict,
    check_upgrade,
    is_plain_get,
    read_request,
    refusal,
    retry_after,
    running,
)
from gateway.protocol.request_head import RequestHead

MAC = "a0:b1:c2:d3:e4:f5"
UUID = "7f6b3a0e-4a1c-4a58-9d0e-0c8f6f0a1b2c"
PATH = "/xiaozhi/v1/"
KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="


def config(*, origins: list[str] | None = None, paths: list[str] | None = None, **auth) -> Config:
    """Make a configuration that asks for no token unless told so."""
    server = ServerConfig(allowed_origins=origins or [])
    if paths is not None:
        server = msgspec.structs.replace(server, paths=paths)
    return Config(server=server, auth=AuthConfig(**{"enabled": False, **auth}))


def request(path: str = PATH, *headers: tuple[str, str], **named: str) -> Request:
    """Make a request; named headers are written with underscores for dashes."""
    pairs = [*headers, *((name.replace("_", "-"), value) for name, value in named.items())]
    return Request(path, Headers(pairs))


def nobody_asks(token, client_id, device):
    """Stand in for the check of tokens where none must be made."""
    pytest.fail("a token was verified although none is asked for")


def answering(verdict: TokenVerdict, seen: list | None = None):
    """Make a check of tokens that always says the same, and notes what it was asked."""

    def verify(token, client_id, device):
        if seen is not None:
            seen.append((token, client_id, device))
        return verdict

    return verify


def read(asked: Request, settings: Config | None = None, verify=nobody_asks) -> Connect:
    """Read a request on the terms of a configuration."""
    return read_request(asked, Terms.of(settings or config()), verify)


def refused(asked: Request, settings: Config | None = None, verify=nobody_asks) -> HandshakeRefused:
    """Read a request that must be refused, and return the refusal."""
    with pytest.raises(HandshakeRefused) as caught:
        read(asked, settings, verify)
    return caught.value


def outcome_of(asked: Request, settings: Config, verify) -> Connect | HandshakeRefused:
    """Read a request; a refusal is an outcome, any other exception is not."""
    try:
        return read(asked, settings, verify)
    except HandshakeRefused as caught:
        return caught


# --- what devices in the field send ------------------------------------------------------------------------------


def test_stock_firmware_connects_with_its_four_headers():
    """The firmware's own request: token, framing, MAC and UUID, all in headers."""
    seen = []
    asked = request(
        PATH,
        ("Authorization", "Bearer abc.123"),
        ("Protocol-Version", "3"),
        ("Device-Id", MAC),
        ("Client-Id", UUID),
        ("Connection", "Upgrade"),
    )
    connect = read(asked, config(enabled=True), answering(TokenVerdict.VALID, seen))
    assert connect == Connect(device_id(MAC), False, UUID, 3, PATH, True)
    assert seen == [("abc.123", UUID, MAC)]


def test_browser_page_connects_with_everything_in_the_query():
    """A page cannot set headers: upper-case MAC, client id and ``Bearer`` token come percent-encoded in the query."""
    seen = []
    asked = request(
        f"{PATH}?device-id={MAC.upper()}&client-id=web%20test&authorization=Bearer%20abc.123",
        ("Origin", "https://bench.example"),
        ("Connection", "keep-alive, Upgrade"),
    )
    settings = config(enabled=True, query_token=True, origins=["https://bench.example"])
    connect = read(asked, settings, answering(TokenVerdict.VALID, seen))
    assert connect == Connect(device_id(MAC), False, "web test", 1, PATH, True)
    assert seen == [("abc.123", "web test", MAC)]


@pytest.mark.parametrize("spelling", ["device-id", "device_id"])
def test_seed_fork_connects_with_its_id_in_the_query(spelling):
    """The seed fork's clients give their id in the query, in two spellings, on their own path."""
    connect = read(request(f"/supie/v1/?{spelling}=%22002%22"))
    assert connect == Connect(device_id("002"), False, "", 1, "/supie/v1/", False)


@pytest.mark.parametrize("header", ["Device-Id", "device-id", "DEVICE-ID", "device_id", "X-Device-Id"])
def test_every_spelling_of_the_device_header_is_read(header):
    """The fork and third-party clients spell the header in their own ways."""
    assert read(request(PATH, (header, MAC))).device == MAC


def test_client_without_any_id_gets_a_generated_one():
    """The PyPI client sends neither id nor token; each of its connections is a device of its own."""
    first, second = read(request()), read(request())
    assert first.generated
    assert first.device.startswith("auto-")
    assert len(first.device) == len("auto-") + 8
    assert first.device != second.device


@pytest.mark.parametrize("name", ["auto-0123abcd", "AUTO-x", "auto-", '"auto-1"', "broadcast", " Broadcast "])
def test_ids_that_mean_something_else_are_400(name):
    """The gateway alone makes ids that begin with ``auto-``, and ``broadcast`` is everybody, in any spelling."""
    in_header, in_query = request(Device_Id=name), request(f"{PATH}?device-id={name.replace(' ', '%20')}")
    for asked in (in_header, in_query):
        assert refused(asked).status == 400


@pytest.mark.parametrize("name", ["auto", "automatic", "broadcast1", "my-auto-1"])
def test_ids_that_only_look_like_those_are_taken(name):
    """Nothing else is kept from devices."""
    connect = read(request(Device_Id=name))
    assert (connect.device, connect.generated) == (name, False)


def test_unrelated_query_fields_are_ignored():
    """The MQTT bridge marks its connections in the query."""
    assert read(request(f"{PATH}?from=mqtt_gateway", Device_Id=MAC)).path == PATH


# --- path --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/xiaozhi/v1/", "/xiaozhi/v1", "/xiaozhi/v1?x=1", "/xiaozhi/v1/?x=1"])
def test_last_slash_makes_no_difference(path):
    """A path is the same with and without its last slash, and is reported as configured."""
    assert read(request(path)).path == "/xiaozhi/v1/"
    assert read(request(path), config(paths=["/xiaozhi/v1"])).path == "/xiaozhi/v1"


@pytest.mark.parametrize(
    "path", ["/", "", "?", "/xiaozhi/v1//", "/xiaozhi/v1/x", "/XIAOZHI/v1/", "/xiaozhi%2Fv1/", "//xiaozhi/v1/", "*"]
)
def test_unknown_path_is_404(path):
    """Any other path is 404, and the reason tells the right ones."""
    caught = refused(request(path, Device_Id=MAC))
    assert caught.status == 404
    assert "/xiaozhi/v1/, /supie/v1/" in caught.reason


def test_root_can_be_a_path():
    """A gateway behind a proxy that cuts prefixes may be configured to the root."""
    assert read(request("/?device-id=1"), config(paths=["/"])).path == "/"


# --- device id ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", "   ", '""', "x" * 65, "a\tb", "a\x85b", "a\xa0b", "\xc2\x85b\xc2\x85b"])
def test_bad_device_id_is_400(bad):
    """An id that was given but is empty, too long or not printable is refused, never replaced by a generated one."""
    assert refused(request(PATH, ("Device-Id", bad))).status == 400


@pytest.mark.parametrize("bad", ["", "%20", "%00", "%0a", "x" * 65, "%e2%80%ae", "%ed%a0%80", "%ff"])
def test_bad_device_id_in_the_query_is_400(bad):
    """The same in the query, where anything can be percent-encoded."""
    assert refused(request(f"{PATH}?device-id={bad}")).status == 400


def test_device_id_of_64_characters_is_taken():
    """64 characters are the limit."""
    assert read(request(Device_Id="x" * 64)).device == "x" * 64


def test_two_device_headers_are_400():
    """A repeated header is refused even if both say the same: one of them was not put there by the device."""
    assert refused(request(PATH, ("Device-Id", MAC), ("Device-Id", MAC))).status == 400


def test_header_and_query_that_agree_are_taken():
    """The same id in several places and spellings is one id."""
    asked = request(f"{PATH}?device_id={MAC}", ("Device-Id", MAC.upper()), ("X-Device-Id", f" {MAC} "))
    assert read(asked).device == MAC


@pytest.mark.parametrize(
    "asked",
    [
        request(f"{PATH}?device-id=002", Device_Id=MAC),
        request(PATH, ("Device-Id", MAC), ("device_id", "002")),
        request(f"{PATH}?device-id=001&device-id=002"),
        request(f"{PATH}?device-id=001&device_id=002"),
    ],
    ids=["header-query", "headers", "query", "spellings"],
)
def test_ids_that_differ_are_400(asked):
    """Where two ids are given we do not guess which one is meant."""
    assert refused(asked).status == 400


def test_device_id_in_utf8_is_the_same_in_header_and_query():
    """Headers arrive decoded as ISO-8859-1, queries percent-encoded; an id in UTF-8 is one id on both ways."""
    in_header = "厨房".encode().decode("iso-8859-1")
    assert read(request(Device_Id="k\xfcche")).device == "k\xfcche"
    assert read(request(f"{PATH}?device-id=%E5%8E%A8%E6%88%BF", ("X-Device-Id", in_header))).device == "厨房"


@settings(deadline=None)
@given(st.text())
def test_the_form_of_a_device_id_is_its_own_form(text):
    """Bringing an id to its form twice changes nothing, else peers could not name it."""
    try:
        name = device_id(text)
    except BadDeviceId:
        return
    assert device_id(name) == name


def test_white_space_and_quotes_around_an_id_go_in_any_order():
    """Quotes inside white space inside quotes leave nothing behind."""
    assert device_id("""' " '\u3000AA:BB' " """) == "aa:bb"


# --- client id ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [request(), request(Client_Id=""), request(f"{PATH}?client_id=")])
def test_client_id_may_be_absent(asked):
    """Third-party clients have none."""
    assert read(asked).client_id == ""


def test_client_id_is_taken_up_to_its_limit():
    """128 characters are taken, 129 are refused."""
    assert read(request(Client_Id="c" * CLIENT_ID_CHARACTERS)).client_id == "c" * 128
    assert refused(request(Client_Id="c" * (CLIENT_ID_CHARACTERS + 1))).status == 400


@pytest.mark.parametrize(
    "asked",
    [
        request(PATH, ("Client-Id", "a\tb")),
        request(f"{PATH}?client-id=a%00b"),
        request(PATH, ("Client-Id", "a"), ("Client-Id", "a")),
        request(f"{PATH}?client-id=a", Client_Id="b"),
    ],
    ids=["tab", "nul", "twice", "differ"],
)
def test_bad_client_id_is_400(asked):
    """A client id that is not printable, repeated or contradicted is refused."""
    assert refused(asked).status == 400


def test_client_id_with_a_bar_is_400():
    """A bar would let a token for client ``x`` and device ``y|z`` pass as one for client ``x|y`` and device ``z``."""
    assert refused(request(Client_Id="x|y", Device_Id="z")).status == 400


# --- framing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "framing"), [([], 1), (["1"], 1), (["2"], 2), (["3"], 3)])
def test_framing_is_the_header_else_one(headers, framing):
    """The header decides the framing of both directions; without it frames are bare Opus."""
    assert read(request(PATH, *(("Protocol-Version", value) for value in headers))).framing == framing


@pytest.mark.parametrize("version", ["", "0", "4", "01", "1.0", "v1", "-1", "¹", "1, 2"])
def test_unknown_framing_is_400(version):
    """A device of another framing would read our audio past its end; better no connection."""
    assert refused(request(PATH, ("Protocol-Version", version.encode().decode("iso-8859-1")))).status == 400


# --- tokens ------------------------------------------------------------------------------------------------------

TOKENS_ASKED = config(enabled=True)
TOKENS_ASKED_IN_QUERY = config(enabled=True, query_token=True)


@pytest.mark.parametrize("header", ["Bearer abc.1", "bearer abc.1", "BEARER  abc.1", "abc.1", " abc.1 "])
def test_token_is_read_with_and_without_its_scheme(header):
    """The firmware leaves out ``Bearer`` when its stored token has a space; others write it as they like."""
    seen = []
    asked = request(Authorization=header, Device_Id=MAC)
    assert read(asked, TOKENS_ASKED, answering(TokenVerdict.VALID, seen)).authenticated
    assert seen == [("abc.1", "", MAC)]


@pytest.mark.parametrize("headers", [[], [("Authorization", "")], [("Authorization", "Bearer")]])
def test_missing_token_is_401_with_a_challenge(headers):
    """The firmware leaves out the header when its token is empty; it is told at once, before the upgrade."""
    caught = refused(request(PATH, ("Device-Id", MAC), *headers), TOKENS_ASKED)
    assert (caught.status, caught.headers) == (401, {"WWW-Authenticate": 'Bearer realm="wsdevice"'})


@pytest.mark.parametrize("verdict", [TokenVerdict.BAD, TokenVerdict.EXPIRED, TokenVerdict.FUTURE])
def test_token_that_is_no_good_is_401(verdict):
    """Bad, expired and dated in the future: each with a challenge that says the token is at fault."""
    caught = refused(request(Authorization="abc.1", Device_Id=MAC), TOKENS_ASKED, answering(verdict))
    assert caught.status == 401
    assert 'error="invalid_token"' in caught.headers["WWW-Authenticate"]


def test_token_of_another_device_is_403():
    """A right token with the wrong device is no question of logging in again."""
    caught = refused(
        request(Authorization="abc.1", Device_Id="002"), TOKENS_ASKED, answering(TokenVerdict.OTHER_DEVICE)
    )
    assert caught.status == 403
    assert "WWW-Authenticate" not in caught.headers


@pytest.mark.parametrize("verdict", TokenVerdict)
def test_only_a_valid_token_lets_in(verdict):
    """Every verdict but one refuses."""
    asked = request(Authorization="abc.1", Device_Id=MAC)
    if verdict is TokenVerdict.VALID:
        assert read(asked, TOKENS_ASKED, answering(verdict)).authenticated
    else:
        assert refused(asked, TOKENS_ASKED, answering(verdict)).status in (401, 403)


def test_two_authorization_headers_are_400():
    """Which one would a proxy have checked?"""
    asked = request(PATH, ("Authorization", "abc.1"), ("Authorization", "abc.1"))
    assert refused(asked, TOKENS_ASKED).status == 400


def test_scheme_other_than_bearer_is_no_token():
    """Another scheme is handed to the check as it is; no token has a space."""
    seen = []
    caught = refused(request(Authorization="Basic YTpi"), TOKENS_ASKED, answering(TokenVerdict.BAD, seen))
    assert (caught.status, seen[0][0]) == (401, "Basic YTpi")


def test_token_that_is_not_ascii_never_reaches_the_check():
    """Constant-time comparison raises on such text, so it is refused before."""
    assert refused(request(Authorization="\xe9t\xe9"), TOKENS_ASKED).status == 401


@pytest.mark.parametrize("field", ["authorization", "token"])
def test_token_in_the_query_is_400_unless_allowed(field):
    """It stands in the logs of every proxy, so it is refused even beside a good header."""
    asked = request(f"{PATH}?{field}=abc.1", Authorization="abc.1", Device_Id=MAC)
    caught = refused(asked, TOKENS_ASKED, answering(TokenVerdict.VALID))
    assert caught.status == 400
    assert "abc" not in str(caught)


@pytest.mark.parametrize("value", ["abc.1", "Bearer%20abc.1", "Bearer+abc.1"])
@pytest.mark.parametrize("field", ["authorization", "token"])
def test_token_in_the_query_is_taken_where_allowed(field, value):
    """Browsers need it."""
    seen = []
    asked = request(f"{PATH}?{field}={value}")
    assert read(asked, TOKENS_ASKED_IN_QUERY, answering(TokenVerdict.VALID, seen)).authenticated
    assert seen[0][0] == "abc.1"


@pytest.mark.parametrize("query", ["authorization=", "token=", "authorization=Bearer%20"])
def test_empty_token_in_the_query_is_an_absent_one(query):
    """The browser page sends the field empty when it has no token: 401 tells it what is missing."""
    assert refused(request(f"{PATH}?{query}"), TOKENS_ASKED).status == 401


def test_tokens_that_differ_in_the_query_are_400():
    """Two spellings, two tokens: neither is taken."""
    asked = request(f"{PATH}?token=abc.1&authorization=def.2")
    assert refused(asked, TOKENS_ASKED_IN_QUERY, answering(TokenVerdict.VALID)).status == 400


def test_token_in_the_header_goes_before_the_query():
    """A client that has both means the header."""
    seen = []
    asked = request(f"{PATH}?token=def.2", Authorization="abc.1")
    read(asked, TOKENS_ASKED_IN_QUERY, answering(TokenVerdict.VALID, seen))
    assert [token for token, _, _ in seen] == ["abc.1"]


def test_tokens_are_ignored_where_none_are_asked_for():
    """Wherever they stand, even twice; and nobody counts as authenticated."""
    asked = request(f"{PATH}?token=x&authorization=y", ("Authorization", "a"), ("Authorization", "b"))
    assert not read(asked).authenticated


# --- who may ------------------------------------------------------------------------------------------------------


def test_device_that_is_not_allowed_is_403():
    """The list of allowed devices is exact, but knows no case."""
    settings = config(allowed_devices=[MAC.upper(), "002"])
    assert read(request(Device_Id=MAC), settings).device == MAC
    assert read(request(Device_Id="002"), settings).device == "002"
    assert refused(request(Device_Id="003"), settings).status == 403


def test_generated_id_is_not_allowed_where_a_list_is():
    """Who gives no id is not on the list."""
    assert refused(request(), config(allowed_devices=[MAC])).status == 403


def test_list_of_nonsense_allows_nobody():
    """A list whose names can be no device's is still a list."""
    assert refused(request(Device_Id=MAC), config(allowed_devices=[""])).status == 403


def test_valid_token_does_not_help_a_device_that_is_not_allowed():
    """Nor does a bad token tell whether the device would have been allowed."""
    settings = config(enabled=True, allowed_devices=["002"])
    asked = request(Device_Id=MAC, Authorization="abc.1")
    assert refused(asked, settings, answering(TokenVerdict.VALID)).status == 403
    assert refused(asked, settings, answering(TokenVerdict.BAD)).status == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, None),
        ("https://bench.example", None),
        ("https://bench.example:443", 403),
        ("http://bench.example", 403),
        ("https://bench.example.evil", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_origin_is_absent_or_exactly_an_allowed_one(origin, status):
    """No Origin is a device; a page of another site is refused before anything else is looked at."""
    headers = [] if origin is None else [("Origin", origin)]
    asked = request(PATH, *headers, ("Device-Id", MAC))
    settings = config(origins=["https://bench.example"])
    if status is None:
        assert read(asked, settings).device == MAC
    else:
        assert refused(asked, settings).status == status


def test_two_origins_are_400():
    """Even two allowed ones."""
    asked = request(PATH, ("Origin", "https://a.example"), ("Origin", "https://a.example"))
    assert refused(asked, config(origins=["https://a.example"])).status == 400


# --- query -------------------------------------------------------------------------------------------------------


def test_query_is_taken_up_to_its_limit():
    """32 fields are read, 33 are refused."""
    assert read(request(f"{PATH}?{'&'.join(['a=1'] * QUERY_FIELDS)}")).generated
    assert refused(request(f"{PATH}?{'&'.join(['a=1'] * (QUERY_FIELDS + 1))}")).status == 400


# --- never anything else -----------------------------------------------------------------------------------------

NAMES = (*handshake._DEVICE_HEADERS, "Client-Id", "Protocol-Version", "Authorization", "Origin", "X-Other")
FIELDS = ("device-id", "device_id", "client-id", "client_id", "authorization", "token", "x")
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=140)
queries = st.lists(st.tuples(st.sampled_from(FIELDS), st.text(max_size=70)), max_size=4).map(
    lambda fields: "&".join(f"{name}={value}" for name, value in fields)
)
paths = st.one_of(st.text(), st.tuples(st.just(PATH), queries).map("?".join))


@settings(deadline=None)
@given(
    path=paths,
    headers=st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=5),
    asked=st.booleans(),
    in_query=st.booleans(),
    allowed=st.sampled_from([[], [MAC]]),
    verdict=st.sampled_from(TokenVerdict),
)
def test_nothing_but_a_refusal_is_ever_raised(path, headers, asked, in_query, allowed, verdict):
    """Whatever stands in path and headers: accepted with sane parameters, or refused with a clean reason."""
    settings = config(enabled=asked, query_token=in_query, allowed_devices=allowed)
    outcome = outcome_of(Request(path, Headers(headers)), settings, answering(verdict))
    if isinstance(outcome, HandshakeRefused):
        assert outcome.status in {400, 401, 403, 404}
        assert outcome.reason.isprintable()
        assert refusal(ServerProtocol(), outcome).status_code == outcome.status
    else:
        assert outcome.device == device_id(outcome.device)
        assert outcome.client_id.isprintable()
        assert len(outcome.client_id) <= CLIENT_ID_CHARACTERS
        assert outcome.framing in {1, 2, 3}
        assert outcome.path in settings.server.paths
        assert outcome.authenticated is (asked and verdict is TokenVerdict.VALID)


@pytest.mark.parametrize(
    "asked",
    [
        request("/sesame?sesame"),
        request(f"{PATH}?device-id={'sesame' * 20}"),
        request(Client_Id="sesame" * 30),
        request(Protocol_Version="sesame"),
        request(Origin="sesame"),
        request(Authorization="sesame"),
        request(f"{PATH}?token=sesame"),
        request(f"{PATH}?%ff=sesame"),
        request(Device_Id="sesame", Authorization="Bearer x"),
        request(f"{PATH}?device-id=sesame", Device_Id="sesame2"),
    ],
)
def test_reasons_never_repeat_the_peer(asked):
    """What the peer sent stands in no refusal."""
    settings = config(enabled=True, allowed_devices=["open"])
    for verdict in (TokenVerdict.VALID, TokenVerdict.BAD, TokenVerdict.OTHER_DEVICE):
        assert "sesame" not in str(refused(asked, settings, answering(verdict)))


# --- before that: is it an upgrade at all? -----------------------------------------------------------------------

UPGRADE = {
    "Host": "gw",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def parsed(method: str = "GET", path: str = PATH, version: str = "1.1", **changed: str | None):
    """Feed a request to `websockets`, as a connection does, and return its protocol and what it parsed."""
    head = read_head(method, path, version, **changed)
    protocol = ServerProtocol()
    protocol.receive_data(head.canonical())
    (asked,) = protocol.events_received()
    head.restore(asked)
    return protocol, asked


def read_head(method: str = "GET", path: str = PATH, version: str = "1.1", **changed: str | None) -> RequestHead:
    """Read the head of an upgrade request with some headers changed, or left out (None)."""
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    head = RequestHead()
    assert head.feed(f"{method} {path} HTTP/{version}\r\n{''.join(lines)}\r\n".encode("iso-8859-1")) == b""
    return head


PLAIN = {"Upgrade": None, "Connection": None, "Sec_WebSocket_Key": None, "Sec_WebSocket_Version": None}


@pytest.mark.parametrize("path", ["/", PATH, "/anything?x=1"])
def test_plain_get_is_told_that_the_server_runs(path):
    """On every path: it is how people check the port."""
    protocol, asked = parsed(path=path, **PLAIN)
    assert is_plain_get(asked)
    protocol.send_response(running(protocol, asked))
    answer = b"".join(protocol.data_to_send())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nServer is running\n")


def test_plain_head_is_answered_without_a_body():
    """The headers are those of the GET; a body would be taken for the next answer."""
    protocol, asked = parsed("HEAD", **PLAIN)
    assert is_plain_get(asked)
    response = running(protocol, asked)
    assert response.headers["Content-Length"] == "18"
    assert response.serialize().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_plain_get_of_an_old_client_is_plain_too(connection):
    """Health checks of proxies speak HTTP/1.0 and close."""
    _, asked = parsed(version="1.0", **{**PLAIN, "Connection": connection})
    assert is_plain_get(asked)


@pytest.mark.parametrize(
    "header",
    [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", KEY),
        ("Connection", "Upgrade"),
        ("Connection", "keep-alive, upgrade"),
    ],
)
def test_one_sign_of_a_handshake_is_enough(header):
    """Whoever sends any of them wanted a WebSocket and should learn what is missing, not that the server runs."""
    assert is_plain_get(Request("/", Headers([("Host", "gw")])))
    assert not is_plain_get(Request("/", Headers([("Host", "gw"), header])))


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Connection": None}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Upgrade": None, "Connection": None}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "!!!!"}, 400),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": "013"}, 426),
        ({"Sec_WebSocket_Version": "8", "Sec_WebSocket_Key": None}, 426),
        ({"Connection": ";"}, 400),
    ],
)
def test_broken_upgrade_is_refused_in_our_own_words(changed, status):
    """A request with any sign of a WebSocket handshake is no port check; what is wrong with it is `websockets`' say."""
    protocol, asked = parsed(**changed)
    assert not is_plain_get(asked)
    with pytest.raises(HandshakeRefused) as caught:
        check_upgrade(protocol, asked)
    assert caught.value.status == status
    assert not [value for value in changed.values() if value and value in caught.value.reason]
    answer = refusal(protocol, caught.value)
    assert answer.status_code == status
    assert answer.headers.get("Upgrade") == ("websocket" if status == 426 else None)


@pytest.mark.parametrize("version", ["8", "", None])
def test_another_version_is_told_ours(version):
    """RFC 6455 4.4: so that a client that speaks several can come back with the right one."""
    protocol, asked = parsed(Sec_WebSocket_Version=version)
    with pytest.raises(HandshakeRefused) as caught:
        check_upgrade(protocol, asked)
    answer = refusal(protocol, caught.value)
    assert (answer.status_code, answer.headers["Sec-WebSocket-Version"]) == (426, "13")
    assert answer.headers["Upgrade"] == "websocket"


def test_two_versions_are_400():
    """A repeated header is a bad field, as everywhere."""
    protocol, _ = parsed()
    asked = Request(PATH, Headers([*UPGRADE.items(), ("Sec-WebSocket-Version", "8")]))
    with pytest.raises(HandshakeRefused) as caught:
        check_upgrade(protocol, asked)
    assert caught.value.status == 400


@pytest.mark.parametrize(("line", "status"), [(("POST", "1.1"), 405), (("HEAD", "1.1"), 405), (("GET", "1.0"), 505)])
def test_other_methods_and_versions_are_refused(line, status):
    """An upgrade is a GET of HTTP/1.1."""
    method, version = line
    with pytest.raises(HandshakeRefused) as caught:
        read_head(method, version=version).check_upgrade()
    assert caught.value.status == status
    assert caught.value.headers == ({"Allow": "GET"} if status == 405 else {})


def test_two_origins_are_400_before_they_are_read():
    """`websockets` refuses them as well."""
    protocol, _ = parsed()
    asked = Request(PATH, Headers([*UPGRADE.items(), ("Origin", "a"), ("Origin", "a")]))
    with pytest.raises(HandshakeRefused) as caught:
        check_upgrade(protocol, asked)
    assert caught.value.status == 400


@pytest.mark.parametrize("connection", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, keep-alive"])
def test_connection_header_may_have_more_than_upgrade(connection):
    """Firefox sends ``keep-alive, Upgrade``; the original server answers it 200."""
    protocol, asked = parsed(Connection=connection)
    assert not is_plain_get(asked)
    protocol.send_response(check_upgrade(protocol, asked))
    assert b"".join(protocol.data_to_send()).startswith(b"HTTP/1.1 101 ")


def test_compression_and_subprotocols_are_not_accepted():
    """Clients that offer them get on without."""
    protocol, asked = parsed(Sec_WebSocket_Extensions="permessage-deflate", Sec_WebSocket_Protocol="chat")
    response = check_upgrade(protocol, asked)
    assert "Sec-WebSocket-Extensions" not in response.headers
    assert "Sec-WebSocket-Protocol" not in response.headers


def test_refusal_is_a_complete_answer():
    """Status, reason as body, extra headers, and the connection is closed."""
    protocol = ServerProtocol()
    answer = refusal(protocol, HandshakeRefused(429, "slow down", retry_after(4.2)))
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Connection"] == "close"
    assert answer.body == b"slow down\n"


@pytest.mark.parametrize(("seconds", "value"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (60.0, "60")])
def test_retry_after_is_whole_seconds_and_never_none(seconds, value):
    """Rounded up: who comes back in time must not be refused again."""
    assert retry_after(seconds) == {"Retry-After": value}


def test_the_documentation_lists_the_refusals():
    """Each status the handshake, admission and the guard against flapping refuse with, and those of RFC 6455."""
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d{3}) \|", document, re.MULTILINE)
    assert listed == ["400", "401", "403", "404", "405", "414", "426", "429", "431", "503", "505"]
