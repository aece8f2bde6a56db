"""The flash of a served board as a file, so that it keeps it from one process to the next."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import Misuse
from harness.virtual.errors import BadFlashFile


def load(path: Path, size: int) -> bytes:
    """Return what is on the flash; nothing if there is no file yet.

    Raises:
        Misuse: it holds another size of flash.
        BadFlashFile: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BadFlashFile(path, error.strerror or str(error)) from None
    if len(content) != size:
        raise Misuse(f"expected {size:,} bytes of flash in {path}, got {len(content):,}; is it another board's?")
    return content


def save(path: Path, content: bytes) -> None:
    """Write the whole file, or leave it as it was. Only its owner may read it: Wi-Fi passwords are on a flash.

    Raises:
        BadFlashFile: it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadFlashFile(path, error.strerror or str(error)) from None
