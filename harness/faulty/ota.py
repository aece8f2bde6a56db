"""Defects of the OTA endpoint: answers after which a device never comes, or aborts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec
from msgspec import UNSET, UnsetType

from gateway.http.exchange import Request, RequestRefused, Response, json_response, text_response
from gateway.http.ota import Asker, Firmware, Ota, OtaAnswer, read_asker
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

TOLD = "test_ota.py::test_a_device_is_told_where_to_connect"
NUMERIC = "test_ota.py::test_a_numeric_version_is_repeated"
NOT_NUMERIC = "test_ota.py::test_no_device_is_told_a_version_that_is_not_numeric"
NO_ID = "test_ota.py::test_who_has_no_id_is_answered_400"
NO_JSON = "test_ota.py::test_a_body_that_is_no_json_is_answered_400"


@defect(
    "The answer has an mqtt section besides: the firmware prefers it, and never comes.",
    found_by=TOLD,
    message="the answer has an mqtt section: the firmware connects there, and never here",
)
def ota_names_mqtt() -> Planted:
    def with_mqtt(answer: OtaAnswer, *, headers: Mapping[str, str]) -> Response:
        mqtt = {"endpoint": "", "client_id": "", "username": "", "password": "", "publish_topic": ""}
        return json_response({**msgspec.to_builtins(answer), "mqtt": mqtt}, headers=headers)

    return patch("gateway.http.ota.json_response", with_mqtt)


@defect(
    "A GET is taken for a person's, whatever its headers say: the firmware that asks so is told nothing.",
    found_by=f"{TOLD}[GET]",
    message="a device that asked was not told in JSON where to connect",
)
def ota_takes_get_for_a_person() -> Planted:
    configure = Ota.configure

    async def answer(self: Ota, request: Request) -> Response:
        return await configure(self, request) if request.method == "POST" else text_response("OTA is running\n")

    return patch.object(Ota, "configure", answer)


@defect(
    "The device's own version is repeated as it is; the firmware aborts on a part that is not a number.",
    found_by=NOT_NUMERIC,
    message="a device was told a version that is not numeric, on which its firmware aborts",
)
def ota_repeats_any_version() -> Planted:
    async def firmware(_: Ota, asker: Asker, _authority: str) -> Firmware | UnsetType:
        return Firmware(asker.version, "")

    return patch.object(Ota, "_firmware", firmware)


@defect(
    "No version is told at all.",
    found_by=NUMERIC,
    message="is not told that it has nothing to load",
)
def ota_tells_no_version() -> Planted:
    async def firmware(*_: Any) -> Firmware | UnsetType:
        return UNSET

    return patch.object(Ota, "_firmware", firmware)


@defect(
    "What cannot be answered is answered 200, with an excuse: the firmware finds no sections in it, and uses MQTT.",
    found_by=(NO_ID, NO_JSON),
    message="answered 200",
)
def ota_answers_faults_with_200() -> Planted:
    response = RequestRefused.response

    def excuse(self: RequestRefused) -> Response:
        if self.status != 400:
            return response(self)
        return json_response({"success": False, "message": "request error."})

    return patch.object(RequestRefused, "response", excuse)


@defect(
    "The token is made without the Client-Id, which the WebSocket port asks for.",
    found_by="test_ota.py::test_the_token_that_is_told_opens_the_websocket",
    message="a device is not let in with the URL and the token that it was told",
)
def ota_tokens_of_nobody() -> Planted:
    def read_without_client(request: Request) -> Asker:
        return msgspec.structs.replace(read_asker(request), client_id="")

    return patch("gateway.http.ota.read_asker", read_without_client)


@defect(
    "Pages of other origins may not read the answer.",
    found_by="test_ota.py::test_a_browser_page_may_ask",
    message="no page may read the",
)
def ota_is_for_devices_only() -> Planted:
    return patch.object(Ota, "_allow_origin", lambda _self, _request: {})
