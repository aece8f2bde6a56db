"""Reads and makes littlefs partitions with littlefs-python, which is in the extra ``hil``: files by path, in memory.

What is made can be mounted by the littlefs component for ESP-IDF and by MicroPython with their default settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from harness.errors import Misuse
from harness.firmware.errors import BadFileSystem, NotInstalled

BLOCK_BYTES = 0x1000
"""A sector of flash: both drivers for ESP32 use it."""
NAME_BYTES = 64
"""Of one name (``CONFIG_LITTLEFS_OBJ_NAME_LEN``); a driver refuses to mount what allows longer ones than it."""
CACHE_BYTES = 128
"""Small files stand in their directory if they fit into the cache, and a driver with a smaller one cannot read them;
MicroPython's is 4 x 32 bytes."""
DISK_VERSION = 0x00020000
"""2.0, that each driver in use can mount."""
DEEPEST = 32
"""Directories within directories; deeper than that are not files of a device, but a damaged image."""
READ_CACHE_BYTES = BLOCK_BYTES
"""For reading: whatever cache an image was made with, its small files are no larger."""


class _Flash:
    """The block device that littlefs works on; what lies behind its end reads as erased."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def read(self, _config: object, block: int, offset: int, size: int) -> bytearray:
        begin = block * BLOCK_BYTES + offset
        return self.data[begin : begin + size].ljust(size, b"\xff")

    def prog(self, _config: object, block: int, offset: int, data: bytes) -> int:
        begin = block * BLOCK_BYTES + offset
        self.data[begin : begin + len(data)] = data
        return 0

    def erase(self, _config: object, block: int) -> int:
        return self.prog(_config, block, 0, b"\xff" * BLOCK_BYTES)

    def sync(self, _config: object) -> int:
        return 0


def read_files(data: bytes | memoryview) -> dict[str, bytes]:
    """Return the files of a partition by their path without a leading slash, sorted; directories only as part of it.

    Raises:
        BadFileSystem: it cannot be mounted, or is damaged: no file of it is returned.
        NotInstalled: littlefs-python is missing.
    """
    package = _littlefs()
    try:
        # number of blocks 0: as the file system itself says
        mounted = _Mounted(package, _config(package, _Flash(bytes(data)), 0, READ_CACHE_BYTES))
        blocks = mounted.blocks()
        if blocks * BLOCK_BYTES > len(data):
            raise BadFileSystem(f"expected {blocks} blocks of {BLOCK_BYTES:#x}, there are {len(data):#x} bytes")
        return dict(sorted(mounted.files()))
    except package.LittleFSError as refused:
        raise BadFileSystem(f"expected a littlefs with blocks of {BLOCK_BYTES:#x}, got {refused}") from None
    except UnicodeDecodeError as strange:
        raise BadFileSystem(f"expected names in UTF-8, got {strange.object!r}") from None


def build(files: Mapping[str, bytes], size: int) -> bytes:
    """Return a partition of so many bytes with these files; the same bytes each time.

    Args:
        files: by path, with slashes; the directories in them are made.
        size: whole blocks of 0x1000, at least 2.

    Raises:
        BadFileSystem: they do not fit.
        Misuse: a size or a path that cannot be.
        NotInstalled: littlefs-python is missing.
    """
    package = _littlefs()
    if size % BLOCK_BYTES or size < 2 * BLOCK_BYTES:
        raise Misuse(f"expected a littlefs of 2 or more blocks of {BLOCK_BYTES:#x}, got {size:#x} bytes")
    flash = _Flash(b"\xff" * size)
    config = _config(package, flash, size // BLOCK_BYTES, CACHE_BYTES)
    try:
        package.lfs.format(package.lfs.LFSFilesystem(), config)
        mounted = _Mounted(package, config)
        for path, content in sorted(files.items()):
            mounted.write(_checked(path), content)
        mounted.unmount()
    except package.LittleFSError as refused:
        raise BadFileSystem(f"expected files that fit into {size:#x} bytes, got {refused}") from None
    return bytes(flash.data)


class _Mounted:
    def __init__(self, package: ModuleType, config: Any) -> None:
        self._lfs = package.lfs
        self._system = package.lfs.LFSFilesystem()
        self._config = config  # littlefs reads through it as long as it is mounted, and does not hold it
        self._made: set[str] = set()
        self._lfs.mount(self._system, config)

    def blocks(self) -> int:
        return int(self._lfs.fs_stat(self._system).block_count)

    def unmount(self) -> None:
        self._lfs.unmount(self._system)

    def files(self, directory: str = "", depth: int = 0) -> Iterator[tuple[str, bytes]]:
        if depth > DEEPEST:
            raise BadFileSystem(f"expected at most {DEEPEST} directories in each other, there are more")
        opened = self._lfs.dir_open(self._system, directory or "/")
        while entry := self._lfs.dir_read(self._system, opened):
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.type == self._lfs.LFSStat.TYPE_REG:
                yield path, self._content(path, entry.size)
            elif entry.name not in {".", ".."}:
                yield from self.files(path, depth + 1)
        self._lfs.dir_close(self._system, opened)

    def write(self, path: str, content: bytes) -> None:
        steps = path.split("/")[:-1]
        for directory in ("/".join(steps[: depth + 1]) for depth in range(len(steps))):
            if directory not in self._made:
                self._lfs.mkdir(self._system, directory)
                self._made.add(directory)
        opened = self._lfs.file_open(self._system, path, "wb")
        self._lfs.file_write(self._system, opened, content)
        self._lfs.file_close(self._system, opened)

    def _content(self, path: str, size: int) -> bytes:
        if size > self.blocks() * BLOCK_BYTES:
            raise BadFileSystem(f"expected {path!r} to be smaller than its file system, it says {size} bytes")
        opened = self._lfs.file_open(self._system, path, "rb")
        content = bytes(self._lfs.file_read(self._system, opened, size))
        self._lfs.file_close(self._system, opened)
        return content


def _littlefs() -> ModuleType:
    try:
        import littlefs  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise NotInstalled("reading or making a littlefs partition", "littlefs-python") from None
    return littlefs


def _config(package: ModuleType, flash: _Flash, blocks: int, cache: int) -> Any:
    return package.lfs.LFSConfig(
        context=flash,
        block_size=BLOCK_BYTES,
        block_count=blocks,
        read_size=CACHE_BYTES,
        prog_size=CACHE_BYTES,
        cache_size=cache,
        lookahead_size=CACHE_BYTES,
        name_max=NAME_BYTES if blocks else 0,
        disk_version=DISK_VERSION if blocks else 0,
    )


def _checked(path: str) -> str:
    steps = path.split("/")
    if any(step in {"", ".", ".."} or len(step.encode("utf-8", "surrogatepass")) > NAME_BYTES for step in steps):
        raise Misuse(f"expected a path of names of 1 to {NAME_BYTES} bytes, got {path!r}")
    if not path.isprintable() and any("\ud800" <= character <= "\udfff" for character in path):
        raise Misuse(f"expected a path in Unicode, got {path!r}")
    return path
