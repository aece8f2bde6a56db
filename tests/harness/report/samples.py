"""Records to report on: a build that fails one scenario of several, a good one, a rig that failed, a matrix."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.report.record import (
    VIRTUAL,
    Attempt,
    Baseline,
    BoardUsed,
    BuildUsed,
    Cell,
    Crash,
    Limit,
    Measurement,
    PartUsed,
    Record,
    Run,
    Scenario,
)

BOARD = "s3-box"
PANIC = """\
Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.

Core  0 register dump:
PC      : 0x42011a3e  PS      : 0x00060c30  A0      : 0x82011b02  A1      : 0x3fcebb10
EXCVADDR: 0x00000000  LBEG    : 0x400556d5  LEND    : 0x400556e5  LCOUNT  : 0xffffffff

Backtrace: 0x42011a3b:0x3fcebb10 0x42011aff:0x3fcebb30 0x4201f6c5:0x3fcebb60 0x4037a4d2:0x3fcebb90
0x42011a3b: WebsocketProtocol::OpenAudioChannel() at main/protocols/websocket_protocol.cc:148
0x42011aff: Application::OnWakeWord() at main/application.cc:512
0x4201f6c5: Application::MainLoop() at main/application.cc:377
0x4037a4d2: vPortTaskWrapper at components/freertos/port/xtensa/port.c:162
"""


def row(at: float, kind: str, source: str, target: str = "", **facts: Any) -> dict[str, Any]:
    """One row of a timeline."""
    return {"at": at, "kind": kind, "source": source, "target": target, **facts}


def console(at: float, line: str) -> dict[str, Any]:
    """A line of the board."""
    return row(at, "console", BOARD, line=line)


def frame(at: float, text: str, *, sent: bool = True) -> dict[str, Any]:
    """A text message of the board, or to it."""
    way = (BOARD, "gateway") if sent else ("gateway", BOARD)
    return row(at, "frame", *way, opcode="text", bytes=len(text), text=text)


def audio(at: float) -> dict[str, Any]:
    """A packet of the board's."""
    return row(at, "frame", BOARD, "gateway", opcode="binary", bytes=112, base64="AAAA")


def came_online(at: float) -> list[dict[str, Any]]:
    """A board that has an address connects."""
    return [
        row(at, "lifecycle", BOARD, what="connects"),
        row(at + 0.09, "lifecycle", BOARD, what="is connected: 101"),
        row(at + 0.09, "event", "gateway", BOARD, event="ConnectionOpened", address="127.0.0.1", framing=1),
        frame(at + 0.14, '{"type":"hello","version":1,"features":{"mcp":true},"transport":"websocket"}'),
        frame(at + 0.19, '{"type":"hello","transport":"websocket","session_id":"3f2a51c0"}', sent=False),
        row(at + 0.2, "event", "gateway", BOARD, event="DeviceOnline", replaced=False, because="hello"),
        console(at + 0.24, f"I ({int(1000 * at) + 238}) WS: Session ID: 3f2a51c0"),
    ]


def lost_wifi() -> tuple[dict[str, Any], ...]:
    """A board that loses its Wi-Fi, gets it back, and does not connect again."""
    boot = [
        (0.00, "ESP-ROM:esp32s3-20210327"),
        (0.01, "rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)"),
        (0.31, "I (305) boot: Loaded app from partition at offset 0x20000"),
        (0.82, "I (815) wifi:mode : sta (02:00:00:a1:00:01)"),
        (1.61, "I (1602) wifi:connected with bench, aid = 1, channel 6, bssid = 02:00:00:00:00:fe"),
        (2.12, "I (2115) esp_netif_handlers: sta ip: 10.0.0.7, mask: 255.255.255.0, gw: 10.0.0.1"),
    ]
    rows = [row(0.0, "note", "test", what="the board is online, then its Wi-Fi is taken away")]
    rows += [console(at, line) for at, line in boot]
    rows += came_online(2.2)
    rows += [frame(3.0, '{"type":"listen","state":"start","mode":"auto","session_id":"3f2a51c0"}')]
    rows += [audio(3.1 + packet * 0.06) for packet in range(32)]
    rows += [frame(5.1, '{"type":"stt","text":"turn the light on","session_id":"3f2a51c0"}', sent=False)]
    rows += [
        row(6.0, "fault", "test", what=f"wifi_off on {BOARD}"),
        console(6.38, "W (6372) wifi:<ba-del>idx"),
        console(6.4, "I (6395) wifi:state: run -> init (0x200)"),
        console(6.44, "W (6431) Application: network disconnected"),
        row(6.45, "lifecycle", BOARD, what="has lost its connection: end of TCP"),
        row(6.46, "event", "gateway", BOARD, event="ConnectionClosed", code=1006, reason="", by="peer", seconds=4.17),
        row(6.47, "event", "gateway", BOARD, event="DeviceOffline"),
        row(8.0, "fault", "test", what=f"wifi_on on {BOARD}"),
        console(8.9, "I (8893) wifi:connected with bench, aid = 1, channel 6, bssid = 02:00:00:00:00:fe"),
        console(9.3, "I (9296) esp_netif_handlers: sta ip: 10.0.0.7, mask: 255.255.255.0, gw: 10.0.0.1"),
        console(9.34, "E (9331) WS: Failed to connect to websocket server, code=-1"),
        console(19.4, "E (19388) WS: Failed to connect to websocket server, code=-1"),
        console(20.1, "I (20093) SystemInfo: free sram: 61432 minimal sram: 40120"),
    ]
    return tuple(rows)


