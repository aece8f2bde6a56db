"""A look below SQLite: which of its bytes went where, and when it told the disk to keep them.

The standard library's ``sqlite3`` hides that. So its own SQLite is asked, by ctypes, for its default file system (the
VFS), and one is put before it that does the same and tells a `WriteLog` of every write, truncation and sync. It is the
default while a simulation runs that wants it; files that belong to no log pass unseen.

Structures are of SQLite's public C interface (sqlite3.h: ``sqlite3_vfs``, ``sqlite3_io_methods``, ``sqlite3_file``),
which it keeps stable.
"""

from __future__ import annotations

import contextlib
import ctypes as c
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.simulation.writes import WriteLog

_OK = 0
_MAIN_DB, _WAL, _MAIN_JOURNAL = 0x100, 0x80000, 0x800  # SQLITE_OPEN_*: the files that keep what was committed
_KEPT = _MAIN_DB | _WAL | _MAIN_JOURNAL
_int64 = c.c_longlong


class _File(c.Structure):
    _fields_ = [("methods", c.c_void_p)]


_CLOSE = c.CFUNCTYPE(c.c_int, c.POINTER(_File))
_WRITE = c.CFUNCTYPE(c.c_int, c.POINTER(_File), c.c_void_p, c.c_int, _int64)
_TRUNCATE = c.CFUNCTYPE(c.c_int, c.POINTER(_File), _int64)
_SYNC = c.CFUNCTYPE(c.c_int, c.POINTER(_File), c.c_int)


class _Methods(c.Structure):
    _fields_ = [
        ("version", c.c_int),
        ("close", _CLOSE),
        ("read", c.c_void_p),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        # what follows is passed on as it is; of version 3, as all file systems of SQLite itself
        *((f"other{number}", c.c_void_p) for number in range(13)),
    ]


class _Vfs(c.Structure):
    pass


# names are pointers, to be passed on as they are: SQLite keeps them, and what is behind the text belongs to them
_OPEN = c.CFUNCTYPE(c.c_int, c.POINTER(_Vfs), c.c_void_p, c.POINTER(_File), c.c_int, c.POINTER(c.c_int))
_DELETE = c.CFUNCTYPE(c.c_int, c.POINTER(_Vfs), c.c_void_p, c.c_int)
_Vfs._fields_ = [
    ("version", c.c_int),
    ("file_size", c.c_int),
    ("longest_path", c.c_int),
    ("next", c.c_void_p),
    ("name", c.c_char_p),
    ("data", c.c_void_p),
    ("open", _OPEN),
    ("delete", _DELETE),
    *((f"other{number}", c.c_void_p) for number in range(14)),
]


class _Original:
    """What SQLite has for one kind of file, and what stands before it."""

    def __init__(self, methods: _Methods, watched: _Methods) -> None:
        self.methods = methods
        self.watched = watched


