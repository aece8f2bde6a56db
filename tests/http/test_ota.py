"""The OTA answer, read as the firmware reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import AuthConfig, Config, OtaConfig, ServerConfig
from gateway.errors import BadDeviceId
from gateway.http.exchange import Request, Response
from gateway.http.images import Image, Images
from gateway.http.ota import Ota, read_asker, read_host
from gateway.identity import device_id
from gateway.protocol.handshake import TokenVerdict
from gateway.protocol.tokens import Issued, verify

KEY = "a secret of sixteen"
NOW = 1_700_000_000.25
DEVICE = "d8:3b:da:00:11:22"
CLIENT = "2b1c6bb2-4e1d-4b0f-9a3e-0d3c2c7f0a55"
PATH = "/xiaozhi/ota/"

# What a board with Wi-Fi sends, shortened.
BODY: dict[str, Any] = {
    "version": 2,
    "language": "zh-CN",
    "flash_size": 16777216,
    "minimum_free_heap_size": "7265024",
    "mac_address": DEVICE,
    "uuid": CLIENT,
    "chip_model_name": "esp32s3",
    "chip_info": {"model": 9, "cores": 2, "revision": 2, "features": 18},
    "application": {"name": "xiaozhi", "version": "2.0.3", "elf_sha256": "c8a8"},
    "partition_table": [{"label": "nvs", "type": 1, "subtype": 2, "address": 36864, "size": 16384}],
    "ota": {"label": "ota_0"},
    "board": {"type": "esp-box", "name": "esp-box-3", "ssid": "lab", "rssi": -55, "channel": 1, "ip": "10.0.0.9"},
}
HEADERS = {
    "host": "gw.local:8003",
    "activation-version": "1",
    "device-id": DEVICE,
    "client-id": CLIENT,
    "user-agent": "esp-box-3/2.0.3",
    "accept-language": "zh-CN",
    "content-type": "application/json",
}


class Shelf(Images):
    """Images that need no disk."""

    def __init__(self, *names: str) -> None:
        super().__init__(None)
        self.asked: list[str] = []
        self._images = {name.partition("_")[0]: Image(name, name.partition("_")[2][:-4]) for name in names}

    async def newest(self, board: str) -> Image | None:
        """Return the image of the board, and remember that it was asked for."""
        self.asked.append(board)
        return self._images.get(board)


def make(
    config: Config | None = None, images: Images | None = None, issued: Issued | None = None, draining: bool = False
) -> Ota:
    """Build the endpoint, at a fixed time, with devices on port 8765."""
    return Ota(config or Config(), images or Shelf(), issued or Issued(), lambda: NOW, lambda: 8765, lambda: draining)


def posted(body: Any = BODY, *without: str, **headers: str) -> Request:
    """Make the request of a stock board, with some headers changed or left out."""
    changed = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", PATH, {name: value for name, value in changed.items() if name not in without}, raw)


async def ask(ota: Ota, request: Request) -> Response:
    """Ask as the listener does: by path and method."""
    return await ota.routes()[request.path][request.method](request)


async def answer(ota: Ota, request: Request) -> dict[str, Any]:
    """Ask, and read the JSON of a 200."""
    response = await ask(ota, request)
    assert response.status == 200
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


# --- the answer ---------------------------------------------------------------------------------------------------


async def test_a_stock_device_is_told_everything_it_needs() -> None:
    """Time, WebSocket address and its own version; an empty token where none are asked for; never MQTT."""
    assert await answer(make(), posted()) == {
        "server_time": {"timestamp": 1_700_000_000_250, "timezone_offset": 480},
        "websocket": {"url": "ws://gw.local:8765/xiaozhi/v1/", "token": ""},
        "firmware": {"version": "2.0.3", "url": ""},
    }


async def test_a_get_of_a_device_is_answered_like_a_post() -> None:
    """The firmware uses GET when it has nothing to post; ids and version then come from the headers."""
    request = msgspec.structs.replace(posted(b""), method="GET")
    assert await answer(make(), request) == await answer(make(), posted())


async def test_a_get_of_anybody_else_is_a_health_text() -> None:
    """A person who types the address into a browser is told that it works, and nothing else."""
    response = await ask(make(), Request("GET", PATH, {"host": "gw", "user-agent": "Mozilla/5.0 (X11)"}))
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert response.body == b"OTA is running\n"


async def test_the_answer_is_not_to_be_cached() -> None:
    """It holds a token."""
    response = await ask(make(), posted())
    assert response.headers["Cache-Control"] == "no-store"
    assert response.device == DEVICE


async def test_the_configured_framing_is_told() -> None:
    """`version` is there only if one is configured, as a number."""
    config = Config(ota=OtaConfig(websocket_version=3, timezone_offset_minutes=-60))
    told = await answer(make(config), posted())
    assert told["websocket"]["version"] == 3
    assert told["server_time"]["timezone_offset"] == -60


async def test_the_configured_address_is_told() -> None:
    """Behind a proxy the configured URL counts, not the one that was asked."""
    config = Config(server=ServerConfig(public_websocket_url="wss://gw.example/supie/v1/"))
    assert (await answer(make(config), posted()))["websocket"]["url"] == "wss://gw.example/supie/v1/"


async def test_the_first_path_is_told() -> None:
    """The first configured path is the one devices are sent to."""
    config = Config(server=ServerConfig(paths=["/supie/v1/", "/xiaozhi/v1/"]))
    assert (await answer(make(config), posted()))["websocket"]["url"] == "ws://gw.local:8765/supie/v1/"


# --- tokens -------------------------------------------------------------------------------------------------------

ASKING = Config(auth=AuthConfig(enabled=True, key=KEY))


async def test_a_token_is_minted_where_tokens_are_asked_for() -> None:
    """It is good for the device and client that asked, and the register learns it."""
    issued = Issued()
    token = (await answer(make(ASKING, issued=issued), posted()))["websocket"]["token"]
    assert verify(KEY, token, CLIENT, device_id(DEVICE), NOW) is TokenVerdict.VALID
    assert issued.device_of(token) == DEVICE


async def test_a_token_is_for_the_id_in_its_one_form() -> None:
    """A browser page gives the MAC in upper case; it connects under the lower-case one."""
    token = (await answer(make(ASKING), posted(device_id=f' "{DEVICE.upper()}" ')))["websocket"]["token"]
    assert verify(KEY, token, CLIENT, device_id(DEVICE), NOW) is TokenVerdict.VALID


async def test_a_client_without_id_gets_a_token_too() -> None:
    """The Client-Id is optional."""
    token = (await answer(make(ASKING), posted(b"", "client-id")))["websocket"]["token"]
    assert verify(KEY, token, "", device_id(DEVICE), NOW) is TokenVerdict.VALID


@pytest.mark.parametrize(("device", "status"), [(DEVICE, 200), ("00:00:00:00:00:01", 403)])
async def test_only_allowed_devices_are_answered(device: str, status: int) -> None:
    """Where devices are listed, in whatever case, others get neither an address nor a token."""
    config = Config(auth=AuthConfig(enabled=True, key=KEY, allowed_devices=[f" {DEVICE.upper()} "]))
    issued = Issued()
    response = await ask(make(config, issued=issued), posted(device_id=device))
    assert response.status == status
    assert bool(issued._devices) is (status == 200)


@pytest.mark.parametrize(
    ("asking", "device"),
    [
        (posted(device_id="00:00:00:00:00:01"), "00:00:00:00:00:01"),
        (posted(client_id="a|b"), DEVICE),
        (posted(host="[::1]:8003"), DEVICE),
        (posted(b"{"), ""),
    ],
    ids=["not allowed", "client id", "host", "body"],
)
async def test_a_refusal_says_who_and_why(asking: Request, device: str) -> None:
    """For the log: the reason that the answer gives, and the device as soon as it is known."""
    config = Config(auth=AuthConfig(enabled=True, key=KEY, allowed_devices=[DEVICE]))
    response = await ask(make(config), asking)
    assert response.status >= 400
    assert response.device == device
    assert isinstance(response.body, bytes)
    assert response.refused == json.loads(response.body)["error"]


async def test_what_is_no_refusal_says_nothing() -> None:
    """An answer has no reason."""
    assert (await ask(make(), posted())).refused == ""


def test_a_listed_device_must_have_an_id() -> None:
    """A fault in the list shows at the start."""
    with pytest.raises(BadDeviceId):
        make(Config(auth=AuthConfig(allowed_devices=["\x00"])))


# --- who asks -----------------------------------------------------------------------------------------------------


def test_headers_win_for_ids_and_the_body_for_the_firmware() -> None:
    """Where both say something, ids are those of the headers, board and version those of the body."""
    asker = read_asker(posted(BODY, device_id="aa", client_id="bb", user_agent="other/1.0"))
    assert (asker.device, asker.client_id, asker.board, asker.version) == ("aa", "bb", "esp-box-3", "2.0.3")


def test_the_body_is_enough_for_ids() -> None:
    """Without headers the body's mac_address and uuid count."""
    asker = read_asker(posted(BODY, "device-id", "client-id", "user-agent"))
    assert (asker.device, asker.client_id) == (DEVICE, CLIENT)