def short_scenario(name: str, doc: str, seconds: float, group: str) -> Scenario:
    """One that passed."""
    rows = [row(0.0, "note", "test", what=doc), *came_online(0.3), frame(1.4, '{"type":"ping"}')]
    rows += [frame(1.41, '{"type":"pong"}', sent=False), row(seconds, "note", "test", what="seen")]
    return Scenario(name, doc, "passed", seconds, group=group, timeline=tuple(rows))


WIFI = Scenario(
    name="test_reconnecting.py::test_wifi_loss[s3-box]",
    doc="After its Wi-Fi was away for two seconds, a device is back on the gateway within 15 seconds.",
    outcome="failed",
    seconds=23.02,
    message=(
        "s3-box expected the event DeviceOnline with device='02:00:00:a1:00:01', but after 15.0 s it had not happened\n"
        "  what the console said last:\n"
        "    E (9331) WS: Failed to connect to websocket server, code=-1\n"
        "    E (19388) WS: Failed to connect to websocket server, code=-1"
    ),
    blames="firmware",
    group="reconnecting",
    timeline=lost_wifi(),
    failed_at=23.0,
    reproduce="wsdevice validate build/kettle --virtual --scenarios test_wifi_loss --seed 7",
)

HANDOVER = Scenario(
    name="test_duplicate_connections.py::test_handover[s3-box]",
    doc="A second login of the same device takes over, and the first connection is told.",
    outcome="failed",
    seconds=4.4,
    message="s3-box crashed: panic (LoadProhibited)",
    blames="firmware",
    group="duplicate connections",
    timeline=(
        *came_online(0.4),
        frame(1.9, '{"type":"notice","text":"this device has connected elsewhere"}', sent=False),
        console(1.95, "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."),
        console(2.1, "rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)"),
        *came_online(4.1),
    ),
    failed_at=1.95,
    reproduce="wsdevice validate build/kettle --virtual --scenarios test_handover --seed 7",
)

SCENARIOS = (
    short_scenario("test_hello.py::test_answer", "A hello is answered, with a session id.", 1.2, "hello"),
    short_scenario("test_heartbeat.py::test_pong", "A ping is answered with a pong within a second.", 1.6, "heartbeat"),
    WIFI,
    HANDOVER,
    short_scenario("test_power.py::test_power_cut", "After a power cut the device comes back.", 9.8, "reconnecting"),
    short_scenario("test_drain.py::test_restart", "A gateway that restarts has its devices back.", 7.1, "reconnecting"),
    Scenario(
        "test_ota.py::test_rollback",
        "An image that does not come up is rolled back.",
        "skipped",
        0.0,
        message="the build has but one slot for applications: nothing can be rolled back",
        group="ota",
    ),
)

