"""``python -P -m harness.board.fast_rfc2217 MODULE ARGUMENTS…``: run a module whose ``rfc2217://`` ports are fast ones.

This is how esptool is run: as it is, in a process of its own, which pyserial is made ready for before it starts. A
launcher, and not ``sitecustomize`` on PYTHONPATH: there can be only one such module, so it would take the place of the
site's own, and every Python program that the child starts would get it, too.

``--plain`` before the module leaves pyserial's own client in place, to compare. With ``--gate MAC`` before it, the
module is ended as soon as it prints that it talks to another board: esptool prints the MAC before it changes anything,
and each line reaches this process before esptool goes on. With ``--tied`` before both, it is ended as soon as its input
ends, which is how whoever has started it takes it along, however that ends.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
import threading

import serial

WRONG_BOARD = 77
"""Exit code: the gate was closed. esptool's own are 0, 1 and 2."""
LEFT_ALONE = 78
"""Exit code, which nobody sees: whoever has started it is gone."""

_MAC = re.compile(r"^(?:BASE )?MAC:\s+(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})\s*$")
_BEGUN = ("Uploading stub", "Stub flasher", "Running stub", "Configuring flash", "Flash will be erased", "Erasing")
"""What esptool prints once it has begun; by then the MAC must have been there."""


class Gate(io.TextIOWrapper):
    """A standard output that ends the program when it prints another MAC than the right one, or none in time."""

    mac = ""
    """The right one, in lower case with colons."""
    _line = ""
    _seen = False

    def write(self, text: str) -> int:
        """Pass it on, and look at each line that is complete."""
        count = super().write(text)
        self.flush()
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._look_at(line)
        return count

    def _look_at(self, line: str) -> None:
        if found := _MAC.match(line):
            self._seen = True
            if found["mac"] != self.mac:
                self._close(f"its MAC is {found['mac']}, expected {self.mac}")
        elif not self._seen and line.startswith(_BEGUN):
            self._close(f"it did not print its MAC before it began; expected {self.mac}")

    def _close(self, why: str) -> None:
        sys.stderr.write(f"wsdevice: wrong board: {why}\n")
        sys.stderr.flush()
        sys.exit(WRONG_BOARD)


def tie() -> None:
    """End this process, in the middle of whatever it does, once its input has ended."""

    def until_the_end() -> None:
        while os.read(0, 4096):
            pass
        os._exit(LEFT_ALONE)

    threading.Thread(target=until_the_end, name="end of input", daemon=True).start()


def main() -> None:
    """Run the module that the arguments name, as ``python -m`` would."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--tied"]:
        tie()
        arguments = arguments[1:]
    if arguments[:1] == ["--plain"]:
        arguments = arguments[1:]
    else:
        serial.protocol_handler_packages.insert(0, "harness.board.fast_rfc2217")
    if arguments[:1] == ["--gate"]:
        gate = Gate(sys.stdout.detach(), encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        gate.mac = arguments[1].lower()
        sys.stdout = gate
        arguments = arguments[2:]
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
