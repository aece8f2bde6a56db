"""The OTA endpoint: what a stock device asks at every boot, and what makes it connect here.

The firmware writes every field of ``websocket`` into its NVS and connects by it from then on. It prefers MQTT wherever
the answer has an ``mqtt`` section, and falls back to it where neither section is there: hence ours never has that one
and always the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.config import Config
from gateway.errors import BadDeviceId
from gateway.http.exchange import Handler, Request, RequestRefused, Response, json_response, text_response
from gateway.http.images import Images, numeric_version
from gateway.identity import DeviceId, device_id
from gateway.observe.clock import WallClock
from gateway.protocol.handshake import CLIENT_ID_CHARACTERS
from gateway.protocol.tokens import Issued, mint

RETRY_AFTER = "10"  # seconds; the firmware asks again after 10 s whatever it is told
PREFLIGHT_SECONDS = "86400"

# No IPv6 literal: the firmware's own URL parser cuts one at its first colon.
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?", re.ASCII)


class ServerTime(msgspec.Struct, frozen=True):
    """The time; the firmware sets its clock by it. ``timezone_offset`` in minutes east of UTC."""

    timestamp: int
    timezone_offset: int


class Firmware(msgspec.Struct, frozen=True):
    """The version to run; an empty ``url`` says that the device has it."""

    version: str
    url: str


class Websocket(msgspec.Struct, frozen=True):
    """Where to connect. With an empty token the firmware sends no Authorization header."""

    url: str
    token: str
    version: int | UnsetType = UNSET


class OtaAnswer(msgspec.Struct, frozen=True):
    """The whole answer."""

    server_time: ServerTime
    websocket: Websocket
    firmware: Firmware | UnsetType = UNSET


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as read from headers and body.

    Attributes:
        device: its id.
        client_id: the UUID of its NVS, empty where it gave none.
        board: the name its images go by.
        version: of the firmware it runs.
    """

    device: DeviceId
    client_id: str
    board: str
    version: str


