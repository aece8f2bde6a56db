"""What the firmware can be told to be, by the text of the program that a build carries.

``#!builtin firmware acks=false boot_delay_seconds=5 heap_leak=4096``
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.errors import Misuse


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes: as they are written in a build.

    Attributes:
        acks: peer messages are asked to be acknowledged, and are.
        automatic: it connects by itself, once it has booted.
        board: what it calls its board (``SKU``), which names its OTA images; empty: ``virtual-<chip>``.
        boot_delay_seconds: it says nothing for so long before its first line.
        heap: bytes that are free after booting.
        heap_leak: bytes that it loses each second.
        ping_storm: pings that it sends each second, from its first hello on.
        panic_on_handover: the kind of panic that the notice of a newer connection throws it into; empty: none.
        panic_after_seconds, brown_out_after_seconds, watchdog_after_seconds, hang_after_seconds: after its first
            line; a short one makes it boot again and again. None: it does not.
        panic_kind: of ``panic_after_seconds``; see `harness.virtual.panics.PanicKind`.
        confirms: it keeps an update that has booted well; without, the boot loader goes back at the next start.
        wifi_scan_seconds: from a scan that found nothing to the next, doubled each time, up to thirty times as much;
            the real firmware waits 10.
        ota_retry_seconds: from a failed request of the OTA address to the next, doubled each time, ten times at most;
            the real firmware waits 10.
    """

    acks: bool = True
    automatic: bool = True
    board: str = ""
    boot_delay_seconds: float = 0.0
    heap: int = 180_000
    heap_leak: int = 0
    ping_storm: float = 0.0
    panic_on_handover: str = ""
    panic_after_seconds: float | None = None
    brown_out_after_seconds: float | None = None
    watchdog_after_seconds: float | None = None
    hang_after_seconds: float | None = None
    panic_kind: str = "abort"
    confirms: bool = True
    wifi_scan_seconds: int = 1
    ota_retry_seconds: int = 2


def parse_options(words: Sequence[str]) -> Options:
    """Read options, each ``name=value``.

    Raises:
        Misuse: an option that there is not, or a value that it cannot have.
    """
    values = dict(word.partition("=")[::2] for word in words)
    try:
        return msgspec.convert(values, Options, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(Options))
        raise Misuse(f"expected options of the built-in firmware ({known}): {error}") from None