class Watch:
    """The file system before SQLite's own. There is one in a process, for good: SQLite keeps pointers into it."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.sqlite3_vfs_find.restype = c.POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = [c.c_char_p]
        library.sqlite3_vfs_register.argtypes = [c.POINTER(_Vfs), c.c_int]
        self._real = library.sqlite3_vfs_find(None)
        self._vfs = _Vfs()
        c.memmove(c.byref(self._vfs), self._real, c.sizeof(_Vfs))
        self._vfs.name = b"wsdevice-simulation"
        self._vfs.next = None
        self._vfs.open = _OPEN(self._open)
        self._vfs.delete = _DELETE(self._delete)
        self._logs: dict[str, WriteLog] = {}
        self._files: dict[int, tuple[str, WriteLog]] = {}
        self._kinds: dict[int, _Original] = {}  # by the address of SQLite's methods
        self._by_file: dict[int, int] = {}
        self._users = 0

    def follow(self, directory: str, log: WriteLog) -> None:
        """Tell a log of all databases below a directory that are opened from now on."""
        self._logs[directory] = log

    def forget(self, directory: str) -> None:
        """Tell it of nothing more; files that are still open go their own way again."""
        log = self._logs.pop(directory, None)
        for address, known in tuple(self._files.items()):
            if known[1] is log:
                _File.from_address(address).methods = self._by_file.pop(address)
                del self._files[address]

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Be the default; reentrant."""
        self._users += 1
        self._library.sqlite3_vfs_register(c.byref(self._vfs), 1)
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._library.sqlite3_vfs_register(self._real, 1)

    # --- SQLite calls these; none may raise ---------------------------------------------------------------------

    def _open(self, _vfs: Any, name: int | None, file: Any, flags: int, out: Any) -> int:
        result: int = self._real.contents.open(self._real, name, file, flags, out)
        if result == _OK and name is not None and flags & _KEPT and file.contents.methods:
            path = _text(name)
            log = self._log_of(path)
            if log is not None:
                with contextlib.suppress(OSError):
                    log.opened(path, Path(path).read_bytes())
                    self._stand_before(file, path, log)
        return result

    def _delete(self, _vfs: Any, name: int, sync: int) -> int:
        path = _text(name)
        result: int = self._real.contents.delete(self._real, name, sync)
        log = self._log_of(path)
        if log is not None:
            log.removed(path)
        return result

    def _log_of(self, path: str) -> WriteLog | None:
        return next((log for directory, log in self._logs.items() if path.startswith(f"{directory}/")), None)

    def _stand_before(self, file: Any, path: str, log: WriteLog) -> None:
        real = file.contents.methods
        if real not in self._kinds:
            methods = _Methods.from_address(real)
            watched = _Methods()
            c.memmove(c.byref(watched), c.byref(methods), c.sizeof(_Methods))
            watched.close, watched.write = _CLOSE(self._close), _WRITE(self._write)
            watched.truncate, watched.sync = _TRUNCATE(self._truncate), _SYNC(self._sync)
            self._kinds[real] = _Original(methods, watched)
        address = c.addressof(file.contents)
        self._by_file[address] = real
        self._files[address] = path, log
        file.contents.methods = c.addressof(self._kinds[real].watched)

    def _real_methods(self, file: Any) -> _Methods:
        return self._kinds[self._by_file[c.addressof(file.contents)]].methods

    def _close(self, file: Any) -> int:
        address = c.addressof(file.contents)
        del self._files[address]
        real = self._by_file.pop(address)
        file.contents.methods = real
        return int(self._kinds[real].methods.close(file))

    def _write(self, file: Any, data: int, size: int, at: int) -> int:
        result = int(self._real_methods(file).write(file, data, size, at))
        if result == _OK:
            path, log = self._files[c.addressof(file.contents)]
            log.wrote(path, at, c.string_at(data, size))
        return result

    def _truncate(self, file: Any, size: int) -> int:
        result = int(self._real_methods(file).truncate(file, size))
        if result == _OK:
            path, log = self._files[c.addressof(file.contents)]
            log.truncated(path, size)
        return result

    def _sync(self, file: Any, flags: int) -> int:
        result = int(self._real_methods(file).sync(file, flags))
        if result == _OK:
            path, log = self._files[c.addressof(file.contents)]
            log.synced(path)
        return result


def _text(name: int) -> str:
    return c.string_at(name).decode("utf-8", "surrogateescape")


_watch: list[Watch | None] = []


def watch() -> Watch | None:
    """Return the process's watch; None where the SQLite of this Python cannot be reached."""
    if not _watch:
        _watch.append(_made())
    return _watch[0]


def _made() -> Watch | None:
    import _sqlite3  # noqa: PLC0415 - the extension module: its SQLite is the one to be watched

    try:
        library = c.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find, library.sqlite3_vfs_register  # noqa: B018 - whether they are there
    except (AttributeError, OSError):  # built into the interpreter, or linked so that its names are hidden
        return None
    return Watch(library)
