"""The flash as a file."""

from __future__ import annotations

import pytest

from harness.errors import Misuse
from harness.virtual.errors import BadFlashFile
from harness.virtual.flash_file import load, save


def test_kept_from_one_time_to_the_next(tmp_path):
    """What was saved is loaded; only its owner may read it, as passwords are on a flash."""
    path = tmp_path / "flash.bin"
    save(path, b"abcd")
    save(path, b"efgh")

    assert load(path, 4) == b"efgh"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_yet(tmp_path):
    """Nothing is on the flash then."""
    assert load(tmp_path / "flash.bin", 4) == b""


def test_another_size(tmp_path):
    """It is another board's, most likely."""
    path = tmp_path / "flash.bin"
    path.write_bytes(b"abc")

    with pytest.raises(Misuse, match=r"expected 4 bytes of flash in .*, got 3"):
        load(path, 4)


def test_what_cannot_be_read_or_written(tmp_path):
    """The error says which file, and what the system says."""
    with pytest.raises(BadFlashFile, match=r"in .*: Is a directory"):
        load(tmp_path, 4)
    with pytest.raises(BadFlashFile, match="No such file or directory"):
        save(tmp_path / "missing" / "flash.bin", b"abcd")


def test_failed_save_leaves_what_was_there(tmp_path):
    """The old content stays, and no half of a new one is left behind."""
    path = tmp_path / "flash.bin"
    path.mkdir()

    with pytest.raises(BadFlashFile):
        save(path, b"abcd")
    assert list(tmp_path.iterdir()) == [path]
