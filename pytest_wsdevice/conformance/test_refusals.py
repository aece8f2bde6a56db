"""Refusals: who may not come in is told so with an HTTP status, before there is a connection, and nobody notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from gateway.config import Config
from gateway.identity import DeviceId
from gateway.observe.clock import wall_clock
from gateway.observe.events import ConnectionOpened, DeviceOnline, Event
from gateway.protocol.tokens import mint
from harness.errors import UpgradeRefused
from pytest_wsdevice.conformance.raw_requests import get, upgrade
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Timeline

pytestmark = pytest.mark.asyncio

T = TypeVar("T", bound=Callable[..., Any])

KEY = "a key of the conformance suite"
KNOWN, ALLOWED = "02:c0:00:00:00:01", "02:c0:00:00:00:02"
"""Ids that stand in settings, so they are known before the test begins; for gateways of a test's own."""


def asks_for_tokens(test: T) -> T:
    """Mark a scenario: its gateway asks for tokens."""
    configured = pytest.mark.ws_gateway_config(adapts=True, auth={"enabled": True, "key": KEY})
    marked: T = pytest.mark.ws_needs("tokens")(configured(test))
    return marked


def _dated(config: Config, device: FakeDevice, seconds: float) -> str:
    return mint(config.auth.key, device.client_id, DeviceId(device.device_id), wall_clock() + seconds)


BAD_TOKENS: dict[str, Callable[[Config, FakeDevice], str]] = {
    "none": lambda *_: "",
    "garbled": lambda *_: "Zx9.17",
    "of another key": lambda _, device: mint(
        "another key that nobody knows", device.client_id, DeviceId(device.device_id), wall_clock()
    ),
    "of another client": lambda config, device: mint(
        config.auth.key, "another client", DeviceId(device.device_id), wall_clock()
    ),
    "expired": lambda config, device: _dated(config, device, -config.auth.token_life - 60),
    "of the future": lambda config, device: _dated(config, device, config.auth.token_skew + 600),
}
GOOD_TOKENS: dict[str, Callable[[Config, FakeDevice], str]] = {
    "new": lambda config, device: _dated(config, device, 0),
    "of a clock that is a little ahead": lambda config, device: _dated(config, device, config.auth.token_skew / 2),
    "about to expire": lambda config, device: _dated(config, device, -config.auth.token_life + 60),
}
BAD_IDS: dict[str, str] = {
    "empty": "?device-id=",
    "nothing but quotes": "?device-id=%22%22",
    "65 characters": f"?device-id={'x' * 65}",
    "control character": "?device-id=02%07",
    "end of line": "?device-id=02%0d%0aX-Evil:1",
}
BROKEN_UPGRADES: dict[str, dict[str, str | None]] = {
    "no Upgrade": {"Upgrade": None},
    "no Connection": {"Connection": None},
    "neither, as a proxy leaves it": {"Upgrade": None, "Connection": None},
    "another protocol": {"Upgrade": "h2c"},
    "another version": {"Sec-WebSocket-Version": "8"},
}


# --- tokens ---------------------------------------------------------------------------------------------------------


@asks_for_tokens
@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_a_device_without_a_valid_token_is_refused_with_401(
    ws_gateway: Gateway, ws_devices: Devices, token: Callable[[Config, FakeDevice], str]
) -> None:
    """401 with WWW-Authenticate; never a 101 and then a close, on which the firmware waits for ten seconds."""
    skip_unless_asked(ws_gateway)
    device = await ws_devices("device", online=False)
    device.token = token(ws_gateway.config, device)

    refused = await refusal_of(device)

    assert refused.status == 401, f"a device without a valid token was refused with {refused.status}, not with 401"
    names = {name.lower() for name in refused.headers}
    assert "www-authenticate" in names, "the 401 has no WWW-Authenticate, which says how to do better"


