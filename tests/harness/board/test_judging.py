"""Whose fault it is that a board does not come up: the lines are those that ROM, ESP-IDF and firmware print."""

from __future__ import annotations

import pytest

from harness.board.console_lines import Line
from harness.board.judging import application_runs, judge, starts

BANNER = "rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)"
AGAIN = "rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)"
ADDRESS = "I (3200) WifiStation: Got IP: 10.66.0.7"


def lines(*texts: str) -> list[Line]:
    """Lines that were said; those that begin with a dash are gaps."""
    return [
        Line(number, float(number), "gap" if text.startswith("-") else "said", text.removeprefix("-"))
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("said", "verdict", "why"),
    [
        ((), "rig", "it said nothing after a reset"),
        (("", ""), "rig", "it said nothing after a reset"),
        (("\\xfe\\x80", "\\x00", "x"), "rig", "garbled"),
        ((BANNER, "-vanished: the port is gone", "-back after 1.0 s"), "rig", "vanished: the port is gone"),
        ((BANNER, "rst:0xf (RTCWDT_BROWN_OUT_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"), "rig", "brown-out"),
        (("rst:0x1 (POWERON),boot:0x0 (DOWNLOAD(USB/UART0))", "waiting for download"), "rig", "IO0 was low"),
        ((BANNER,), "firmware", "its application did not start"),
        ((BANNER, "invalid header: 0xffffffff", AGAIN), "firmware", "its application did not start"),
        ((BANNER, AGAIN, AGAIN), "firmware", "3 times, reset by RTC_SW_CPU_RST"),
    ],
)
def test_not_booted(said: tuple[str, ...], verdict: str, why: str):
    """Who does not boot: nothing, garbage, gaps, the supply and IO0 are the rig's; loops and silence the firmware's."""
    judgement = judge(lines(*said), online=False)
    assert judgement.verdict == verdict
    assert why in judgement.why


@pytest.mark.parametrize(
    ("said", "verdict", "why"),
    [
        (("E (900) BOD: Brownout detector was triggered",), "rig", "too weak"),
        (("W (9000) WifiStation: No AP found, next scan in 10 seconds",), "network", "does not find the access point"),
        (("W (9000) WifiStation: WiFi disconnected, reason: 15",), "network", "reason: 15"),
        (("W (60000) WifiBoard: WiFi connection timeout, entering config mode",), "network", "in time"),
        ((ADDRESS, "E (5000) Ota: Failed to check version, status code: 401"), "gateway", "status code: 401"),
        ((ADDRESS, "E (5000) Ota: Failed to open HTTP connection, code=0x7002"), "gateway", "no connection to the OTA"),
        ((ADDRESS, "E (5000) Ota: No websocket section found!"), "gateway", "where the WebSocket is"),
        ((ADDRESS, "E (5000) WebSocket: WebSocket handshake failed"), "gateway", "refused the WebSocket"),
        ((ADDRESS, "E (5000) WS: Failed to receive server hello"), "gateway", "did not answer its hello"),
        ((ADDRESS, "E (5) Ota: Failed to parse JSON response", "W (9) WifiStation: No AP found"), "network", "No AP"),
        (("W (9) WifiStation: WiFi disconnected, reason: 15", ADDRESS), "firmware", "has an address"),
        (("I (100) main: hello",), "firmware", "has no address"),
        ((AGAIN, AGAIN, "W (9) WifiStation: No AP found"), "firmware", "3 times"),
    ],
)
def test_not_online(said: tuple[str, ...], verdict: str, why: str):
    """Who does not come online: the last thing that it failed at counts, and no reason at all is the firmware's."""
    judgement = judge(lines(BANNER, *said), online=True)
    assert judgement.verdict == verdict
    assert why in judgement.why


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("I (31) cpu_start: Project name: xiaozhi", True),
        ("E (312) esp_netif_handlers: sta ip: 10.0.0.2", True),
        ("I (55) main_task: Calling app_main()", True),
        ("I (31) boot: ESP-IDF v5.5 2nd stage bootloader", False),
        ("I (31) boot.esp32s3: SPI Mode       : DIO", False),
        ("E (120) esp_image: Checksum failed", False),
        ("I (31) bootloader_flash: Flash size 4MB", False),
        ("I (0) virtual: virtual board: flash and network are real; CPU, radio and timing are not", False),
        (BANNER, False),
        ("entry 0x403c98d8", False),
        ("hello", False),
    ],
)
def test_application_runs(text: str, runs: bool):
    """A log line of any other tag than those of the boot loader shows an application."""
    assert application_runs(lines(text)[0]) is runs


def test_starts():
    """Each of the ROM's lines is one start; what is written or noted is none."""
    noted = Line(9, 9.0, "note", BANNER)
    assert [start.cause for start in starts([*lines(BANNER, "x", AGAIN), noted])] == ["POWERON", "RTC_SW_CPU_RST"]
