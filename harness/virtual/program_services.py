"""What a board does for its device program when asked on the channel: NVS, updates, Wi-Fi, and misdeeds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.identity import printable
from harness.errors import Misuse
from harness.virtual import program_requests as requests
from harness.virtual.access_point import Joined
from harness.virtual.errors import NvsFull, OtaRefused
from harness.virtual.nvs_store import NvsStore
from harness.virtual.ota_update import OtaUpdate

INVALID_ARGUMENT = "ESP_ERR_INVALID_ARG"

Answer = dict[str, Any]


class Services:
    """Answers the requests of one program; `ChannelEnd` calls it, in the program's own loop.

    Args:
        nvs: its partition; None: the table has none.
        update: of the application that runs.
        partition: its label.
        scan: what Wi-Fi hears.
        join: joins an access point by name and password, or says with which reason it does not.
        misbehave: does something wrong; see `harness.virtual.misbehaviour`.
    """

    def __init__(
        self,
        *,
        nvs: NvsStore | None,
        update: OtaUpdate,
        partition: str,
        scan: Callable[[], list[dict[str, Any]]],
        join: Callable[[str, str], Joined | int],
        misbehave: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._nvs = nvs
        self._update = update
        self._partition = partition
        self._scan = scan
        self._join = join
        self._misbehave = misbehave

    def __call__(self, asked: dict[str, Any]) -> Answer | None:
        """Answer one request; None: the program will not live to read an answer."""
        try:
            request = msgspec.convert(asked, requests.AnyRequest)
            if isinstance(request, requests.Misbehave):
                self._misbehave(request.what, request.how)
                return {"ok": None}
            return {"ok": self._done(request)}
        except (msgspec.ValidationError, Misuse, binascii.Error) as error:
            return _error(INVALID_ARGUMENT, str(error))
        except NvsFull as error:
            return _error("ESP_ERR_NVS_NOT_ENOUGH_SPACE", str(error))
        except OtaRefused as error:
            return _error(error.code, error.why)

    def _done(self, request: requests.AnyRequest) -> Any:
        if isinstance(request, requests.NvsSet | requests.NvsErase | requests.NvsEraseAll):
            return self._change_nvs(request)
        if isinstance(request, requests.WifiScan):
            return self._scan()
        if isinstance(request, requests.WifiJoin):
            joined = self._join(request.ssid, request.password)
            return {"address": joined.address} if isinstance(joined, Joined) else {"reason": joined}
        return self._update_application(request)

    def _change_nvs(self, request: requests.NvsSet | requests.NvsErase | requests.NvsEraseAll) -> None:
        if self._nvs is None:
            raise OtaRefused("ESP_ERR_NOT_FOUND", "the partition table has no partition for NVS")
        if isinstance(request, requests.NvsSet):
            value = request.value
            if request.type == "blob":
                value_bytes = base64.b64decode(str(value), validate=True)
                self._nvs.put(request.namespace, request.key, "blob", value_bytes)
            else:
                self._nvs.put(request.namespace, request.key, request.type, value)
        elif isinstance(request, requests.NvsErase):
            self._nvs.erase(request.namespace, request.key)
        else:
            self._nvs.erase_all()

    def _update_application(self, request: requests.AnyRequest) -> Any:
        update = self._update
        if isinstance(request, requests.OtaBegin):
            slot = update.begin()
            return {"label": slot.label, "offset": slot.offset, "size": slot.size}
        if isinstance(request, requests.OtaWrite):
            return {"written": update.write(base64.b64decode(request.data, validate=True))}
        if isinstance(request, requests.OtaState):
            return {"partition": self._partition, "state": update.state()}
        {
            requests.OtaEnd: update.end,
            requests.OtaAbort: update.abort,
            requests.OtaConfirm: update.confirm,
            requests.OtaReject: update.reject,
        }[type(request)]()
        return None


def _error(code: str, text: str) -> Answer:
    return {"error": code, "text": printable(text)}
