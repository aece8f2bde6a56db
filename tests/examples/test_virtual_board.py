"""A virtual board: esptool writes to it, and the test looks at its flash and at what happened to it."""

import subprocess
import sys

from harness.virtual.access_point import AccessPoint
from harness.virtual.board import VirtualBoard
from harness.virtual.boot import Booting
from harness.virtual.events import Recorder, Reset

ESPTOOL = [sys.executable, "-m", "harness.board.fast_rfc2217", "esptool"]


def test_esptool_writes_to_the_board(tmp_path):
    """What it writes is on the flash, and at its end it has the board boot."""
    file = tmp_path / "data.bin"
    file.write_bytes(b"any 13 bytes.")
    seen = Recorder()
    with VirtualBoard("esp32s3", boot=Booting(AccessPoint("lab", "secret")), watch=seen) as board:
        port = board.rfc2217()
        board.power_on()

        subprocess.run([*ESPTOOL, "--port", port.url, "write-flash", "0x9000", str(file)], check=True)

        assert board.flash.read(0x9000, 13) == b"any 13 bytes."
        assert [reset.download for reset in seen.of(Reset)][-2:] == [True, False]
