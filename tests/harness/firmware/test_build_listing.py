"""Files of builds are read with limits, and every fault names its file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.firmware import build_listing
from harness.firmware.build_listing import beside, flash_size_of, offset_of, read_description, read_limited
from harness.firmware.errors import BadBuild


class Description(msgspec.Struct):
    """What a test wants of a file."""

    name: str


def test_limit(tmp_path: Path):
    """A file may be as long as the limit, and no longer."""
    file = tmp_path / "file"
    file.write_bytes(b"12345")

    assert read_limited(file, 5) == b"12345"
    with pytest.raises(BadBuild, match="file: expected at most 4 bytes, there are more"):
        read_limited(file, 4)


def test_no_name_of_a_file(tmp_path: Path):
    """A list may name what no file system has; that is a fault of the list, too."""
    with pytest.raises(BadBuild, match="File name too long"):
        read_limited(beside(tmp_path, "x" * 5000))


def test_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the system says is passed on."""
    file = tmp_path / "file"
    file.touch()

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(BadBuild, match="file: cannot be read: Permission denied"):
        read_limited(file)


def test_description_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A description has its own, smaller limit."""
    (tmp_path / "list.json").write_text('{"name": "door", "more": [1, 2, 3]}')
    assert read_description(tmp_path / "list.json", Description) == Description("door")

    monkeypatch.setattr(build_listing, "TEXT_BYTES", 10)
    with pytest.raises(BadBuild, match="at most 10 bytes"):
        read_description(tmp_path / "list.json", Description)


@pytest.mark.parametrize(("text", "offset"), [("0x8000", 0x8000), ("32768", 0x8000), ("0", 0), ("0x0", 0)])
def test_offset(text: str, offset: int):
    """Offsets are decimal or hexadecimal."""
    assert offset_of(text, Path("list"), "x") == offset


@pytest.mark.parametrize("text", ["", "8000h", "-1", "0x8000000", "1e3", "٣x"])
def test_no_offset(text: str):
    """Anything else is none."""
    with pytest.raises(BadBuild, match="expected the offset of x"):
        offset_of(text, Path("list"), "x")


@pytest.mark.parametrize(("text", "size"), [("4MB", 4 << 20), ("512KB", 512 << 10), ("detect", None), ("keep", None)])
def test_flash_size(text: str, size: int | None):
    """Sizes as esptool spells them."""
    assert flash_size_of(text, Path("list")) == size


def test_moved(tmp_path: Path):
    """A listed file that is gone is looked for under its name in the folder; a path of Windows, too."""
    (tmp_path / "sub").mkdir()
    for name in ("app.bin", "sub/app.bin"):
        (tmp_path / name).touch()

    assert beside(tmp_path, "sub/app.bin") == tmp_path / "sub/app.bin"
    assert beside(tmp_path, "/gone/app.bin") == tmp_path / "app.bin"
    assert beside(tmp_path, "C:\\gone\\app.bin") == tmp_path / "app.bin"
    assert beside(tmp_path, "gone/other.bin") == tmp_path / "gone/other.bin"
