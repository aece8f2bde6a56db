"""littlefs partitions are read and made."""

from __future__ import annotations

import contextlib
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.firmware import littlefs
from harness.firmware.errors import BadFileSystem, NotInstalled

SIZE = 0x10000
FILES = {
    "boot.py": b"",
    "lib/net/ws.py": random.Random(1).randbytes(9000),
    "lib/small.py": b"x = 1\n" * 50,
    "main.py": b"print('hello')\n",
}

names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)


def test_round_trip():
    """Files come back with their paths, sorted, whatever their size."""
    assert littlefs.read_files(littlefs.build(FILES, SIZE)) == FILES


@settings(max_examples=50)
@given(st.dictionaries(names, st.binary(max_size=600), max_size=5), names)
def test_any_names(files: dict[str, bytes], directory: str):
    """Any names and contents, in a directory of any name."""
    inside = {f"{directory}/{name}": content for name, content in files.items()}

    assert littlefs.read_files(littlefs.build(inside, SIZE)) == dict(sorted(inside.items()))


def test_the_same_each_time():
    """The same files give the same bytes, in whatever order they are named."""
    assert littlefs.build(FILES, SIZE) == littlefs.build(dict(reversed(FILES.items())), SIZE)


def test_larger_than_the_file_system():
    """A file system may lie in a partition larger than itself."""
    assert littlefs.read_files(littlefs.build(FILES, SIZE) + b"\xff" * 0x3000) == FILES


def test_empty():
    """A formatted partition has no files."""
    assert littlefs.read_files(littlefs.build({}, 0x2000)) == {}


class TestRefused:
    """What is no littlefs, and what cannot be one."""

    @pytest.mark.parametrize(
        "data", [b"", b"\xff" * SIZE, b"\0" * SIZE, random.Random(2).randbytes(SIZE), b"littlefs" * 1000]
    )
    def test_no_file_system(self, data: bytes):
        """Anything else is refused."""
        with pytest.raises(BadFileSystem, match="expected a littlefs with blocks of 0x1000"):
            littlefs.read_files(data)

    def test_cut_off(self):
        """A file system that is longer than its partition is not read."""
        small = littlefs.build({"a": b"b"}, SIZE)
        with pytest.raises(BadFileSystem, match="expected 16 blocks of 0x1000, there are 0xf000 bytes"):
            littlefs.read_files(small[:-0x1000])

    def test_damaged(self):
        """Damage is found, or harmless, but never ends in a crash."""
        good = littlefs.build(FILES, SIZE)
        rng = random.Random(3)
        for _ in range(200):
            data = bytearray(good)
            for _ in range(rng.randint(1, 20)):
                data[rng.randrange(0x5000)] = rng.randrange(256)
            with contextlib.suppress(BadFileSystem):
                littlefs.read_files(data)

    def test_names_in_another_encoding(self):
        """A name that is no UTF-8 belongs to something else."""
        import littlefs as package

        other = package.LittleFS(block_size=0x1000, block_count=16, filename_encoding="latin-1")
        other.mkdir("sch\xf6n")

        with pytest.raises(BadFileSystem, match=r"expected names in UTF-8, got b'sch\\xf6n'"):
            littlefs.read_files(other.context.buffer)

    def test_too_deep(self):
        """Directories in directories without end are no files of a device."""
        deep = "/".join("d" * (littlefs.DEEPEST + 2)) + "/file"

        with pytest.raises(BadFileSystem, match="at most 32 directories in each other"):
            littlefs.read_files(littlefs.build({deep: b""}, 0x80000))

    def test_too_much(self):
        """Files that do not fit."""
        with pytest.raises(BadFileSystem, match=r"files that fit into 0x10000 bytes, got .*NOSPC"):
            littlefs.build({"a": bytes(SIZE)}, SIZE)

    @pytest.mark.parametrize("size", [0, 0x1000, 0x2001])
    def test_size(self, size: int):
        """Two whole blocks at least."""
        with pytest.raises(Misuse, match="2 or more blocks of 0x1000"):
            littlefs.build({}, size)

    @pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "n" * 65, "a\ud800"])
    def test_path(self, path: str):
        """Paths are made of names, with a limit that each driver knows."""
        with pytest.raises(Misuse, match=r"expected a path of names of 1 to 64 bytes|expected a path in Unicode"):
            littlefs.build({path: b""}, SIZE)


def test_not_installed(monkeypatch: pytest.MonkeyPatch):
    """Without the extra it is said what to install."""
    monkeypatch.setitem(sys.modules, "littlefs", None)

    with pytest.raises(NotInstalled, match=r"needs littlefs-python: pip install 'wsdevice\[hil\]'"):
        littlefs.read_files(b"")