@asks_for_tokens
@pytest.mark.parametrize("token", GOOD_TOKENS.values(), ids=GOOD_TOKENS)
async def test_a_device_with_a_valid_token_is_let_in(
    ws_gateway: Gateway, ws_devices: Devices, token: Callable[[Config, FakeDevice], str]
) -> None:
    """Clocks differ by minutes, and a token is good for its whole life."""
    skip_unless_asked(ws_gateway)
    device = await ws_devices("device", online=False)
    device.token = token(ws_gateway.config, device)

    with or_else("a device with a valid token was refused"):
        await device.go_online()


@asks_for_tokens
async def test_a_token_of_another_device_is_refused(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """403 where the gateway knows whose it is, else 401."""
    skip_unless_asked(ws_gateway)
    other = await ws_devices("other")
    thief = await ws_devices("thief", online=False, client_id=other.client_id, token=other.token)

    refused = await refusal_of(thief)

    assert refused.status in {401, 403}, f"the token of another device was refused with {refused.status}"


@asks_for_tokens
@pytest.mark.ws_needs("events")
async def test_nothing_exists_of_a_device_that_was_refused(
    ws_gateway: Gateway, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """No connection was opened, nobody became present."""
    skip_unless_asked(ws_gateway)
    device = await ws_devices("device", online=False, token="")

    await refusal_of(device, or_let_in=True)

    opened = ws_timeline.events(ConnectionOpened, device=device.device_id)
    assert not opened, "a connection was opened for a device that was to be refused"
    assert not ws_timeline.events(DeviceOnline, device=device.device_id), "a refused device became present"
    assert not device.link.present, "a refused device is present"


# --- tokens in the query string -------------------------------------------------------------------------------------


@asks_for_tokens
async def test_a_token_in_the_query_string_is_refused(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Unless ``auth.query_token`` is on: it stands in the log of every proxy on the way."""
    skip_unless_asked(ws_gateway)
    if ws_gateway.config.auth.query_token:
        pytest.skip("this gateway has auth.query_token on")
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, in_query(device), {"Authorization": None})

    assert answer.status in {400, 401}, f"a token in the query string was answered {answer.status}, not 400 or 401"
    assert device.token not in f"{answer.headers}{answer.body}", "the refusal repeats the token"


@pytest.mark.ws_needs("config", "events")
@pytest.mark.ws_gateway_config(auth={"enabled": True, "key": KEY, "query_token": True})
async def test_a_token_in_the_query_string_is_never_shown(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """Where ``auth.query_token`` is on it is accepted, and stands in no record of the gateway."""
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, in_query(device), {"Authorization": None})

    assert answer.status == 101, f"auth.query_token is on, and a good token was answered {answer.status}"
    await ws_timeline.expect_event(ConnectionOpened, device=device.device_id)
    shown = [type(event).__name__ for event in ws_timeline.events(Event) if device.token in repr(event)]
    assert not shown, f"the token of the query string stands in the gateway's records: {', '.join(shown)}"


# --- who else may not come in ---------------------------------------------------------------------------------------


@pytest.mark.ws_needs("config")
@pytest.mark.ws_gateway_config(auth={"enabled": True, "key": KEY, "allowed_devices": [KNOWN, ALLOWED]})
async def test_a_device_that_is_allowed_needs_a_token_too(ws_devices: Devices) -> None:
    """``auth.allowed_devices`` lets nobody in who cannot show that it is the device."""
    device = await ws_devices("device", online=False, device_id=ALLOWED, token="")

    refused = await refusal_of(device)

    assert refused.status == 401, f"an allowed device without a token was refused with {refused.status}, not with 401"


@pytest.mark.ws_needs("config")
@pytest.mark.ws_gateway_config(auth={"enabled": True, "key": KEY, "allowed_devices": [KNOWN.upper()]})
async def test_a_device_that_is_not_allowed_is_refused_with_403(ws_devices: Devices) -> None:
    """However good its token is; the one that is allowed comes in, whatever the case of its letters."""
    with or_else("a device of auth.allowed_devices was refused"):
        await ws_devices("known", device_id=KNOWN)
    stranger = await ws_devices("stranger", online=False)

    refused = await refusal_of(stranger)

    assert refused.status == 403, f"a device that is not allowed was refused with {refused.status}, not with 403"


async def test_a_page_of_another_origin_is_refused_with_403(ws_devices: Devices) -> None:
    """A request with an Origin is a browser's: without a place in ``server.allowed_origins`` it may not connect."""
    page = await ws_devices("page", online=False, headers={"Origin": "https://elsewhere.example"})

    refused = await refusal_of(page)

    assert refused.status == 403, f"a page of another origin was refused with {refused.status}, not with 403"


@pytest.mark.parametrize("query", BAD_IDS.values(), ids=BAD_IDS)
async def test_a_bad_id_is_refused_with_400(ws_devices: Devices, query: str) -> None:
    """One that is empty, longer than 64 characters, or not printable."""
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, path_of(device) + query, {"Device-Id": None})

    assert answer.status == 400, f"a bad id was answered {answer.status}, not 400"
    assert "x-evil" not in answer.headers, "a bad id was copied into the headers of the answer"


async def test_an_unknown_path_is_refused_with_404(ws_devices: Devices) -> None:
    """Only the configured paths lead anywhere."""
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, "/elsewhere/v1/")

    assert answer.status == 404, f"an upgrade on an unknown path was answered {answer.status}, not 404"


# --- the upgrade itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", BROKEN_UPGRADES.values(), ids=BROKEN_UPGRADES)
async def test_a_broken_upgrade_is_refused_with_426(ws_devices: Devices, headers: dict[str, str | None]) -> None:
    """With the Upgrade header that RFC 9110 asks for; most of them are made by proxies."""
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, headers=headers)

    assert answer.status == 426, f"a broken upgrade was answered {answer.status}, not 426"
    assert answer.headers.get("upgrade") == "websocket", "the 426 does not say what to upgrade to"


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "Upgrade", "upgrade", "UPGRADE, close"])
async def test_upgrade_may_be_one_of_several_in_connection(ws_devices: Devices, connection: str) -> None:
    """``Connection`` is a list, in any case of letters: Firefox sends ``keep-alive, Upgrade``."""
    device = await ws_devices("device", online=False)

    answer = await upgrade(device, headers={"Connection": connection})

    assert answer.status == 101, f"an upgrade with Connection: {connection} was answered {answer.status}, not 101"


