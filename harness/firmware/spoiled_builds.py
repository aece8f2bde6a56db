"""Spoils builds, one fault at a time: for seeing that a fault is found, by a board or before one is touched.

Each spoiling works on a build folder of ESP-IDF's layout, in place; make a copy first. What is not spoiled is put right
again: an image with a wrong checksum has the right hash for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import Misuse
from harness.firmware.errors import BadBuild, FirmwareError, Unfit
from harness.firmware.esp_idf import LIST
from harness.firmware.image import HASH_BYTES, Image
from harness.firmware.partition_table import ENTRY_BYTES, PartitionTable


class Spoiling(NamedTuple):
    """One way to spoil a build.

    Attributes:
        what: is wrong then.
        spoil: does it to a build folder.
        refusal: what `find_build` or `fits` then raises.
        kind: of an `Unfit`; empty for a `BadBuild`.
    """

    what: str
    spoil: Callable[[Path], None]
    refusal: type[FirmwareError]
    kind: str = ""


def spoil(folder: Path, name: str) -> Spoiling:
    """Spoil a build in place, and return what was done.

    Raises:
        Misuse: no spoiling has this name; those there are.
    """
    if name not in SPOILINGS:
        raise Misuse(f"expected one of {', '.join(SPOILINGS)}, got {name!r}")
    SPOILINGS[name].spoil(folder)
    return SPOILINGS[name]


# --- the application's image ----------------------------------------------------------------------------------------


def _wrong_magic(folder: Path) -> None:
    _change(_application(folder), lambda image: b"\0" + image[1:])


def _checksum_flipped(folder: Path) -> None:
    _change(_application(folder), lambda image: _hashed(image[: -HASH_BYTES - 1] + bytes([image[-HASH_BYTES - 1] ^ 1])))


def _hash_flipped(folder: Path) -> None:
    _change(_application(folder), lambda image: image[:-1] + bytes([image[-1] ^ 1]))


def _truncated(folder: Path) -> None:
    _change(_application(folder), lambda image: image[: len(image) // 2])


def _wrong_chip(folder: Path) -> None:
    other = 5 if Image.parse(_application(folder).read_bytes()).chip_id != 5 else 9
    _change(_application(folder), lambda image: _hashed(image[:12] + bytes([other, 0]) + image[14:-HASH_BYTES]))


def _image_too_large(folder: Path) -> None:
    slot = _table(folder).applications[0]
    _change(_application(folder), lambda image: image.ljust(slot.size + 1, b"\xff"))


# --- what goes where ------------------------------------------------------------------------------------------------


def _overlapping_parts(folder: Path) -> None:
    def change(args: dict[str, Any]) -> None:
        # another spelling of the same offset
        args["flash_files"][str(int(args["app"]["offset"], 0))] = "partition_table/partition-table.bin"

    _change_list(folder, change)


def _bootloader_too_large(folder: Path) -> None:
    _change(folder / "bootloader/bootloader.bin", lambda image: image.ljust(0x8001, b"\xff"))


def _application_elsewhere(folder: Path) -> None:
    _move_application(folder, _table(folder).applications[0].offset + 0x10000)


def _application_in_second_slot(folder: Path) -> None:
    _move_application(folder, _table(folder).applications[1].offset)


def _table_md5_wrong(folder: Path) -> None:
    def change(table: bytes) -> bytes:
        at = ENTRY_BYTES * len(PartitionTable.parse(table).entries) + ENTRY_BYTES - 1
        return table[:at] + bytes([table[at] ^ 1]) + table[at + 1 :]

    _change(folder / "partition_table/partition-table.bin", change)


def _overlapping_partitions(folder: Path) -> None:
    table = _table(folder)
    first, second, *rest = table.entries
    moved = type(second)(second.label, second.type, second.subtype, first.end - 0x1000, second.size)
    (folder / "partition_table/partition-table.bin").write_bytes(PartitionTable((first, moved, *rest)).to_bytes())


def _partition_behind_flash(folder: Path) -> None:
    table = _table(folder)
    *rest, last = table.entries
    grown = type(last)(last.label, last.type, last.subtype, last.offset, last.size + 0x1000)
    (folder / "partition_table/partition-table.bin").write_bytes(PartitionTable((*rest, grown)).to_bytes())


# --- the folder -----------------------------------------------------------------------------------------------------


def _missing_file(folder: Path) -> None:
    _application(folder).unlink()


def _list_not_json(folder: Path) -> None:
    _change(folder / LIST, lambda text: text[: len(text) // 2])


def _list_without_application(folder: Path) -> None:
    _change_list(folder, lambda args: args.pop("app"))


SPOILINGS: dict[str, Spoiling] = {
    "wrong-magic": Spoiling("first byte of the application is 0x00", _wrong_magic, Unfit, "image"),
    "checksum-flipped": Spoiling("a bit of the application's checksum", _checksum_flipped, Unfit, "image"),
    "hash-flipped": Spoiling("a bit of the application's SHA-256", _hash_flipped, Unfit, "image"),
    "truncated": Spoiling("half of the application is missing", _truncated, Unfit, "image"),
    "wrong-chip": Spoiling("the application's header names another chip", _wrong_chip, Unfit, "chip"),
    "image-too-large": Spoiling("the application is larger than its slot", _image_too_large, Unfit, "partition"),
    "bootloader-too-large": Spoiling(
        "the boot loader reaches into the partition table", _bootloader_too_large, Unfit, "partition"
    ),
    "overlapping-parts": Spoiling(
        "a second file goes to the application's place", _overlapping_parts, Unfit, "overlap"
    ),
    "application-elsewhere": Spoiling("the application begins inside a slot", _application_elsewhere, Unfit, "offset"),
    "application-in-second-slot": Spoiling(
        "otadata chooses another slot than the application's", _application_in_second_slot, Unfit, "offset"
    ),
    "overlapping-partitions": Spoiling("otadata lies inside of NVS", _overlapping_partitions, Unfit, "table"),
    "partition-behind-flash": Spoiling(
        "the last partition ends behind the flash", _partition_behind_flash, Unfit, "flash_size"
    ),
    "table-md5-wrong": Spoiling("a bit of the partition table's MD5", _table_md5_wrong, BadBuild),
    "missing-file": Spoiling("the application's file is not there", _missing_file, BadBuild),
    "list-not-json": Spoiling("flasher_args.json is cut off", _list_not_json, BadBuild),
    "list-without-application": Spoiling("flasher_args.json has no app", _list_without_application, BadBuild),
}
"""By name."""


def _change(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _change_list(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    args = json.loads((folder / LIST).read_bytes())
    change(args)
    (folder / LIST).write_text(json.dumps(args, indent=4) + "\n")


def _move_application(folder: Path, offset: int) -> None:
    def change(args: dict[str, Any]) -> None:
        del args["flash_files"][args["app"]["offset"]]
        args["app"]["offset"] = hex(offset)
        args["flash_files"][hex(offset)] = args["app"]["file"]

    _change_list(folder, change)


def _application(folder: Path) -> Path:
    return folder / str(json.loads((folder / LIST).read_bytes())["app"]["file"])


def _table(folder: Path) -> PartitionTable:
    return PartitionTable.parse((folder / "partition_table/partition-table.bin").read_bytes())


def _hashed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()