def test_the_headers_are_enough_for_the_firmware() -> None:
    """Without a body the User-Agent tells board and version."""
    asker = read_asker(posted(b"", user_agent="lichuang-dev/1.9.4"))
    assert (asker.board, asker.version) == ("lichuang-dev", "1.9.4")


@pytest.mark.parametrize(
    ("board", "agent", "chosen"),
    [
        ({"name": "n", "type": "t"}, "a/1", "n"),
        ({"type": "t"}, "a/1", "a"),
        ({"type": "t"}, "", "t"),
        ("text", "a/1", "a"),
        ({"name": 5}, "", ""),
    ],
)
def test_the_name_of_a_board_comes_before_its_type(board: Any, agent: str, chosen: str) -> None:
    """Boards of one type may need different images."""
    assert read_asker(posted({"board": board}, user_agent=agent)).board == chosen


@pytest.mark.parametrize("device", ["", "   ", '""', "x" * 65, "a\x00b", "\udcc3\udcbc"])
async def test_a_bad_device_id_is_refused(device: str) -> None:
    """400 with a JSON error, which the firmware retries, instead of a 200 that sends it to MQTT."""
    body = {**BODY, "mac_address": ""}
    response = await ask(make(), posted(body, device_id=device))
    assert response.status == 400
    assert isinstance(response.body, bytes)
    assert set(json.loads(response.body)) == {"error"}
    assert "x" * 65 not in response.body.decode()


