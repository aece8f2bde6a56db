"""What a virtual board runs after each reset: to be given to `VirtualBoard` as its ``boot``.

::

    booting = Booting(AccessPoint("lab", "secret"))
    with VirtualBoard("esp32s3", boot=booting) as board: ...
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import Misuse
from harness.virtual.access_point import AccessPoint
from harness.virtual.machine import ROM_SILENCE, Machine, ResetCause, Running
from harness.virtual.misbehaviour import Misdeed, misbehave
from harness.virtual.programs import Program
from harness.virtual.run import Run, RunSettings

FROM_FLASH = None
"""What was flashed decides which program runs; see `harness.virtual.programs`."""
_LOSES_STATE: frozenset[ResetCause] = frozenset({"power_on", "brown_out"})


class Booting:
    """Starts what is on the flash of one board; `harness.virtual.machine.Boot`.

    Args:
        access_point: what its Wi-Fi hears; one, several, or none.
        program: runs in place of what the flash says, once an application has been found in order.
        silence_seconds: from the end of a reset to the first byte; see `ROM_SILENCE`.
        rollback: whether its boot loader gives up an application that was not confirmed at its second start.
        boot_loader_log: whether its boot loader prints anything; that of the xiaozhi firmware does not.
    """

    def __init__(
        self,
        access_point: AccessPoint | Sequence[AccessPoint] = (),
        program: Program | None = FROM_FLASH,
        *,
        silence_seconds: float = ROM_SILENCE,
        rollback: bool = True,
        boot_loader_log: bool = True,
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="wsdevice-board-"))
        points = (access_point,) if isinstance(access_point, AccessPoint) else tuple(access_point)
        self._settings = RunSettings(points, program, silence_seconds, rollback, boot_loader_log, folder)
        # what runs holds the settings, and so its folder, even where nobody holds this any more
        self._remove = weakref.finalize(self._settings, shutil.rmtree, folder, ignore_errors=True)
        self._lock = threading.Lock()
        self._run: Run | None = None

    def __call__(self, machine: Machine, cause: ResetCause) -> Running:
        """Start what is on the flash."""
        state = self._settings.state_folder
        if cause in _LOSES_STATE:
            shutil.rmtree(state, ignore_errors=True)
        state.mkdir(exist_ok=True)
        run = Run(machine, cause, self._settings)
        with self._lock:
            self._run = run
        run.start()
        return run

    def misbehave(self, what: Misdeed, **how: Any) -> None:
        """Have what runs now do something wrong; see `Misdeed`. What has ended already does nothing more.

        Raises:
            Misuse: no application runs, or there is no such misdeed, or not with these arguments.
        """
        with self._lock:
            run = self._run
        if run is None:
            raise Misuse("expected a board that was switched on")
        misbehave(run, what, how)

    def close(self) -> None:
        """Remove its files; for when its board is closed. Idempotent, and done at the latest when it is collected."""
        self._remove()