class Ota:
    """Answers devices (and browser pages that play one).

    Args:
        config: all settings.
        images: what may be offered.
        issued: learns each token that is minted.
        wall_clock: for the device's clock and the date of its token.
        ws_port: the port that devices connect to, as bound.
        is_draining: while it is true, everything but a preflight is answered 503.

    Raises:
        BadDeviceId: one of ``auth.allowed_devices`` is no device id.
    """

    def __init__(
        self,
        config: Config,
        images: Images,
        issued: Issued,
        wall_clock: WallClock,
        ws_port: Callable[[], int],
        is_draining: Callable[[], bool],
    ) -> None:
        self._config = config
        self._images = images
        self._issued = issued
        self._wall_clock = wall_clock
        self._ws_port = ws_port
        self._is_draining = is_draining
        self._allowed = frozenset(device_id(text) for text in config.auth.allowed_devices)
        self._download = config.ota.path + "download/"

    def routes(self) -> dict[str, dict[str, Handler]]:
        """Return the handlers by path and method; a path that ends in ``*`` stands for all that begin with it."""
        configure = {"GET": self._guarded(self.configure), "POST": self._guarded(self.configure)}
        activate = {"POST": self._guarded(self.activate)}
        download = {"GET": self._guarded(self.download)}
        path = self._config.ota.path
        table: dict[str, dict[str, Handler]] = {
            path: configure,
            # what people type into the device's menu; it follows no redirect
            path.rstrip("/"): configure,
            path + "activate": activate,
            self._download + "*": download,
        }
        for methods in (configure, activate, download):
            methods["OPTIONS"] = self._preflight(methods)
        return table

    async def configure(self, request: Request) -> Response:
        """Answer a device with time, place to connect, token and firmware; anybody else with a health text."""
        if request.method != "POST" and "device-id" not in request.headers:
            return text_response("OTA is running\n")
        asker = read_asker(request)
        if self._allowed and asker.device not in self._allowed:
            raise RequestRefused(403, "this device is not allowed here", device=asker.device)
        url, authority = self._addresses(asker, request)
        now = self._wall_clock()
        answer = OtaAnswer(
            ServerTime(int(now * 1000), self._config.ota.timezone_offset_minutes),
            Websocket(url, self._token(asker, now), self._framing()),
            await self._firmware(asker, authority),
        )
        # it holds a token
        return msgspec.structs.replace(
            json_response(answer, headers={"Cache-Control": "no-store"}), device=asker.device
        )

    async def activate(self, _request: Request) -> Response:
        """Confirm: whatever asks is active, since no answer of ours asks for an activation."""
        return json_response({"status": "ok"})

    async def download(self, request: Request) -> Response:
        """Send an image."""
        return await self._images.answer(request, request.path.removeprefix(self._download))

    # --- the answer's parts -------------------------------------------------------------------------------------

    def _addresses(self, asker: Asker, request: Request) -> tuple[str, str]:
        """Return where to connect, and ``host[:port]`` for images: empty where the request has none for a device."""
        server = self._config.server
        asked = read_host(request)
        if asked is None:
            if server.public_websocket_url:
                return server.public_websocket_url, ""
            expected = "expected a Host header name[:port]; the firmware knows no IPv6 literals"
            raise RequestRefused(400, expected, device=asker.device)
        host, port = asked
        return server.public_websocket_url or f"ws://{host}:{self._ws_port()}{server.paths[0]}", host + port

    def _framing(self) -> int | UnsetType:
        return self._config.ota.websocket_version or UNSET

    def _token(self, asker: Asker, now: float) -> str:
        if not self._config.asks_for_tokens:
            return ""
        token = mint(self._config.auth.key, asker.client_id, asker.device, now)
        self._issued.add(token, asker.device)
        return token

    async def _firmware(self, asker: Asker, authority: str) -> Firmware | UnsetType:
        """Return the newest image, else the device's own version, else nothing.

        The firmware compares the version it is told with its own and aborts if either has a part that is not a
        number, so there is no section for a device whose own version is none.
        """
        running = numeric_version(asker.version)
        if running is None:
            return UNSET
        image = await self._images.newest(asker.board) if authority else None
        if image is None or (numeric_version(image.version) or ()) <= running:
            return Firmware(asker.version, "")
        # behind a proxy that speaks TLS for us, both addresses go through it
        scheme = "https" if self._config.server.public_websocket_url.startswith("wss:") else "http"
        return Firmware(image.version, f"{scheme}://{authority}{self._download}{image.name}")

    # --- browsers and drain -------------------------------------------------------------------------------------

    def _guarded(self, handler: Handler) -> Handler:
        """Put the rule of a drain before a handler, and the headers that let a browser page read behind it."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_open()
                response = await handler(request)
            except RequestRefused as refusal:
                response = msgspec.structs.replace(refusal.response(), refused=refusal.reason)
            return msgspec.structs.replace(response, headers={**response.headers, **self._allow_origin(request)})

        return guarded

    def _check_open(self) -> None:
        if self._is_draining():
            raise RequestRefused(503, "the gateway is going down", {"Retry-After": RETRY_AFTER})

    def _preflight(self, methods: Mapping[str, Handler]) -> Handler:
        allowed = {
            "Access-Control-Allow-Methods": ", ".join([*methods, "OPTIONS"]),
            "Access-Control-Allow-Headers": "authorization, client-id, content-type, device-id",
            "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        }

        async def preflight(request: Request) -> Response:
            return Response(204, headers={**allowed, **self._allow_origin(request)})

        return preflight

    def _allow_origin(self, request: Request) -> dict[str, str]:
        origins = self._config.ota.cors_origins
        if "*" in origins:
            return {"Access-Control-Allow-Origin": "*"}
        origin = request.headers.get("origin", "")
        return {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": origin} if origin in origins else {})


def read_asker(request: Request) -> Asker:
    """Read who asks; headers win over the body for ids, the body (which only firmware sends) for board and version.

    The board is ``board.name`` of the body, else what stands before the ``/`` of the User-Agent (the same, in stock
    firmware), else ``board.type``. The type comes last: boards of one type can need different images.

    Raises:
        RequestRefused: 400, the body is not JSON, or an id is missing, bad, or given twice.
    """
    body = _read_body(request.body)
    agent, _, agent_version = request.headers.get("user-agent", "").partition("/")
    try:
        device = device_id(_header(request, "Device-Id") or _text(body, "mac_address"))
    except BadDeviceId:
        raise RequestRefused(400, "expected a device id in the header Device-Id or in mac_address") from None
    client_id = _header(request, "Client-Id") or _text(body, "uuid").strip()
    if len(client_id) > CLIENT_ID_CHARACTERS or not client_id.isprintable() or "|" in client_id:
        raise RequestRefused(400, "expected a UUID in the header Client-Id or in uuid", device=device)
    return Asker(
        device,
        client_id,
        board=_text(body, "board", "name") or agent or _text(body, "board", "type"),
        version=_text(body, "application", "version") or agent_version,
    )


def read_host(request: Request) -> tuple[str, str] | None:
    """Return the host by which the device knows us, and ``:port`` or nothing; None if it is none a device can use."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return (match[1], match[2] or "") if match else None


def _header(request: Request, name: str) -> str:
    """Return a header that may stand once. Repeated ones have come joined by commas, so no id with a comma passes."""
    values = {value.strip() for value in request.headers.get(name.lower(), "").split(",")}
    if len(values) > 1:
        raise RequestRefused(400, f"expected one {name} header, without commas")
    return values.pop()


def _read_body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestRefused(400, "expected a JSON object")
    return value


def _text(body: Any, *path: str) -> str:
    """Return the text at a path of keys; empty where there is none: the body is a description, not a contract."""
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body if isinstance(body, str) else ""
