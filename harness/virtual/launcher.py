"""Starts a device program so that it ends with the process that runs the board, however that ends.

Run as a program: the id of that process, the folder of the modules that stand for a chip's own, the program, and an
interpreter for it, if it is not to be this one. Nothing of the harness is imported: it is on no path here.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Run it; does not return where another interpreter does."""
    parent, modules, program, *interpreter = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            return  # it has ended already
    if interpreter:
        os.environ["MICROPYPATH"] = f"{os.getcwd()}:{modules}:.frozen"  # noqa: PTH109 - pathlib costs start-up time
        os.execv(interpreter[0], [interpreter[0], program])  # noqa: S606
    sys.path[:0] = [os.getcwd(), modules]  # noqa: PTH109
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
