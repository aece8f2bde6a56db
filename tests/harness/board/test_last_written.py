"""What was last written to a board is remembered by its MAC, unless a flash was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.errors import HistoryFailed
from harness.board.last_written import LastWritten

MAC = "02:00:00:00:00:01"
IMAGES = {0: b"boot loader", 0x10000: b"application"}


def test_remembered(tmp_path: Path):
    """Another process finds what was written to this board, and nothing of another one."""
    assert LastWritten(tmp_path, MAC).images() == {}
    LastWritten(tmp_path / "made", MAC).remember(4 << 20, IMAGES)

    assert LastWritten(tmp_path / "made", MAC).images() == IMAGES
    assert LastWritten(tmp_path / "made", MAC).flash_size == 4 << 20
    assert LastWritten(tmp_path / "made", "02:00:00:00:00:02").images() == {}


def test_only_the_last(tmp_path: Path):
    """Images of before are deleted."""
    written = LastWritten(tmp_path, MAC)
    written.remember(4 << 20, IMAGES)
    written.remember(4 << 20, {**IMAGES, 0x10000: b"another"})

    assert written.images() == {0: b"boot loader", 0x10000: b"another"}
    assert len(list((tmp_path / "flash-020000000001").iterdir())) == 3


def test_forgotten(tmp_path: Path):
    """What is about to be written is not known; how large the flash is stays known. Forgetting twice is once."""
    written = LastWritten(tmp_path, MAC)
    written.forget()
    written.remember(4 << 20, IMAGES)
    written.forget()
    written.forget()

    assert (written.images(), written.flash_size) == ({}, 4 << 20)


def test_damaged(tmp_path: Path):
    """An image that was changed or lost is not held, and a manifest that cannot be read is none."""
    written = LastWritten(tmp_path, MAC)
    written.remember(4 << 20, IMAGES)
    folder = tmp_path / "flash-020000000001"
    for file in folder.iterdir():
        if file.read_bytes() == b"application":
            file.write_bytes(b"something else")
    assert written.images() == {0: b"boot loader"}
    for file in folder.iterdir():
        if file.read_bytes() == b"boot loader":
            file.unlink()
    assert written.images() == {}
    (folder / "written.json").write_text("{")
    assert (written.images(), written.flash_size) == ({}, 0)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder is named, with the setting; above all where it is not forgotten what is about to change."""
    written = LastWritten(tmp_path, MAC)
    written.remember(4 << 20, IMAGES)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for refused in (written.forget, lambda: written.remember(4 << 20, {0: b"new"})):
        with pytest.raises(HistoryFailed, match=r"flash-020000000001: .* No space left on device; state_dir of"):
            refused()


def test_without_a_folder():
    """Without a folder nothing is remembered, and that is no error."""
    written = LastWritten(None, MAC)
    written.remember(4 << 20, IMAGES)
    written.forget()
    assert (written.images(), written.flash_size) == ({}, 0)