MEASUREMENTS = (
    Measurement(
        "reconnect_wifi",
        "reconnect after Wi-Fi loss",
        "s",
        (15.0, 15.0, 4.1),
        "over limit",
        "15.0 s in two of three repeats, which is where waiting ended; the limit is 12 s",
        limit=Limit(at_most=12.0),
        baseline=Baseline(3.9, 3.6, 4.4, 5, "1.4.1"),
    ),
    Measurement(
        "minimum_free_heap",
        "minimum free heap",
        "bytes",
        (40120.0, 41208.0, 40884.0),
        "worse",
        "13 KiB less than the baseline, whose repeats differ by 2 KiB",
        better="higher",
        limit=Limit(at_least=32768.0),
        baseline=Baseline(54272.0, 53248.0, 55296.0, 5, "1.4.1"),
    ),
    Measurement(
        "boot_to_ip",
        "boot to IP address",
        "s",
        (2.12, 2.09, 2.31, 2.15, 2.11),
        "ok",
        "within the spread of the baseline",
        limit=Limit(at_most=5.0),
        baseline=Baseline(2.14, 2.05, 2.28, 5, "1.4.1"),
    ),
    Measurement(
        "image_free",
        "free space in the slot of the application",
        "bytes",
        (1276416.0,),
        "ok",
        "as in the baseline",
        better="higher",
        limit=Limit(at_least=262144.0),
        baseline=Baseline(1277952.0, 1277952.0, 1277952.0, 1, "1.4.1"),
    ),
    Measurement(
        "round_trip_p99",
        "round trip, 99th percentile",
        "ms",
        (38.0, 44.0, 41.5),
        "no baseline",
        "measured for the first time",
        limit=Limit(at_most=250.0),
    ),
    Measurement(
        "audio_lost", "audio frames lost", "", (0.0, 0.0, 0.0), "ok", "none of 1 500", limit=Limit(at_most=5.0)
    ),
)

PARTS = (
    PartUsed("bootloader", 0x0, 21_040, written=False, because="the flash holds the same"),
    PartUsed("partition table", 0x8000, 3_072, written=False, because="the flash holds the same"),
    PartUsed("otadata", 0xD000, 8_192, written=True, because="boots the first slot", seconds=0.12),
    PartUsed("ota_0", 0x20000, 1_869_312, written=True, because="differs in 201 of 457 sectors", seconds=5.8),
)

BUILD = BuildUsed("kettle", "esp32s3", "xiaozhi", "1.4.2", "v5.4.1", "ESP-IDF", "9c4f0e7b" * 8)
RUN = Run(
    "2026-03-14-092653-7f3a",
    "2026-03-14T09:26:53Z",
    252.0,
    {"wsdevice": "0.1.0", "esptool": "5.6.0", "Python": "3.13.1"},
    "wsdevice validate build/kettle --virtual --baseline baseline.json --seed 7",
)

FAILED = Cell(
    BUILD,
    BoardUsed(BOARD, "esp32s3", virtual=True, evidence=VIRTUAL),
    "firmware",
    "Wi-Fi loss: the board has its address back after 1.3 s and does not connect again within 15 s",
    WIFI.name,
    252.0,
    MEASUREMENTS,
    SCENARIOS,
    PARTS,
    (Crash("panic (LoadProhibited)", PANIC, HANDOVER.name, 1.95, "OpenAudioChannel+0x3b"),),
    environment={"gateway": "wsdevice 0.1.0", "network": "loopback", "baseline": "baseline.json of 1.4.1"},
)
GOOD = msgspec.structs.replace(
    FAILED,
    build=BuildUsed("lamp", "esp32s3", "xiaozhi", "2.0.0", "v5.4.1", "ESP-IDF"),
    verdict="pass",
    why="18 scenarios passed, 6 measurements within their limits",
    decided_by="",
    measurements=MEASUREMENTS[2:],
    scenarios=tuple(one for one in SCENARIOS if not one.bad),
    crashes=(),
    attempts=(Attempt("s3-old", "rig", "the serial port vanished while the flash was written", 3.4),),
)
RIG = msgspec.structs.replace(
    GOOD,
    board=BoardUsed("c3-mini", "esp32c3", virtual=True, evidence=VIRTUAL),
    verdict="rig",
    why="the supply says off, and the board goes on talking",
    measurements=(),
    scenarios=(),
    flashed=(),
    attempts=(),
)

FAILING = Record(RUN, "firmware", FAILED.why, (FAILED,))
PASSING = Record(RUN, "pass", GOOD.why, (GOOD,))
SLOW = Record(
    RUN,
    "firmware",
    "minimum free heap: 40 KiB, 13 KiB less than the baseline",
    (msgspec.structs.replace(GOOD, verdict="firmware", decided_by="minimum_free_heap", measurements=MEASUREMENTS[1:]),),
)
MATRIX = Record(RUN, "firmware", "1 of 3 pass; kettle on s3-box: " + FAILED.why, (GOOD, RIG, FAILED))
