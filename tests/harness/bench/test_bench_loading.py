"""A bench file is read whole, and what is wrong with it is said at once, with the line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bench import bench_loading
from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig, NetworkConfig, PowerConfig
from harness.bench.bench_loading import default_state_dir, load
from harness.bench.errors import BadBenchFile

WHOLE = """\
schema = 1
[bench]
name = "lab-a"
lock_dir = "/run/lock/lab"
state_dir = "/var/lib/lab"

[network]
gateway_host = "10.66.0.1"
ssid = "lab"
psk_env = "LAB_PSK"

[[board]]
id = "s3-01"
chip = "esp32s3"
mac = "24-6F-28-AA-BB-CC"
console = { usb_location = "1-1.4.2", baud = 115200 }
flash = { via = "usb", usb_location = "1-1.4.3", baud = 460800, reset = "usb" }
power = { kind = "uhubctl", hub = "1-1.4", port = 2, options = ["-N"], probed = 2026-11-20 }
caps = ["boot_log", "wifi", "psram:8M"]

[[board]]
id = "c3-01"
chip = "esp32c3"
mac = "24:6f:28:aa:bb:cd"
[board.console]
url = "rfc2217://rig2:4001?ign_set_control"
[board.power]
kind = "shell"
off = ["relay", "3", "off"]
on = ["relay", "3", "on"]
"""
BOARD = """\
schema = 1
[bench]
name = "lab"
[[board]]
id = "a"
chip = "esp32s3"
mac = "24:6f:28:aa:bb:cc"
"""
NAME = "a name of 1 to 48 letters, digits, dots, dashes and underscores"
MAC = "a MAC such as 24:6f:28:aa:bb:cc, as esptool prints it"
A_WAY = (
    "usb_location, or a path below /dev/serial/by-id: a name of this kind goes to whatever is plugged in first, and "
    "would lead to another board some day"
)
CONSOLE = 'console.url = "rfc2217://rig:4001"\n'


@pytest.fixture
def loaded(tmp_path):
    """Load a text as a bench file."""

    def load_text(text):
        path = tmp_path / "bench.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, {"XDG_STATE_HOME": "/state"})

    return load_text


@pytest.fixture
def faults(loaded, tmp_path):
    """Return the faults of a text, a line each, without the directory."""

    def faults_of(text):
        with pytest.raises(BadBenchFile) as refused:
            loaded(text)
        return str(refused.value).replace(f"{tmp_path}/", "").splitlines()

    return faults_of


def test_whole(loaded):
    """Everything a file can say arrives; a MAC in its plain form, a date as text."""
    bench = loaded(WHOLE)

    assert (bench.name, bench.lock_dir, bench.state_dir) == ("lab-a", "/run/lock/lab", "/var/lib/lab")
    assert bench.network == NetworkConfig(gateway_host="10.66.0.1", ssid="lab", psk_env="LAB_PSK")
    assert bench.boards == (
        BoardConfig(
            id="s3-01",
            chip="esp32s3",
            mac="24:6f:28:aa:bb:cc",
            console=ConsoleConfig(usb_location="1-1.4.2"),
            flash=FlashConfig(via="usb", usb_location="1-1.4.3", baud=460800, reset="usb"),
            power=PowerConfig(kind="uhubctl", hub="1-1.4", port=2, options=("-N",), probed="2026-11-20"),
            caps=("boot_log", "wifi", "psram:8M"),
        ),
        BoardConfig(
            id="c3-01",
            chip="esp32c3",
            mac="24:6f:28:aa:bb:cd",
            console=ConsoleConfig(url="rfc2217://rig2:4001?ign_set_control"),
            power=PowerConfig(kind="shell", off=("relay", "3", "off"), on=("relay", "3", "on")),
        ),
    )


def test_defaults(loaded, monkeypatch):
    """Leases of all users of a machine meet in one directory; history is a user's own, and each bench's."""
    monkeypatch.setattr(bench_loading.os, "access", lambda path, mode: str(path) == "/run/lock")

    bench = loaded(BOARD + CONSOLE)

    assert (bench.lock_dir, bench.state_dir) == ("/run/lock/wsdevice", "/state/wsdevice/benches/lab")


def test_defaults_elsewhere(loaded, monkeypatch, tmp_path):
    """Where there is no /run/lock, leases are in the directory for temporary files; without XDG, state is at home."""
    monkeypatch.setattr(bench_loading.os, "access", lambda path, mode: False)
    monkeypatch.setattr(bench_loading.tempfile, "gettempdir", lambda: "/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert loaded(BOARD + CONSOLE).lock_dir == "/elsewhere/wsdevice-locks"
    assert default_state_dir("lab", {}) == f"{tmp_path}/.local/state/wsdevice/benches/lab"


def test_all_faults_at_once(faults):
    """Every fault of every table is listed, in the order of the file."""
    assert faults(
        """\
