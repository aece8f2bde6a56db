"""Makes NVS partitions with Espressif's generator (esp-idf-nvs-partition-gen), which is in the extra ``hil``.

It is Apache-2.0 and has functions for other programs, so it is imported rather than run. Its command wants a CSV file
and writes the image to another; as functions it works in memory, and the Wi-Fi password that is in there is in no
argument list and in no file that could be left behind.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self, TypeAlias

from harness.errors import Misuse
from harness.firmware.errors import NotInstalled
from harness.firmware.nvs import NAME_CHARACTERS, PAGE_BYTES, NvsItem, NvsType

LEAST_PAGES = 3
"""Firmware writes only where it finds a free page beside those in use; the generator keeps one free, too."""
STRING_BYTES = 3968
"""Of a string at most, its NUL included: NVS takes 4000, but the generator leaves the last entry of a page free."""
NAMESPACES = 254
"""At most; their numbers are one byte, and 0 and 255 mean something else."""


class Integer(int):
    """An integer with the size and sign that firmware asks for it with; one of `U8` to `I64`."""

    type: ClassVar[NvsType]
    least: ClassVar[int]
    greatest: ClassVar[int]

    def __new__(cls, value: int) -> Self:
        """Make one.

        Raises:
            Misuse: the value is out of the type's range.
        """
        if not cls.least <= value <= cls.greatest:
            raise Misuse(f"expected {cls.type} from {cls.least} to {cls.greatest}, got {value}")
        return super().__new__(cls, value)


class U8(Integer):
    """``nvs_get_u8``; the xiaozhi firmware's Booleans."""

    type, least, greatest = "u8", 0, 2**8 - 1


class I8(Integer):
    """``nvs_get_i8``."""

    type, least, greatest = "i8", -(2**7), 2**7 - 1


class U16(Integer):
    """``nvs_get_u16``."""

    type, least, greatest = "u16", 0, 2**16 - 1


class I16(Integer):
    """``nvs_get_i16``."""

    type, least, greatest = "i16", -(2**15), 2**15 - 1


class U32(Integer):
    """``nvs_get_u32``."""

    type, least, greatest = "u32", 0, 2**32 - 1


class I32(Integer):
    """``nvs_get_i32``; the xiaozhi firmware's integers."""

    type, least, greatest = "i32", -(2**31), 2**31 - 1


class U64(Integer):
    """``nvs_get_u64``."""

    type, least, greatest = "u64", 0, 2**64 - 1


class I64(Integer):
    """``nvs_get_i64``."""

    type, least, greatest = "i64", -(2**63), 2**63 - 1


INTEGERS: dict[NvsType, type[Integer]] = {kind.type: kind for kind in (U8, I8, U16, I16, U32, I32, U64, I64)}

Value: TypeAlias = str | bytes | Integer
"""What a key can have: a string, a blob, or an integer of a stated type."""


def generate(values: Mapping[str, Mapping[str, Value]], size: int, *, version: int = 2) -> bytes:
    """Return an NVS partition with these values by namespace and key.

    Args:
        values: keys and namespaces have 1 to 15 characters of ASCII.
        size: of the partition in bytes: whole pages of 0x1000, at least 3.
        version: of the format: 2, or 1, whose blobs end with the page.

    Raises:
        Misuse: a name, a value or the size that NVS does not allow, or more than there is room for. No value is ever
            in the text: it may be a password.
        NotInstalled: the generator is missing.
    """
    try:
        from esp_idf_nvs_partition_gen import nvs_partition_gen as generator  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise NotInstalled("making an NVS image", "esp-idf-nvs-partition-gen") from None
    if size % PAGE_BYTES or size < LEAST_PAGES * PAGE_BYTES:
        raise Misuse(
            f"expected an NVS partition of {LEAST_PAGES} or more pages of {PAGE_BYTES:#x}, got {size:#x} bytes"
        )
    if version not in {1, 2}:
        raise Misuse(f"expected version 1 or 2 of NVS, got {version}")
    rows = list(_rows(values))
    out = io.BytesIO()
    code = generator.Page.VERSION1 if version == 1 else generator.Page.VERSION2
    try:
        # without the one page that is kept free, as its command does it
        partition = generator.nvs_open(out, size - PAGE_BYTES, code)
        for key, encoding, value in rows:
            if encoding == "namespace":
                partition.write_namespace(key)
            else:
                # the method, not the module's function of the same name, which adds keys of its own to some
                partition.write_entry(key, value, encoding, partition.get_namespace_idx())
        generator.nvs_close(partition)
    except generator.InsufficientSizeError:
        raise Misuse(f"expected values that fit into {size:#x} bytes of NVS, there are more") from None
    except generator.InputError:
        raise Misuse("expected strings and blobs of at most 1984 bytes in version 1, there is a longer one") from None
    return out.getvalue()


def typed(items: tuple[NvsItem, ...]) -> dict[str, dict[str, Value]]:
    """Turn what was read (`nvs.examine`) into what can be written again, each integer in its type."""
    values: dict[str, dict[str, Value]] = {}
    for item in items:
        value = INTEGERS[item.type](item.value) if isinstance(item.value, int) else item.value
        values.setdefault(item.namespace, {})[item.key] = value
    return values


def _rows(values: Mapping[str, Mapping[str, Value]]) -> Iterator[tuple[str, str, object]]:
    """Return key, encoding and value of each entry, in the words of the generator."""
    if len(values) > NAMESPACES:
        raise Misuse(f"expected at most {NAMESPACES} namespaces, got {len(values)}")
    for namespace, members in values.items():
        _check_name("a namespace", namespace)
        yield namespace, "namespace", ""
        for key, value in members.items():
            _check_name(f"a key in {namespace}", key)
            yield (key, *_encoded(f"{namespace}.{key}", value))


def _encoded(place: str, value: Value) -> tuple[str, object]:
    if isinstance(value, Integer):
        return value.type, value
    if isinstance(value, bytes):
        return "hex2bin", value.hex()
    if not isinstance(value, str):
        raise Misuse(f"{place}: expected str, bytes or one of U8 to I64, got {type(value).__name__}")
    if "\0" in value or len(value.encode()) >= STRING_BYTES:
        raise Misuse(f"{place}: expected a string of at most {STRING_BYTES - 1} bytes, without NUL")
    return "string", value


def _check_name(what: str, name: str) -> None:
    if not (1 <= len(name) <= NAME_CHARACTERS and name.isascii() and name.isprintable()):
        raise Misuse(f"expected {what} of 1 to {NAME_CHARACTERS} printable ASCII characters, got {name!r}")
