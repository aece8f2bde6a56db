"""NVS images are generated in memory, and wrong values are refused without telling them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from harness.errors import Misuse
from harness.firmware import nvs, nvs_image
from harness.firmware.errors import NotInstalled
from harness.firmware.nvs_image import I8, I32, INTEGERS, U8, Integer, generate

SECRET = "correct horse battery staple"


def test_for_the_firmware():
    """What the firmware needs to come online, as it reads it."""
    image = generate(
        {
            "wifi": {"ssid": "lab", "password": SECRET, "ota_url": "http://10.0.0.1:8000/ota/", "sleep_mode": U8(0)},
            "websocket": {"url": "ws://10.0.0.1:8000/", "token": "t", "version": I32(1)},
        },
        0x4000,
    )

    assert len(image) == 0x4000
    assert nvs.read(image)["wifi"]["password"] == SECRET
    types = {item.key: item.type for item in nvs.examine(image).items}
    assert (types["ssid"], types["sleep_mode"], types["version"]) == ("str", "u8", "i32")
    assert nvs.examine(image).empty_pages == 3


def test_nothing():
    """No values at all are an image, too."""
    assert nvs.read(generate({}, 0x3000)) == {}


def test_the_same_each_time():
    """The same values give the same bytes."""
    values = {"a": {"b": "c"}}

    assert generate(values, 0x3000) == generate(values, 0x3000)


def test_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """No file is opened for writing: nothing with the password in it can be left behind."""
    generate({}, 0x3000)  # what is imported at first use is read from files
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(io, "open", None)
    monkeypatch.setattr("builtins.open", None)

    generate({"wifi": {"password": SECRET}}, 0x4000)

    assert list(tmp_path.iterdir()) == []


def test_says_nothing(capfd: pytest.CaptureFixture[str]):
    """Nothing is printed, not even for values that do not fit."""
    generate({"wifi": {"password": SECRET}}, 0x4000)
    with pytest.raises(Misuse):
        generate({"wifi": {f"p{n}": SECRET * 100 for n in range(9)}}, 0x3000)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", INTEGERS.values(), ids=INTEGERS)
def test_range(kind: type[Integer]):
    """An integer is in the range of its type, ends included."""
    ends = {"least": kind(kind.least), "greatest": kind(kind.greatest)}

    assert nvs.read(generate({"n": ends}, 0x3000)) == {"n": {"least": kind.least, "greatest": kind.greatest}}
    for outside in (kind.least - 1, kind.greatest + 1):
        with pytest.raises(Misuse, match=f"expected {kind.type} from {kind.least} to {kind.greatest}, got {outside}"):
            kind(outside)


class TestRefused:
    """What NVS does not allow, and no value in the text."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"": {}}, "expected a namespace of 1 to 15 printable ASCII characters, got ''"),
            ({"sixteen_letters_": {}}, "expected a namespace of 1 to 15"),
            ({"wifi": {"": "x"}}, "expected a key in wifi of 1 to 15"),
            ({"wifi": {"schlüssel": "x"}}, "expected a key in wifi of 1 to 15"),
            ({"wifi": {"k": 5}}, "wifi.k: expected str, bytes or one of U8 to I64, got int"),
            ({"wifi": {"k": True}}, "got bool"),
            ({"wifi": {"k": None}}, "got NoneType"),
            ({"wifi": {"k": SECRET + "\0"}}, "wifi.k: expected a string of at most 3967 bytes, without NUL"),
            ({"wifi": {"k": SECRET * 142}}, "wifi.k: expected a string of at most 3967 bytes"),
            ({f"n{n}": {} for n in range(255)}, "expected at most 254 namespaces, got 255"),
            ({"wifi": {f"k{n}": "x" * 3900 for n in range(4)}}, "expected values that fit into 0x4000 bytes"),
        ],
    )
    def test_values(self, values: dict[str, dict[str, nvs_image.Value]], said: str):
        """Each is refused by its place and its size."""
        with pytest.raises(Misuse) as misuse:
            generate(values, 0x4000)

        assert said in str(misuse.value)
        assert SECRET not in str(misuse.value)

    @pytest.mark.parametrize("size", [0, 0x1000, 0x2000, 0x3001, -0x3000])
    def test_size(self, size: int):
        """Firmware could not write into less than three pages."""
        with pytest.raises(Misuse, match="3 or more pages"):
            generate({}, size)

    def test_version(self):
        """There are two versions; in the first a blob ends with its page."""
        with pytest.raises(Misuse, match="version 1 or 2"):
            generate({}, 0x3000, version=3)
        with pytest.raises(Misuse, match="at most 1984 bytes in version 1"):
            generate({"a": {"b": bytes(1985)}}, 0x4000, version=1)

    def test_longest(self):
        """Strings up to 3967 bytes, and as many namespaces as there are numbers, are taken."""
        generate({f"n{n}": {} for n in range(254)}, 0x8000)

        assert nvs.read(generate({"a": {"b": "x" * 3967}}, 0x4000)) == {"a": {"b": "x" * 3967}}


def test_written_again():
    """What was read from a board can be written again with one value changed."""
    before = generate({"a": {"b": "c", "n": I8(-1), "blob": b"\0\1"}}, 0x4000)

    values = nvs_image.typed(nvs.examine(before).items)
    values["a"]["b"] = "d"

    assert nvs.read(generate(values, 0x4000)) == {"a": {"b": "d", "n": -1, "blob": b"\0\1"}}


def test_not_installed(monkeypatch: pytest.MonkeyPatch):
    """Without the extra it is said what to install."""
    monkeypatch.setitem(sys.modules, "esp_idf_nvs_partition_gen", None)

    with pytest.raises(NotInstalled, match=r"needs esp-idf-nvs-partition-gen: pip install 'wsdevice\[hil\]'"):
        generate({}, 0x3000)