@pytest.mark.parametrize("name", ["device_id", "client_id"])
async def test_ids_that_differ_are_refused(name: str) -> None:
    """A header that came twice, joined as HTTP joins them, is 400 as on the WebSocket port, unless it says the same."""
    issued = Issued()
    assert (await ask(make(ASKING, issued=issued), posted(**{name: "aa, bb"}))).status == 400
    assert not issued._devices
    same = await ask(make(ASKING), posted(**{name: "aa, aa"}))
    assert same.status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"mac_address": 5}', b'{"mac_address": null}'])
async def test_a_missing_device_id_is_refused(body: bytes) -> None:
    """No id in header or body is 400 as well."""
    assert (await ask(make(), posted(body, "device-id"))).status == 400


@pytest.mark.parametrize(("client", "status"), [("x" * 128, 200), ("x" * 129, 400), ("a|b", 400), ("a\tb", 400)])
async def test_a_bad_client_id_is_refused(client: str, status: int) -> None:
    """A client id is short, printable, and cannot shift the border between the signed ids."""
    assert (await ask(make(ASKING), posted(client_id=client))).status == status


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"5", b'"x"', b"null", b"\xff", b'{"a": "\xff"}', b"[" * 60_000, b"NaN", b'{"a":1} x']
)
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    """400, however it is broken."""
    assert (await ask(make(), posted(body))).status == 400


@pytest.mark.parametrize(
    "body", [{"application": []}, {"application": {"version": 2}}, {"board": 1, "application": None}, {}]
)
async def test_a_description_of_unusual_shape_is_no_reason_to_refuse(body: Any) -> None:
    """What is missing or odd in the body is passed over: the device needs its address all the same."""
    told = await answer(make(), posted(body))
    assert told["websocket"]["url"]
    assert told["firmware"] == {"version": "2.0.3", "url": ""}


