"""What can be wrong with firmware, and with what lies on a flash.

::

    HarnessError
    ├── Misuse
    │   └── NotInstalled           an optional distribution is needed for this, and is not there
    └── FirmwareError              what was built, or read back from a flash, is not as it has to be
        ├── BadImage                   an application or boot loader that no chip would start
        ├── BadPartitionTable          a partition table that no boot loader would accept
        │   └── NoSuchPartition            it has no partition with the label that was asked for
        ├── BadOtaData                 less than the two sectors it has to be
        ├── BadNvs                     entries or pages of an NVS partition whose checks fail
        ├── BadFileSystem              a littlefs partition that cannot be mounted, or does not hold the files
        ├── BadBuild                   a build folder that cannot be read: which file, and what about it
        └── Unfit                      a build in good order that does not fit the board, or into its own partitions

Facts are attributes; the sentence is made in ``__str__``. Text out of files is capped and printable in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from gateway.identity import printable
from harness.errors import HarnessError, Misuse

SHOWN_CHARACTERS = 200
"""Of one text that came out of a file."""
SHOWN_FAULTS = 5
"""Of the many that one damaged partition can have."""

ImageFault: TypeAlias = Literal["magic", "segments", "truncated", "chip", "checksum", "hash", "program"]
Misfit: TypeAlias = Literal["chip", "flash_size", "partition", "offset", "overlap", "table", "image"]


class NotInstalled(Misuse):
    """An optional distribution is needed for this, and is not there.

    Attributes:
        purpose: what needs it.
        distribution: its name on PyPI.
    """

    def __init__(self, purpose: str, distribution: str) -> None:
        super().__init__(purpose, distribution)
        self.purpose = purpose
        self.distribution = distribution

    def __str__(self) -> str:
        return f"{self.purpose} needs {self.distribution}: pip install 'wsdevice[hil]'"


class FirmwareError(HarnessError):
    """What was built, or read back from a flash, is not as it has to be."""


class _Explained(FirmwareError):
    """One that says of something why it is bad."""

    what: ClassVar[str]

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"bad {self.what}: {printable(self.why, SHOWN_CHARACTERS)}"


class BadImage(_Explained):
    """An application or boot loader that no chip would start.

    Attributes:
        kind: which check it fails, in the order they are made: ``magic`` (first byte), ``chip`` (built for another
            one), ``segments`` (a number of them that cannot be), ``truncated``, ``checksum``, ``hash``; ``program``:
            the image is sound, but the device program stored in it is not.
        why: what was expected, and what is there.
    """

    what = "image"

    def __init__(self, kind: ImageFault, why: str) -> None:
        super().__init__(why)
        self.args = (kind, why)
        self.kind = kind


class BadPartitionTable(_Explained):
    """A partition table that no boot loader would accept.

    Attributes:
        why: what was expected, and what is there.
    """

    what = "partition table"


class NoSuchPartition(BadPartitionTable):
    """The table has no partition with the label that was asked for.

    Attributes:
        label: what was asked for.
        labels: what there is.
    """

    def __init__(self, label: str, labels: Iterable[str]) -> None:
        self.label = label
        self.labels = tuple(labels)
        super().__init__(f"expected a partition {label!r}, there are {', '.join(self.labels) or 'none'}")
        self.args = (label, self.labels)


class BadOtaData(FirmwareError):
    """Less than the two sectors that otadata has to be."""


class BadNvs(FirmwareError):
    """Entries or pages of an NVS partition fail their checks.

    Attributes:
        faults: each with its place, in the order of the pages.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        shown = [printable(fault, SHOWN_CHARACTERS) for fault in self.faults[:SHOWN_FAULTS]]
        more = len(self.faults) - len(shown)
        return "bad NVS: " + "; ".join(shown) + (f"; and {more} more" if more else "")


class BadFileSystem(_Explained):
    """A littlefs partition cannot be mounted, or cannot hold the files.

    Attributes:
        why: what was expected, and what is there.
    """

    what = "littlefs"


class BadBuild(FirmwareError):
    """A build folder cannot be read.

    Attributes:
        path: the file or folder with the fault.
        why: what was expected, what is there, and what to do where that is known.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{printable(self.path, SHOWN_CHARACTERS)}: {printable(self.why, 2 * SHOWN_CHARACTERS)}"


class Unfit(FirmwareError):
    """A build does not fit the board, or its parts do not fit into its own partitions.

    Attributes:
        kind: ``chip`` (made for another one), ``flash_size`` (larger than the board's flash), ``table`` (its partition
            table is bad), ``partition`` (a part is larger than its partition), ``offset`` (a part does not lie where
            the table says), ``overlap`` (two parts in one place), ``image`` (no chip would start it).
        reason: what was expected, and what is there.
    """

    def __init__(self, kind: Misfit, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"the build is refused: {printable(self.reason, 2 * SHOWN_CHARACTERS)}"
