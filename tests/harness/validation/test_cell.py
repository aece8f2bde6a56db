"""One build on one virtual board: builds, rigs, networks and gateways made worse on purpose get their verdicts."""

import threading
from contextlib import contextmanager

import msgspec
import pytest

from harness.bench.bench_file import PowerConfig
from harness.bench.virtual_bench import VirtualRig
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from harness.firmware.spoiled_builds import spoil
from harness.report.record import Baseline, Limit
from harness.validation import measuring
from harness.validation.cell import Validation
from harness.validation.errors import NoScenario
from harness.validation.job import Job
from harness.validation.progress import Stage

CHIP = CHIPS["esp32s3"]


@pytest.fixture(scope="module")
def rig():
    """Two boards of a kind, which the tests of this module share."""
    with VirtualRig("virtual:esp32s3,esp32s3") as started:
        yield started


@pytest.fixture
def validate(rig, tmp_path):
    """Validate a build with these options of the firmware; only what is named is measured and run."""

    def validate(*options, spoiled="", bench=None, tell=lambda _: None, scenarios="", ota=False, **job):
        folder = tmp_path / "kettle"
        make_build(folder, CHIP, program=" ".join(["#!builtin firmware", *options]))
        if spoiled:
            spoil(folder, spoiled)
        bench = bench or rig.bench
        told = Job(
            **{"build": str(folder), "name": "kettle", "bench": bench, "board": bench.boards[0].id, "repeats": 1}
            | {"groups": (), "suite": bool(scenarios), "scenarios": scenarios, "ota": ota, "online": 3.0}
            | job
        )
        validation = Validation(told, tmp_path / "work", tell)
        cell = validation.run()
        assert rig.bench.network.psk() in validation.secrets
        return cell

    return validate


def measured(cell, name):
    """The measurement of this name."""
    return next(one for one in cell.measurements if one.name == name)


# --- builds -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_good(validate):
    """It passes; its sizes, its boot and what was flashed are told."""
    cell = validate(groups=("sizes", "boot"), scenarios="a_second_hello", repeats=2, soak=0.5)

    assert cell.verdict == "pass", cell.why
    assert len(measured(cell, "boot_to_ip").values) == 2
    assert measured(cell, "free_bytes.ota_0").value > 1 << 20
    assert "in 0.5 s" in measured(cell, "lost_connections").why
    assert {part.label for part in cell.flashed} >= {"bootloader", "ota_0"}
    (scenario,) = cell.scenarios
    assert (scenario.outcome, scenario.group) == ("passed", "hello")
    assert {row["kind"] for row in scenario.timeline} >= {"console", "frame", "event"}


@pytest.mark.parametrize(("spoiled", "why"), [("image-too-large", "room"), ("wrong-chip", "is for")])
def test_refused(validate, spoiled, why):
    """What does not fit, or is for another chip, is refused with the reason; no board is touched."""
    cell = validate(spoiled=spoiled, groups=("boot",))

    assert cell.verdict == "firmware"
    assert why in cell.why
    assert cell.measurements == cell.flashed == ()


@pytest.mark.parametrize(
    ("options", "group", "name"),
    [
        ("acks=false", "letters", "acknowledged"),
        ("ping_storm=40", "idle", "idle_messages"),
        ("heap_leak=4096", "heap", "heap_slope"),
    ],
)
@pytest.mark.slow
def test_bad_by_a_limit(validate, options, group, name):
    """The measurement that is about it decides."""
    cell = validate(options, groups=(group,))

    assert (cell.verdict, cell.decided_by) == ("firmware", name), cell.why
    assert measured(cell, name).judgement == "over limit"


@pytest.mark.slow
def test_slow_boot(validate):
    """It is within its limit, but worse than it was; a limit of one's own says so, too."""
    cell = validate(
        "boot_delay_seconds=0.7", groups=("boot",), baseline={"boot_to_ip": Baseline(0.15, 0.12, 0.2, 3, "1.4.1")}
    )

    assert (cell.verdict, cell.decided_by) == ("firmware", "boot_to_ip"), cell.why
    assert measured(cell, "boot_to_ip").judgement == "worse"