# --- the host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "host", "port"),
    [("gw", "gw", ""), ("10.0.0.1:8003", "10.0.0.1", ":8003"), ("a_b-c.example.:80", "a_b-c.example.", ":80")],
)
def test_a_host_is_a_name_and_perhaps_a_port(header: str, host: str, port: str) -> None:
    """Names and IPv4 addresses, with or without port."""
    assert read_host(Request("GET", "/", {"host": header})) == (host, port)


@pytest.mark.parametrize(
    "header",
    ["", ":80", "[::1]:8003", "::1", "a b", "a/b", "a@b", "gw:", "gw:x", "gw:123456", "ü", "gw\n", 'g"w', "x" * 254],
)
async def test_a_host_that_no_device_can_use_is_refused(header: str) -> None:
    """Nothing but a host goes into the addresses of the answer; IPv6 literals break the firmware's parser."""
    assert (await ask(make(), posted(host=header))).status == 400
    assert read_host(Request("GET", "/")) is None


@pytest.mark.parametrize("without", [["host"], []])
async def test_a_configured_address_needs_no_host(without: list[str]) -> None:
    """Where the WebSocket address is configured, a request without a good Host is answered, but offered no image."""
    config = Config(server=ServerConfig(public_websocket_url="wss://gw.example/ws"))
    told = await answer(make(config, Shelf("esp-box-3_3.bin")), posted(BODY, *without, host="[::1]:8003"))
    assert told["websocket"]["url"] == "wss://gw.example/ws"
    assert told["firmware"] == {"version": "2.0.3", "url": ""}


# --- firmware -----------------------------------------------------------------------------------------------------


def parse_version(text: str) -> list[int]:
    """Do what the firmware does: std::getline by dots, std::stoi of each part, which throws and so aborts."""
    parts = text.split(".")
    if parts[-1] == "":
        parts.pop()
    numbers = []
    for part in parts:
        match = re.match(r"[ \t\n\r\f\v]*[+-]?[0-9]+", part, re.ASCII)
        assert match, f"std::invalid_argument for {part!r}: the device aborts"
        numbers.append(int(match[0]))
        assert -(2**31) <= numbers[-1] < 2**31, f"std::out_of_range for {part!r}: the device aborts"
    return numbers


def firmware_takes_for_newer(current: str, new: str) -> bool:
    """Do what the firmware does: the first different part decides, else the longer one is newer."""
    ours, theirs = parse_version(current), parse_version(new)
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            return b > a
    return len(theirs) > len(ours)


def running(version: str) -> Request:
    """Make the request of a board that runs this version."""
    return posted({**BODY, "application": {"version": version}})


async def test_a_newer_image_is_offered() -> None:
    """Its version, and the address by which the device knows us."""
    shelf = Shelf("esp-box-3_2.1.0.bin", "esp-box_9.bin")
    told = await answer(make(images=shelf), posted())
    assert told["firmware"] == {
        "version": "2.1.0",
        "url": "http://gw.local:8003/xiaozhi/ota/download/esp-box-3_2.1.0.bin",
    }
    assert shelf.asked == ["esp-box-3"]


async def test_behind_a_tls_proxy_the_image_comes_through_it_too() -> None:
    """Where the WebSocket address is wss, the image's is https, on the host and port that were asked."""
    config = Config(server=ServerConfig(public_websocket_url="wss://gw.example/ws"))
    told = await answer(make(config, Shelf("esp-box-3_3.bin")), posted(host="gw.example"))
    assert told["firmware"]["url"] == "https://gw.example/xiaozhi/ota/download/esp-box-3_3.bin"


@pytest.mark.parametrize("offered", ["2.0.3", "2.0.3.0", "2.0.2", "1.99", "2"])
async def test_no_older_image_is_offered(offered: str) -> None:
    """What is not newer is not mentioned: the device hears its own version, without an address."""
    told = await answer(make(images=Shelf(f"esp-box-3_{offered}.bin")), posted())
    assert told["firmware"] == {"version": "2.0.3", "url": ""}


@pytest.mark.parametrize("version", ["v2.0.3", "2.0-rc1", "2.0.", "", "2..1", "99999999999", "2.0.3-dirty", "１"])
async def test_a_device_with_another_kind_of_version_hears_nothing_of_firmware(version: str) -> None:
    """The firmware parses its own version too, and aborts on it, so not even an update can be offered."""
    request = posted({**BODY, "application": {"version": version}}, user_agent=f"esp-box-3/{version}")
    told = await answer(make(images=Shelf("esp-box-3_9.0.bin")), request)
    assert "firmware" not in told


