"""What this machine last wrote to each board, by its MAC: to write only what has changed the next time.

A folder for each MAC, with a manifest and the images it names. The manifest is taken away before a flash begins and put
back when it was verified: a board whose flash was interrupted is one that nothing is known of. Settings are not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from harness.bench.errors import HistoryFailed

_MANIFEST = "written.json"


class Manifest(msgspec.Struct, frozen=True):
    """What is on a board.

    Attributes:
        flash_size: in bytes.
        images: SHA-256 of the image at each offset.
    """

    flash_size: int
    images: dict[int, str] = {}


class LastWritten:
    """The memory of one board; without a folder it remembers nothing.

    Args:
        folder: where all boards' folders are; made when it is needed.
        mac: of the board.
    """

    def __init__(self, folder: Path | None, mac: str) -> None:
        self._folder = folder / f"flash-{mac.replace(':', '')}" if folder else None

    @property
    def flash_size(self) -> int:
        """Of the board, in bytes; 0: not known."""
        return manifest.flash_size if (manifest := self._manifest()) else 0

    def images(self) -> dict[int, bytes]:
        """Return what was written at each offset, as far as it is whole; empty: nothing is known."""
        manifest, found = self._manifest(), {}
        for offset, name in manifest.images.items() if manifest else ():
            assert self._folder is not None
            with contextlib.suppress(OSError):
                data = (self._folder / name).read_bytes()
                if hashlib.sha256(data).hexdigest() == name:
                    found[offset] = data
        return found

    def forget(self) -> None:
        """Know no more what is on the flash, but how large it is: it is about to be written.

        Raises:
            HistoryFailed: a file cannot be written; as `remember`.
        """
        if self._folder and (size := self.flash_size):
            with _writing(self._folder):
                self._put(self._folder, Manifest(size))

    def remember(self, flash_size: int, images: Mapping[int, bytes]) -> None:
        """Know what is on the flash: it was verified. Images of before are deleted."""
        if self._folder is not None:
            with _writing(self._folder):
                self._keep(self._folder, flash_size, images)

    def _keep(self, folder: Path, flash_size: int, images: Mapping[int, bytes]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {offset: hashlib.sha256(data).hexdigest() for offset, data in images.items()}
        for offset, name in names.items():
            file = folder / name
            if not file.exists():
                _replace(file, images[offset])
        self._put(folder, Manifest(flash_size, names))
        for file in folder.iterdir():
            if file.name not in names.values() and file.name != _MANIFEST:
                file.unlink(missing_ok=True)

    def _manifest(self) -> Manifest | None:
        if self._folder is None:
            return None
        try:
            return msgspec.json.decode((self._folder / _MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            return None

    def _put(self, folder: Path, manifest: Manifest) -> None:
        _replace(folder / _MANIFEST, msgspec.json.encode(manifest))


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HistoryFailed(folder, error) from error


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or not there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(path)
