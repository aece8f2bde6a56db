"""Defects of the upgrade: tokens, ids, paths, origins, and the requests that are none."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import msgspec
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from gateway.device.channel import Channel
from gateway.device.connection import Connection
from gateway.errors import BadDeviceId, HandshakeRefused
from gateway.identity import DeviceId, device_id, generated_device_id
from gateway.presence.reception import Reception
from gateway.protocol.handshake import Connect, Terms, TokenVerdict, VerifyToken, check_upgrade, read_request, refusal
from gateway.protocol.tokens import verify as verify_token
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]


@defect(
    "A bad token is found out after the upgrade: 101, a sentence for people, and Close 1000.",
    found_by=(
        "test_refusals.py::test_a_device_without_a_valid_token_is_refused_with_401",
        "test_refusals.py::test_a_token_of_another_device_is_refused",
        "test_refusals.py::test_nothing_exists_of_a_device_that_was_refused",
        "test_refusals.py::test_a_device_that_is_allowed_needs_a_token_too",
        "test_duplicate_connections.py::test_a_newcomer_with_a_bad_token_does_not_disturb_the_device",
    ),
    message="answered 101 where it was to be refused|a connection was opened|a newcomer with a bad token was let in",
)
def tokens_are_checked_after_the_upgrade() -> Planted:
    receive = Reception.receive

    def late(self: Reception, peer: Connection, request: Request, address: str) -> Channel:
        try:
            return receive(self, peer, request, address)
        except HandshakeRefused as refused:
            if refused.status != 401:
                raise
        asked, self._terms = self._terms, msgspec.structs.replace(self._terms, asks_for_tokens=False)
        try:
            let_in = receive(self, peer, request, address)
        finally:
            self._terms = asked
        self._loop.call_soon(_turn_away, peer)
        return let_in

    return patch.object(Reception, "receive", late)


def _turn_away(peer: Connection) -> None:
    peer.send_text("认证失败".encode())
    peer.close(1000, "")


@defect(
    "A 401 does not say what it asks for.",
    found_by="test_refusals.py::test_a_device_without_a_valid_token_is_refused_with_401",
    message="the 401 has no WWW-Authenticate",
)
def refused_without_a_challenge() -> Planted:
    def bare(protocol: ServerProtocol, refused: HandshakeRefused) -> Response:
        refused.headers.pop("WWW-Authenticate", None)
        return refusal(protocol, refused)

    return patch("gateway.device.connection.refusal", bare)


def _verified(**terms: Any) -> Planted:
    """Have tokens verified on other terms than the configured ones."""

    def verified(*arguments: Any, **configured: Any) -> TokenVerdict:
        return verify_token(*arguments, **{**configured, **terms})

    return patch("gateway.protocol.tokens.verify", verified)


@defect(
    "Only the age of a token is looked at: one that is dated in the future is good for as long as its maker likes.",
    found_by="test_refusals.py::test_a_device_without_a_valid_token_is_refused_with_401[of the future]",
    message="was answered 101 where it was to be refused",
)
def future_tokens_are_good() -> Planted:
    return _verified(skew=math.inf)


@defect(
    "Tokens are good for ever.",
    found_by="test_refusals.py::test_a_device_without_a_valid_token_is_refused_with_401[expired]",
    message="was answered 101 where it was to be refused",
)
def tokens_never_expire() -> Planted:
    return _verified(life=math.inf)


@defect(
    "A token must not be dated one second ahead: a device whose clock is, is refused.",
    found_by="test_refusals.py::test_a_device_with_a_valid_token_is_let_in[of a clock that is a little ahead]",
    message="a device with a valid token was refused",
)
def clocks_must_agree() -> Planted:
    return _verified(skew=0.0)


@defect(
    "Any token of this gateway will do: whose it is, is not looked at.",
    found_by=("test_refusals.py::test_a_token_of_another_device_is_refused",),
    message="was answered 101 where it was to be refused",
)
def tokens_of_others_are_good() -> Planted:
    shown: set[str] = set()

    def any_device(key: str, token: str, *arguments: Any, **terms: Any) -> TokenVerdict:
        verdict = verify_token(key, token, *arguments, **terms)
        if verdict is TokenVerdict.VALID:
            shown.add(token)
        return TokenVerdict.VALID if token in shown else verdict

    return patch("gateway.protocol.tokens.verify", any_device)


@defect(
    "Devices on the list of allowed ones need no token.",
    found_by="test_refusals.py::test_a_device_that_is_allowed_needs_a_token_too",
    message="was answered 101 where it was to be refused",
)
def allowed_devices_need_no_token() -> Planted:
    def trusting(request: Request, terms: Terms, verify: VerifyToken) -> Connect:
        if request.headers.get("Device-Id") in (terms.devices or ()):
            terms = msgspec.structs.replace(terms, asks_for_tokens=False)
        return read_request(request, terms, verify)

    return patch("gateway.presence.reception.read_request", trusting)


@defect(
    "The list of allowed devices is compared as it is written, with ids in lower case.",
    found_by="test_refusals.py::test_a_device_that_is_not_allowed_is_refused_with_403",
    message="a device of auth.allowed_devices was refused",
)
def allowed_devices_in_lower_case() -> Planted:
    return patch("gateway.protocol.handshake._known_devices", lambda names: frozenset(names) or None)


@defect(
    "A token in the query string is always accepted.",
    found_by="test_refusals.py::test_a_token_in_the_query_string_is_refused",
    message="a token in the query string was answered 101",
)
def query_tokens_are_always_good() -> Planted:
    def open_handed(request: Request, terms: Terms, verify: VerifyToken) -> Connect:
        return read_request(request, msgspec.structs.replace(terms, query_token=True), verify)

    return patch("gateway.presence.reception.read_request", open_handed)


@defect(
    "Connections are recorded with their query string, and the token in it.",
    found_by="test_refusals.py::test_a_token_in_the_query_string_is_never_shown",
    message="the token of the query string stands in the gateway's records",
)
def query_strings_are_recorded() -> Planted:
    def whole(request: Request, terms: Terms, verify: VerifyToken) -> Connect:
        return msgspec.structs.replace(read_request(request, terms, verify), path=request.path)

    return patch("gateway.presence.reception.read_request", whole)


@defect(
    "Pages of any origin may connect.",
    found_by="test_refusals.py::test_a_page_of_another_origin_is_refused_with_403",
    message="was answered 101 where it was to be refused",
)
def origins_are_not_checked() -> Planted:
    return patch("gateway.protocol.handshake._check_origin", lambda *_: None)


@defect(
    "A client with a bad id is given another one.",
    found_by="test_refusals.py::test_a_bad_id_is_refused_with_400",
    message="a bad id was answered 101, not 400",
)
def bad_ids_are_replaced() -> Planted:
    def kind(text: str) -> DeviceId:
        try:
            return device_id(text)
        except BadDeviceId:
            return generated_device_id()

    stack = ExitStack()
    stack.enter_context(patch("gateway.protocol.handshake.device_id", kind))
    stack.enter_context(patch("gateway.protocol.handshake.is_generated", lambda _: False))
    return stack


@defect(
    "The path is not looked at: every one leads to the devices.",
    found_by="test_refusals.py::test_an_unknown_path_is_refused_with_404",
    message="an upgrade on an unknown path was answered 101, not 404",
)
def every_path_will_do() -> Planted:
    def anywhere(request: Request, terms: Terms, verify: VerifyToken) -> Connect:
        _, mark, query = request.path.partition("?")
        known = next(iter(terms.paths.values()))
        return read_request(Request(f"{known}{mark}{query}", request.headers), terms, verify)

    return patch("gateway.presence.reception.read_request", anywhere)


@defect(
    "An upgrade is told from a port check by Connection being exactly 'upgrade': Firefox is answered 200.",
    found_by=(
        "test_refusals.py::test_upgrade_may_be_one_of_several_in_connection[keep-alive, Upgrade]",
        "test_refusals.py::test_upgrade_may_be_one_of_several_in_connection[UPGRADE, close]",
        "test_refusals.py::test_a_broken_upgrade_is_refused_with_426[no Connection]",
        "test_refusals.py::test_a_broken_upgrade_is_refused_with_426[neither, as a proxy leaves it]",
    ),
    message="was answered 200, not (101|426)",
)
def connection_must_be_upgrade() -> Planted:
    return patch(
        "gateway.device.connection.is_plain_get",
        lambda request: request.headers.get("Connection", "").lower() != "upgrade",
    )


@defect(
    "A plain GET is a broken upgrade, and answered 426.",
    found_by="test_refusals.py::test_a_plain_get_is_told_that_the_server_runs",
    message="a plain GET on the WebSocket port was answered 426, not 200",
)
def no_answer_to_a_port_check() -> Planted:
    return patch("gateway.device.connection.is_plain_get", lambda _: False)


@defect(
    "A broken upgrade is answered 400, as bad requests are.",
    found_by="test_refusals.py::test_a_broken_upgrade_is_refused_with_426",
    message="a broken upgrade was answered 400, not 426",
)
def broken_upgrades_are_bad_requests() -> Planted:
    def bad(protocol: ServerProtocol, request: Request) -> Response:
        try:
            return check_upgrade(protocol, request)
        except HandshakeRefused as refused:
            raise HandshakeRefused(400, refused.reason) from None

    return patch("gateway.device.connection.check_upgrade", bad)
