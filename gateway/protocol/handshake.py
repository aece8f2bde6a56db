"""What an upgrade request must look like: headers and query string in; parameters or an HTTP refusal out.

In the order in which a connection asks:

1. `is_plain_get`: somebody looks whether the port is alive, and is answered `running`.
2. `check_upgrade`: is it a WebSocket handshake at all? `websockets` checks that.
3. `read_request`: who is it, may it connect, and how will it frame its audio?

The last two raise `HandshakeRefused`, which `refusal` turns into the answer. A reason tells what was expected and
never repeats what came, so that it can be sent, logged and counted as it is. Nothing else escapes, whatever came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Literal, TypeAlias
from urllib.parse import parse_qs

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from gateway.config import Config
from gateway.errors import BadDeviceId, HandshakeRefused
from gateway.identity import GENERATED_PREFIX, DeviceId, device_id, generated_device_id, is_generated

CLIENT_ID_CHARACTERS = 128  # the firmware sends a UUID of 36; room for those who put a name before it
QUERY_FIELDS = 32  # the longest query in the field has 4

Framing: TypeAlias = Literal[1, 2, 3]
Query: TypeAlias = dict[str, list[str]]

# Clients of the `/supie/v1/` fork and third-party ones spell the same field in several ways.
_DEVICE_HEADERS = ("Device-Id", "device_id", "X-Device-Id")
_DEVICE_QUERY = ("device-id", "device_id")
_EVERYBODY = "broadcast"  # as a target of peer messages; a device of this name could never be written to
_CLIENT_HEADERS = ("Client-Id",)
_CLIENT_QUERY = ("client-id", "client_id")
_TOKEN_QUERY = ("authorization", "token")
_FRAMINGS: dict[str, Framing] = {"1": 1, "2": 2, "3": 3}

_NO_UPGRADE = "expected the headers Connection: Upgrade and Upgrade: websocket"
_BAD_UPGRADE = "expected the handshake of RFC 6455: one version, one key of 16 bytes, at most one Origin"
_VERSION = "13"  # of RFC 6455; there is no other


class TokenVerdict(Enum):
    """What became of a token."""

    VALID = "valid"
    EXPIRED = "expired"
    FUTURE = "future"
    BAD = "bad"
    OTHER_DEVICE = "other_device"


VerifyToken: TypeAlias = Callable[[str, str, DeviceId], TokenVerdict]
"""Called with token, client id and device; compares in constant time and raises nothing for any ASCII token."""

_BAD_TOKEN = {
    TokenVerdict.EXPIRED: "expected a token that has not expired; the OTA endpoint gives out new ones",
    TokenVerdict.FUTURE: "expected a token that is not dated in the future; the clocks differ too much",
    TokenVerdict.BAD: "expected a token signed by this gateway for this client id",
}


class Connect(msgspec.Struct, frozen=True):
    """An upgrade request that may be accepted.

    Attributes:
        device: who connects.
        generated: it gave no id, and ``device`` was made up.
        client_id: what it calls its installation; empty if it did not say.
        framing: binary framing version, both ways.
        path: the path it came to, as configured; never with a query string.
        authenticated: it showed a valid token; False where none are asked for.
    """

    device: DeviceId
    generated: bool
    client_id: str
    framing: Framing
    path: str
    authenticated: bool


class Terms(msgspec.Struct, frozen=True):
    """What is asked of an upgrade request; made once of the configuration.

    Attributes:
        paths: each path without its last slash, and how it is configured.
        origins: origins of browser pages that may connect.
        devices: devices that may connect, None for all.
        asks_for_tokens: a valid token is needed.
        query_token: the token may stand in the query string.
    """

    paths: dict[str, str]
    origins: frozenset[str]
    devices: frozenset[DeviceId] | None
    asks_for_tokens: bool
    query_token: bool

    @classmethod
    def of(cls, config: Config) -> Terms:
        """Read the terms from the configuration."""
        return cls(
            paths={path.removesuffix("/"): path for path in config.server.paths},
            origins=frozenset(config.server.allowed_origins),
            devices=_known_devices(config.auth.allowed_devices),
            asks_for_tokens=config.asks_for_tokens,
            query_token=config.auth.query_token,
        )


def is_plain_get(request: Request) -> bool:
    """Tell whether this is a look at the port, without any sign of a WebSocket handshake."""
    headers = request.headers
    return (
        _method(request) in ("GET", "HEAD")
        and "Upgrade" not in headers
        # a proxy that is not told about upgrades strips the two others and leaves this one; that is answered 426
        and "Sec-WebSocket-Key" not in headers
        and not any("upgrade" in value.lower() for value in headers.get_all("Connection"))
    )


def running(protocol: ServerProtocol, request: Request) -> Response:
    """Answer a plain GET; people have used this as their port check since the original server."""
    response = protocol.reject(200, "Server is running\n")
    if _method(request) == "HEAD":
        response.body = b""
    return response


def check_upgrade(protocol: ServerProtocol, request: Request) -> Response:
    """Return the 101 answer to a well-formed WebSocket handshake.

    No extension is ever accepted, nor a subprotocol: ``protocol`` is made without any.

    Raises:
        HandshakeRefused: 400 or 426, as `websockets` decides (the first line was checked before), but 426 for another
            version, as RFC 6455 4.2.2 has it; its own sentences are not used, since they repeat what the peer sent.
    """
    response = protocol.accept(request)
    if response.status_code == 101:
        return response
    if response.status_code == 400:
        _check_version(request.headers)
    reason = _NO_UPGRADE if response.status_code == 426 else _BAD_UPGRADE
    kept = {name: response.headers[name] for name in ("Upgrade",) if name in response.headers}
    raise HandshakeRefused(response.status_code, reason, kept)


def read_request(request: Request, terms: Terms, verify: VerifyToken) -> Connect:
    """Read an upgrade request.

    Where a field may stand in a header and in the query string (browsers cannot set headers), both are read, and
    they must agree.

    Raises:
        HandshakeRefused: 404 for an unknown path; 403 for an origin or a device that is not allowed, or a token of
            another device; 401 for a token that is missing, bad, expired or dated in the future; 400 for a field
            that is malformed, repeated or contradicts another, and for a token where it could be logged.
    """
    path, _, query_string = request.path.partition("?")
    known_path = terms.paths.get(path.removesuffix("/"))
    if known_path is None:
        raise HandshakeRefused(404, f"expected one of the paths {', '.join(terms.paths.values())}")
    headers = request.headers
    _check_origin(headers, terms)
    query = _read_query(query_string)
    device = _read_device(headers, query)
    client_id = _read_client_id(headers, query)
    framing = _read_framing(headers)
    name = generated_device_id() if device is None else device
    authenticated = terms.asks_for_tokens and _authenticate(headers, query, terms, verify, client_id, name)
    if terms.devices is not None and name not in terms.devices:
        raise HandshakeRefused(403, "expected a device that is allowed here (auth.allowed_devices)")
    return Connect(name, device is None, client_id, framing, known_path, authenticated)


def refusal(protocol: ServerProtocol, refused: HandshakeRefused) -> Response:
    """Make the HTTP answer of a refusal; the connection is closed after it."""
    response = protocol.reject(refused.status, f"{refused.reason}\n")
    for name, value in refused.headers.items():
        response.headers[name] = value
    return response


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that tells when to come back: whole seconds, rounded up, never 0."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


# --- the fields, one by one -------------------------------------------------------------------------------------


def _method(request: Request) -> str:
    # websockets 16 parses nothing but GET and has no attribute for it
    return str(getattr(request, "method", "GET"))


def _check_version(headers: Headers) -> None:
    """Tell those that speak another version, or say none, which one we speak; one that is repeated is a bad field."""
    versions = headers.get_all("Sec-WebSocket-Version")
    if len(versions) <= 1 and versions != [_VERSION]:
        raise HandshakeRefused(
            426,
            f"expected the header Sec-WebSocket-Version: {_VERSION}",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": _VERSION},
        )


def _known_devices(names: Iterable[str]) -> frozenset[DeviceId] | None:
    """Bring the allowed devices to their one form; a name that is no id allows nobody."""
    names = list(names)
    if not names:
        return None
    known = set()
    for name in names:
        try:
            known.add(device_id(name))
        except BadDeviceId:
            continue
    return frozenset(known)


def _check_origin(headers: Headers, terms: Terms) -> None:
    origin = _one(headers, "Origin")
    if origin is not None and origin not in terms.origins:
        raise HandshakeRefused(403, "expected no Origin, or one that is allowed here (server.allowed_origins)")


def _read_query(text: str) -> Query:
    try:
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS)
    except ValueError:  # too many fields, or percent-encoding that is not UTF-8
        raise HandshakeRefused(400, f"expected a query string of at most {QUERY_FIELDS} fields in UTF-8") from None


def _read_device(headers: Headers, query: Query) -> DeviceId | None:
    try:
        names = {device_id(text) for text in _given(headers, _DEVICE_HEADERS, query, _DEVICE_QUERY)}
    except BadDeviceId as bad:
        raise HandshakeRefused(400, str(bad)) from None
    if len(names) > 1:
        raise HandshakeRefused(400, "expected one device id, got several that differ")
    if not names:
        return None
    name = names.pop()
    if name == _EVERYBODY:
        raise HandshakeRefused(400, f"expected a device id other than {_EVERYBODY}, which means all devices")
    if is_generated(name):
        # else it could be that of a client without an id, whose connection this one would replace
        raise HandshakeRefused(400, f"expected a device id without {GENERATED_PREFIX}, which the gateway makes itself")
    return name


def _read_client_id(headers: Headers, query: Query) -> str:
    names = {text.strip() for text in _given(headers, _CLIENT_HEADERS, query, _CLIENT_QUERY)} - {""}
    if len(names) > 1:
        raise HandshakeRefused(400, "expected one client id, got several that differ")
    if not names:
        return ""
    name = names.pop()
    # The signed text of a token is "<client id>|<device id>|<time>": with a bar in the client id, a token for
    # client "x" and device "y|z" would also be one for client "x|y" and device "z".
    if len(name) > CLIENT_ID_CHARACTERS or not name.isprintable() or "|" in name:
        raise HandshakeRefused(
            400, f"expected a client id of at most {CLIENT_ID_CHARACTERS} printable characters without '|'"
        )
    return name


def _read_framing(headers: Headers) -> Framing:
    version = _one(headers, "Protocol-Version")
    if version is None:
        return 1
    framing = _FRAMINGS.get(version.strip())
    if framing is None:
        # A device that believes in another version would read our audio frames past their end.
        raise HandshakeRefused(400, "expected Protocol-Version 1, 2 or 3")
    return framing


def _authenticate(
    headers: Headers, query: Query, terms: Terms, verify: VerifyToken, client_id: str, device: DeviceId
) -> bool:
    """Return True for a valid token; raise for any other, and for none."""
    token = _read_token(headers, query, terms)
    if not token:
        raise HandshakeRefused(
            401, "expected a token in the Authorization header", {"WWW-Authenticate": 'Bearer realm="wsdevice"'}
        )
    # hmac.compare_digest raises on text that is not ASCII; no token of ours is
    verdict = verify(token, client_id, device) if token.isascii() else TokenVerdict.BAD
    if verdict is TokenVerdict.VALID:
        return True
    if verdict is TokenVerdict.OTHER_DEVICE:
        raise HandshakeRefused(403, "expected a token that was made for this device")
    raise HandshakeRefused(
        401, _BAD_TOKEN[verdict], {"WWW-Authenticate": 'Bearer realm="wsdevice", error="invalid_token"'}
    )


def _read_token(headers: Headers, query: Query, terms: Terms) -> str:
    """Return the token of the header, else of the query string, else an empty text."""
    in_query = {_bare_token(text) for field in _TOKEN_QUERY for text in query.get(field, ())} - {""}
    if in_query and not terms.query_token:
        # Refused even beside a good header: it stands in the logs of every proxy on the way, and should be replaced.
        raise HandshakeRefused(400, "expected the token in the Authorization header, not in the query string")
    if len(in_query) > 1:
        raise HandshakeRefused(400, "expected one token, got several that differ")
    in_header = _bare_token(_one(headers, "Authorization") or "")
    return in_header or (in_query.pop() if in_query else "")


def _bare_token(text: str) -> str:
    """Strip the scheme, which the firmware leaves out when its stored token brings its own."""
    words = text.split()
    if words and words[0].lower() == "bearer":
        del words[0]
    return " ".join(words)


def _given(headers: Headers, names: Iterable[str], query: Query, fields: Iterable[str]) -> list[str]:
    """Return all values of a field, in all its spellings."""
    in_headers = [value for name in names if (value := _one(headers, name)) is not None]
    return in_headers + [value for field in fields for value in query.get(field, ())]


def _one(headers: Headers, name: str) -> str | None:
    """Return the value of a header that may stand once, as UTF-8 where it is that."""
    values = headers.get_all(name)
    if len(values) > 1:
        raise HandshakeRefused(400, f"expected one {name} header, got {len(values)}")
    if not values:
        return None
    try:
        # websockets decodes as ISO-8859-1; the query string is UTF-8, and the same id must be the same on both ways
        return values[0].encode("iso-8859-1", "surrogateescape").decode()
    except UnicodeError:
        return values[0]