schema = 1
[bench]
nam = "lab"
[network]
psk = "hunter2hunter2"
psk_env = "hunter2!"
[[board]]
id = "s3-01"
chip = "esp32s2"
console = { device = "/dev/ttyUSB0", baud = 1 }
caps = ["wfi"]
speed = 115200
[[board]]
chip = "esp32c3"
mac = "24:6f:28:aa:bb"
[board.power]
kind = "uhubctl"
port = 99
[labgrid]
"""
    ) == [
        f"bench.toml:2: bench.name: expected {NAME}, found none",
        "bench.toml:3: bench.nam: expected a known setting; did you mean name?",
        "bench.toml:5: network.psk: expected psk_env, the name of an environment variable: no secret is in this file",
        "bench.toml:6: network.psk_env: expected the name of an environment variable, in capitals",
        f"bench.toml:7: board s3-01: mac: expected {MAC}, found none",
        "bench.toml:9: board s3-01: chip: expected one of 'esp32', 'esp32s3', 'esp32c3', found \"esp32s2\"",
        "bench.toml:10: board s3-01: console.baud: expected an integer from 9600 to 5000000, found 1",
        f'bench.toml:10: board s3-01: console.device: expected {A_WAY}, found "/dev/ttyUSB0"',
        'bench.toml:11: board s3-01: caps: expected known capabilities; did you mean wifi?, found "wfi"',
        "bench.toml:12: board s3-01: speed: expected a known setting",
        f"bench.toml:13: board 2: id: expected {NAME}, found none",
        "bench.toml:13: board 2: console: expected one of url, usb_location and device, found none",
        f'bench.toml:15: board 2: mac: expected {MAC}, found "24:6f:28:aa:bb"',
        "bench.toml:18: board 2: power.port: expected an integer from 0 to 31, found 99",
        "bench.toml:19: labgrid: expected a known table",
    ]


def test_names_of_boards(faults):
    """A board without an id is called by its number, from 1."""
    assert [fault.split(": ")[1] for fault in faults(BOARD.replace('"a"', '""') + CONSOLE)] == ["board 1"]
    assert [fault.split(": ")[1] for fault in faults(BOARD.replace('"a"', "7") + CONSOLE)] == ["board 1"]


def test_date_as_text(loaded):
    """A day may stand as text as well."""
    power = 'power = { kind = "person", probed = "2026-11-20" }\n'

    assert loaded(BOARD + CONSOLE + power).boards[0].power.probed == "2026-11-20"


def test_unknown_in_network(faults):
    """Not every unknown setting of the network is a password."""
    assert faults(BOARD + CONSOLE + "[network]\nchannel = 6\n") == [
        "bench.toml:10: network.channel: expected a known setting"
    ]


def test_no_secret_is_shown(faults):
    """What may be a password in a wrong place is not repeated."""
    text = "".join(faults(BOARD + CONSOLE + '[network]\npsk = "hunter2hunter2"\npsk_env = "hunter2!"\n'))

    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["schema: expected schema = 1 as the first line"]),
        ("schema = true\n", ["schema: expected 1, the one this release reads, found true"]),
        ("schema = 2\n", ["schema: expected 1, the one this release reads, found 2"]),
        ("schema = 1\nbench = 3\n", ["bench: expected a table of settings"]),
        ("schema = 1\n", ["bench: expected a table of settings", "board: expected one [[board]] or more"]),
        ("schema = 1\nboard = [1]\n", ["board 1: expected a table of settings"]),
        ("schema = 1\n[netwrok]\n", ["netwrok: expected a known table; did you mean network?"]),
    ],
)
def test_tables(faults, text, expected):
    """What is not a table, is missing, or is of another time is said."""
    found = [fault.partition(": ")[2] for fault in faults(text)]

    assert [line for line in expected if line not in found] == []


@pytest.mark.parametrize(
    ("value", "found"),
    [("1" * 30, "1" * 30), ("nan", "NaN"), ("inf", "Infinity"), ("true", "true"), ('"x"', '"x"'), ("0", "0")],
)
def test_numbers(faults, value, found):
    """A number that is none, or that no machine counts in, does not fit."""
    assert faults(BOARD + CONSOLE + f"power.seconds = {value}\n") == [
        f"bench.toml:9: board a: power.seconds: expected a number above 0, found {found}"
    ]


def test_not_toml(faults):
    """The line that is no TOML is named."""
    (fault,) = faults("schema = 1\nschema = \n")

    assert fault.startswith("bench.toml:2: file: expected TOML, found ")


def test_not_utf8(tmp_path):
    """Text in another encoding is refused."""
    path = tmp_path / "bench.toml"
    path.write_bytes(b'name = "\xff"')

    with pytest.raises(BadBenchFile, match=r"bench\.toml: file: expected UTF-8 text"):
        load(path)


def test_not_there(tmp_path):
    """The system's reason is told."""
    with pytest.raises(BadBenchFile, match=r"none\.toml: file: expected a readable file, found No such file"):
        load(tmp_path / "none.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "url", "x"]), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["schema", "bench", "network", "board", "x"]), VALUES, max_size=5))
def test_any_document(document):
    """Whatever stands in a file, the answer is a bench or its faults."""
    reading = bench_loading._Reading("bench.toml", {})

    reading.bench({key: value for key, value in document.items() if value is not None}, {})

    assert all(str(fault).startswith("bench.toml: ") for fault in reading.in_order())
