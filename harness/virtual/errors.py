"""What goes wrong with a virtual board, besides what is meant to.

::

    HarnessError
    ├── Misuse
    └── WorldError
        ├── CannotServe        a port of the board cannot be opened
        ├── BadFlashFile       the file that keeps its flash cannot be read or written
        ├── NvsFull            what a device program wants to keep has no room in its NVS partition
        └── OtaRefused         an update of a device program's application cannot go on
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import WorldError


class CannotServe(WorldError):
    """A port of a virtual board cannot be opened.

    Attributes:
        where: its address.
        why: what the system says.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where = where
        self.why = why

    def __str__(self) -> str:
        return f"cannot serve the virtual board at {self.where}: {self.why}; another port may be free (0 finds one)"


class NvsFull(WorldError):
    """What a device program wants to keep has no room in its NVS partition (``ESP_ERR_NVS_NOT_ENOUGH_SPACE``)."""


class BadFlashFile(WorldError):
    """The file that keeps the flash of a virtual board cannot be read or written.

    Attributes:
        path: which one.
        why: what the system says.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"cannot keep the flash of the virtual board in {self.path}: {self.why}"


class OtaRefused(WorldError):
    """An update of the application cannot go on.

    Attributes:
        code: of ESP-IDF (``ESP_ERR_OTA_VALIDATE_FAILED``).
        why: in words.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"