_versions = st.one_of(
    st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3}){0,3}\Z"),
    st.from_regex(r"\A[0-9v+ .-]{0,12}\Z"),
    st.text(max_size=12),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(version=_versions, offered=st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,2}){0,3}\Z"))
async def test_no_answer_aborts_the_firmware_or_sends_it_round_in_circles(version: str, offered: str) -> None:
    """Whatever a device runs, the answer does not abort it, and it updates if and only if there is an address."""
    told = await answer(make(images=Shelf(f"esp-box-3_{offered}.bin")), running(version))
    assert "mqtt" not in told
    if "firmware" in told:
        newer = firmware_takes_for_newer(version or "2.0.3", told["firmware"]["version"])
        assert newer is (told["firmware"]["url"] != "")


# --- the other paths ----------------------------------------------------------------------------------------------


async def test_the_path_works_without_its_last_slash() -> None:
    """A device whose menu says .../ota is answered, since it follows no redirect."""
    request = msgspec.structs.replace(posted(), path="/xiaozhi/ota")
    assert await answer(make(), request) == await answer(make(), posted())


async def test_an_activation_is_confirmed() -> None:
    """We never ask for one; a device that activates all the same is told that it is."""
    response = await ask(make(), Request("POST", PATH + "activate", {}, b"{}"))
    assert (response.status, response.body) == (200, b'{"status":"ok"}')


async def test_an_image_is_sent_by_its_name(tmp_path: Path) -> None:
    """What comes behind download/ is the name of the image."""
    (tmp_path / "esp-box-3_9.bin").write_bytes(b"image")
    ota = make(images=Images(tmp_path))
    handler = ota.routes()[PATH + "download/*"]["GET"]
    response = await handler(Request("GET", PATH + "download/esp-box-3_9.bin"))
    assert response.status == 200
    assert (await handler(Request("GET", PATH + "download/../esp-box-3_9.bin"))).status == 404


# --- browsers and drain -------------------------------------------------------------------------------------------


async def test_any_page_may_ask_by_default() -> None:
    """The answer and the preflight allow every origin; without credentials, so no cookie can be abused."""
    for request in (posted(origin="http://page"), Request("OPTIONS", PATH, {"origin": "http://page"})):
        headers = (await ask(make(), request)).headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(("origin", "allowed"), [("http://page", "http://page"), ("http://other", None), ("", None)])
async def test_only_listed_pages_may_ask(origin: str, allowed: str | None) -> None:
    """A listed origin is named in the answer, which then differs by origin; another is not."""
    ota = make(Config(ota=OtaConfig(cors_origins=["http://page"])))
    for request in (posted(origin=origin), Request("OPTIONS", PATH, {"origin": origin})):
        headers = (await ask(ota, request)).headers
        assert headers.get("Access-Control-Allow-Origin") == allowed
        assert headers["Vary"] == "Origin"


async def test_a_preflight_names_methods_and_headers() -> None:
    """Pages send ids and tokens as headers, which a browser asks about first."""
    response = await ask(make(), Request("OPTIONS", PATH))
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert "device-id" in response.headers["Access-Control-Allow-Headers"]
    assert (await make().routes()[PATH + "activate"]["OPTIONS"](Request("OPTIONS", ""))).headers[
        "Access-Control-Allow-Methods"
    ] == "POST, OPTIONS"


async def test_a_page_can_read_a_refusal() -> None:
    """Errors carry the same headers."""
    response = await ask(make(), posted(b"{"))
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (400, "*")


async def test_nobody_is_sent_to_a_gateway_that_goes_down() -> None:
    """While draining, every path but the preflight is 503 with a time to come back, and no token is minted."""
    issued = Issued()
    routes = make(ASKING, issued=issued, draining=True).routes()
    for path, methods in routes.items():
        for method, handler in methods.items():
            response = await handler(msgspec.structs.replace(posted(), path=path, method=method))
            if method == "OPTIONS":
                assert response.status == 204
            else:
                assert (response.status, response.headers["Retry-After"]) == (503, "10")
    assert not issued._devices
