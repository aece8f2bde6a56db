"""The baseline file: read, updated, written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.record import Baseline, Limit
from harness.validation.baseline import BaselineFile, kind_of, load, read, to_toml, updated
from harness.validation.errors import BadBaseline
from tests.harness.validation.cells import VIRTUAL_BOARD, cell

TEXT = """\
schema = 1
[limits.boot_to_ip]
at_most = 6.0
[esp32s3.real.boot_to_ip]
value = 2.31
low = 2.28
high = 2.4
repeats = 3
build = "1.4.2"
"""


def test_read():
    """Limits, and what was measured, by kind of board."""
    file = read(TEXT)

    assert file.limits == {"boot_to_ip": Limit(at_most=6.0)}
    assert file.of(kind_of("esp32s3", virtual=False)) == {"boot_to_ip": Baseline(2.31, 2.28, 2.4, 3, "1.4.2")}
    assert file.of("esp32s3.virtual") == {}


def test_update():
    """What was measured is replaced; limits, other measurements and other kinds of boards stay."""
    file = updated(read(TEXT), [cell(VIRTUAL_BOARD, boot_to_ip=[1.0, 1.23456789, 2.0]), cell(heap_slope=[0.0])])

    assert file.of("esp32s3.virtual") == {"boot_to_ip": Baseline(1.235, 1.0, 2.0, 3, "1.4.2")}
    assert set(file.of("esp32s3.real")) == {"boot_to_ip", "heap_slope"}
    assert file.limits == {"boot_to_ip": Limit(at_most=6.0)}


def test_what_is_not_compared_is_not_kept():
    """Free space says what the size says, and what could not be measured says nothing."""
    file = updated(BaselineFile(), [cell(free_bytes__ota_0=[5.0], image_bytes__ota_0=[7.0], boot_to_ip=[])])

    assert list(file.of("esp32s3.real")) == ["image_bytes.ota_0"]


def test_written_for_git():
    """In the order of the table of measurements, whatever came first; sizes without a fraction; the same again."""
    file = updated(BaselineFile(), [cell(heap_slope=[0.0], boot_to_ip=[2.0], image_bytes__ota_0=[4096.0])])
    text = to_toml(file)

    assert [line for line in text.splitlines() if line.startswith("[")] == [
        '[esp32s3.real."image_bytes.ota_0"]',
        "[esp32s3.real.boot_to_ip]",
        "[esp32s3.real.heap_slope]",
    ]
    assert "value = 4096\n" in text
    limits = to_toml(BaselineFile({"boot_to_ip": Limit(at_most=1), "free_bytes": Limit(at_least=0)}))
    assert limits.index("free_bytes") < limits.index("boot_to_ip")
    assert to_toml(read(text)) == text


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_round_trip(values):
    """What is written is read as it was meant, whatever the numbers."""
    file = updated(BaselineFile(), [cell(heap_slope=values)])

    assert read(to_toml(file)) == file


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("schema = 1", "schema = 2", "schema"),
        ("schema = 1", "schema = ", "TOML"),
        ("esp32s3.real", "esp8266.real", "esp32s3"),
        ("esp32s3.real", "esp32s3.imagined", "virtual"),
        ("real.boot_to_ip", "real.boot_to_moon", "boot_to_moon"),
        ("value = 2.31", "value = 2.5", "order"),
        ("repeats = 3", "repeats = 0", "repeat"),
        ("repeats = 3", "repetitions = 3", "repetitions"),
        ("at_most = 6.0", "at_mots = 6.0", "at_mots"),
    ],
)
def test_bad(old, new, expected):
    """It is refused with what was expected: a typo must not switch a comparison off."""
    with pytest.raises(BadBaseline, match=expected):
        read(TEXT.replace(old, new), "file")


def test_load(tmp_path):
    """A file that is not there is a fault, unless it is to be written."""
    path = tmp_path / "baseline.toml"
    with pytest.raises(BadBaseline, match="--update-baseline"):
        load(path)
    assert load(path, may_be_new=True) == BaselineFile()
    path.write_text(TEXT)
    assert load(path) == read(TEXT)
    with pytest.raises(BadBaseline, match="can be read"):
        load(tmp_path)
