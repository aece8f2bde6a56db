"""What a device program can ask its board for, as it stands on the channel: ``{"id": 1, "do": "nvs_erase", ...}``."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from harness.firmware.nvs import NvsType


class Request(msgspec.Struct, frozen=True, tag_field="do"):
    """What a program asks."""


class NvsSet(Request, frozen=True, tag="nvs_set"):
    """Write a value; a blob's is base64."""

    namespace: str
    key: str
    type: NvsType
    value: int | str


class NvsErase(Request, frozen=True, tag="nvs_erase"):
    """Strike out a key, or a whole namespace."""

    namespace: str
    key: str | None = None


class NvsEraseAll(Request, frozen=True, tag="nvs_erase_all"):
    """Erase the partition."""


class OtaBegin(Request, frozen=True, tag="ota_begin"):
    """Begin an update."""


class OtaWrite(Request, frozen=True, tag="ota_write"):
    """Write the next bytes of the image, in base64."""

    data: str


class OtaEnd(Request, frozen=True, tag="ota_end"):
    """Check the image, and choose it."""


class OtaAbort(Request, frozen=True, tag="ota_abort"):
    """Forget the update."""


class OtaState(Request, frozen=True, tag="ota_state"):
    """Tell the running partition and its state."""


class OtaConfirm(Request, frozen=True, tag="ota_confirm"):
    """Keep the running application."""


class OtaReject(Request, frozen=True, tag="ota_reject"):
    """Give up the running application at the next reset."""


class WifiScan(Request, frozen=True, tag="wifi_scan"):
    """Tell the access points that are heard."""


class WifiJoin(Request, frozen=True, tag="wifi_join"):
    """Join one."""

    ssid: str
    password: str = ""


class Misbehave(Request, frozen=True, tag="misbehave"):
    """Do something wrong to the chip; see `harness.virtual.misbehaviour`."""

    what: str
    how: dict[str, Any] = {}


AnyRequest: TypeAlias = (
    NvsSet
    | NvsErase
    | NvsEraseAll
    | OtaBegin
    | OtaWrite
    | OtaEnd
    | OtaAbort
    | OtaState
    | OtaConfirm
    | OtaReject
    | WifiScan
    | WifiJoin
    | Misbehave
)