@pytest.mark.parametrize("path", ["/", "/elsewhere", ""], ids=["root", "unknown path", "the devices' path"])
async def test_a_plain_get_is_told_that_the_server_runs(ws_gateway: Gateway, path: str) -> None:
    """200 ``Server is running``: people check the port with a browser."""
    answer = await get(ws_gateway.url, path)

    assert answer.status == 200, f"a plain GET on the WebSocket port was answered {answer.status}, not 200"
    assert "Server is running" in answer.body, f"a plain GET was not told that the server is running: {answer.body!r}"


def skip_unless_asked(gateway: Gateway) -> None:
    """Skip a scenario about tokens where none are asked for."""
    if not gateway.config.asks_for_tokens:
        pytest.skip("needs a gateway that asks for tokens (auth.enabled)")


async def refusal_of(device: FakeDevice, *, or_let_in: bool = False) -> UpgradeRefused:
    """Connect and return the refusal; fail where there is none, or, to look what has come of it, go on."""
    try:
        await device.connect()
    except UpgradeRefused as refused:
        return refused
    assert or_let_in, f"{device.name} was answered 101 where it was to be refused: its firmware takes that for a yes"
    return UpgradeRefused(101, "")


def path_of(device: FakeDevice) -> str:
    """Return the path of a device's URL."""
    return "/" + device.url.split("/", 3)[3].partition("?")[0]


def in_query(device: FakeDevice) -> str:
    """Return where a browser connects, with the device's token."""
    return f"{path_of(device)}?authorization={quote('Bearer ' + device.token)}"