@pytest.mark.slow
def test_panic_on_handover(validate):
    """The scenario in which it happens decides, and the dump is told."""
    cell = validate("panic_on_handover=LoadProhibited", scenarios="speech_goes_on_on_the_newer")

    assert cell.verdict == "firmware"
    assert "test_speech_goes_on_on_the_newer" in cell.decided_by
    (crash,) = cell.crashes
    assert "LoadProhibited" in crash.text
    assert crash.scenario == cell.decided_by
    assert cell.scenarios[0].blames == "firmware"


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_updates(validate):
    """A good build survives power cuts in the update and on its first boot, and bad images."""
    cell = validate(ota=True)

    assert cell.verdict == "pass", cell.why
    assert [(one.name, one.outcome) for one in cell.scenarios] == [
        ("ota::update", "passed"),
        ("ota::power_cut_in_the_update", "passed"),
        ("ota::power_cut_on_first_boot", "passed"),
        ("ota::damaged_image", "passed"),
        ("ota::crashing_image", "passed"),
    ]


@pytest.mark.slow
def test_rollback_missing(validate):
    """An update that is not marked as valid is gone after the next reset."""
    cell = validate("confirms=false", ota=True)

    assert (cell.verdict, cell.decided_by) == ("firmware", "ota::update"), cell.why


# --- the gateway ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_gateway(validate):
    """A scenario that fails with a fake device in the board's place, too, is the gateway's."""
    cell = validate(scenarios="a_second_hello", faulty="second-hello-begins-a-session", reproduce="pytest")

    assert cell.verdict == "gateway", cell.why
    assert "test_a_second_hello" in cell.decided_by
    assert cell.scenarios[0].reproduce.startswith("pytest -k test_a_second_hello")


def test_no_such_scenario(validate):
    """It is the caller's."""
    with pytest.raises(NoScenario):
        validate(scenarios="no_such_thing")


# --- rigs -------------------------------------------------------------------------------------------------------


def test_port_vanishes(validate, rig):
    """In the middle of measuring."""
    control = rig.control(rig.bench.boards[0].id)

    def tell(event):
        if event == Stage("measuring: boot"):
            control.vanish()

    try:
        cell = validate(groups=("boot",), tell=tell)
    finally:
        control.come_back()

    assert cell.verdict == "rig", cell.why


def test_power_will_not_cut(validate, rig, monkeypatch):
    """A switch that only says so is found by the chip that does not start again."""
    monkeypatch.setattr(measuring, "STARTS", 1.0)
    power = PowerConfig(kind="shell", off=("true",), on=("true",), off_seconds=0)
    board = msgspec.structs.replace(rig.bench.boards[0], power=power)

    cell = validate(groups=("power",), bench=msgspec.structs.replace(rig.bench, boards=(board,)))

    assert cell.verdict == "rig", cell.why
    assert "never was without" in cell.why


def test_wrong_board_on_the_port(validate, rig, tmp_path):
    """Nothing is measured of it, and nothing written."""
    first, second = rig.bench.boards
    swapped = msgspec.structs.replace(first, console=second.console)

    cell = validate(
        bench=msgspec.structs.replace(rig.bench, boards=(swapped,), state_dir=str(tmp_path / "state")), groups=("boot",)
    )

    assert cell.verdict == "rig"
    assert "wrong board" in cell.why
    assert cell.measurements == ()


# --- networks ---------------------------------------------------------------------------------------------------


def test_no_wifi(validate, rig):
    """A board that does not find its access point says so."""
    with without_wifi(rig):
        cell = validate(groups=("boot",))

    assert cell.verdict == "network", cell.why


@pytest.mark.slow
def test_lossy_wifi(validate, rig):
    """A Wi-Fi that comes and goes is not the build's fault, whatever it does to measurements."""
    ended = threading.Event()
    control = rig.control(rig.bench.boards[0].id)

    def come_and_go():
        while not ended.wait(0.7):
            control.misbehave("lose_wifi", seconds=0.3)

    thread = threading.Thread(target=come_and_go)

    def tell(event):
        if isinstance(event, Stage) and event.what == "measuring: idle":
            thread.start()

    try:
        cell = validate(groups=("idle",), tell=tell, limits={"idle_messages": Limit(at_most=0)})
    finally:
        ended.set()
        thread.join(10)

    assert cell.verdict == "network", cell.why


@contextmanager
def without_wifi(rig):
    """The access point is off in here."""
    control = rig.control(rig.bench.boards[0].id)
    control.wifi(on=False)
    try:
        yield
    finally:
        control.wifi(on=True)
