"""Which program runs, by what was flashed."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from harness.errors import Misuse
from harness.firmware.chips import CHIPS
from harness.firmware.image import Image
from harness.firmware.made_builds import TABLE
from harness.virtual.programs import BuiltIn, Choice, Command, Script, choose, command, parsed
from tests.harness.virtual.flashed import STORAGE, flashed, image
from tests.harness.virtual.memory import Memory

MAIN = {"main.py": b"print(1)\n", "lib/more.py": b"x = 1\n"}


def chosen(memory: Memory, program: str = "#!builtin firmware") -> Choice:
    """What runs with this flash, and an application that carries this program."""
    return choose(memory, TABLE, Image.parse(image(program=program), CHIPS["esp32s3"]))


def test_default():
    """A build of this package carries the built-in firmware."""
    assert chosen(flashed()) == Choice(BuiltIn("firmware"))


def test_none_in_the_image():
    """So does firmware that carries none, as all real firmware."""
    sound = Image.parse(image(), CHIPS["esp32s3"])
    data = sound.segments[0].data[:256]
    real = msgspec.structs.replace(sound, segments=(sound.segments[0]._replace(data=data),))

    assert choose(flashed(), TABLE, real) == Choice(BuiltIn())


def test_in_the_image():
    """Python source in the image is run."""
    assert chosen(flashed(), "print(2)\n") == Choice(Script({"main.py": b"print(2)\n"}))


def test_options():
    """A built-in program is named with its options."""
    assert parsed("#!builtin firmware acks=false heap_leak=4096\n") == BuiltIn(
        "firmware", ("acks=false", "heap_leak=4096")
    )


def test_littlefs():
    """A flashed main.py comes before the image's program, with all files beside it."""
    assert chosen(flashed(files=MAIN), "print(2)\n") == Choice(
        Script({"lib/more.py": b"x = 1\n", "main.py": b"print(1)\n"})
    )


def test_littlefs_without_main():
    """Files without a main.py are data."""
    assert chosen(flashed(files={"a.txt": b"a"})).program == BuiltIn("firmware")


def test_damaged_littlefs():
    """A littlefs that cannot be mounted is passed over, and that is said."""
    memory = flashed(files=MAIN)
    for block in range(2):
        memory.put(STORAGE.offset + block * 4096 + 16, b"\xaa" * 64)
    choice = chosen(memory)

    assert choice.program == BuiltIn("firmware")
    assert choice.remarks[0].startswith("partition storage is passed over: bad littlefs:")


def test_broken_program_in_the_image():
    """A program that is cut off is passed over, and that is said."""
    broken = image(program="x" * 40).replace(b"WSDEVPRG\x28", b"WSDEVPRG\xff")
    parts = Image.parse(image(), CHIPS["esp32s3"])
    segment = parts.segments[0]._replace(data=broken[32 : 32 + 256 + 52])
    choice = choose(flashed(), TABLE, msgspec.structs.replace(parts, segments=(segment,)))

    assert choice.program == BuiltIn("firmware")
    assert "expected a device program of 255 bytes" in choice.remarks[0]


def test_commands(tmp_path: Path):
    """The built-in firmware is a module, any command is itself."""
    assert command(BuiltIn("firmware", ("acks=false",)), tmp_path) == [
        sys.executable,
        "-m",
        "harness.virtual.firmware",
        "acks=false",
    ]
    assert command(Command(("/bin/true", "1")), tmp_path) == ["/bin/true", "1"]
    with pytest.raises(Misuse, match="expected the built-in program firmware, the image names 'other'"):
        command(BuiltIn("other"), tmp_path)


def test_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files are written, and run by MicroPython where there is one."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    plain = command(Script(MAIN), tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    tiny = command(Script(MAIN), tmp_path)

    assert (tmp_path / "lib" / "more.py").read_bytes() == b"x = 1\n"
    assert plain[-1] == "main.py"
    assert tiny == [*plain, "/usr/bin/micropython"]


def test_file_outside(tmp_path: Path):
    """A file whose path leads out of the program's folder is refused."""
    with pytest.raises(Misuse):
        command(Script({"../evil.py": b""}), tmp_path)
