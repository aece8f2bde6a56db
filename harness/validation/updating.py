"""The scenarios of updates: the gateway's own OTA endpoint serves images to the board, whose power goes in between.

The board begins with an older version: the build's own image, but for the number. It is offered the build; then newer
versions, which are the build again, but for their number, and bad ones. At the end the build is written anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.http.images import numeric_version
from harness.bench.held_board import HeldBoard
from harness.bench.rig_control import RigControl
from harness.board.bring_up import STAGES
from harness.board.console_lines import Line
from harness.board.errors import BoardCrashed, BringUpFailed, LineMissing
from harness.board.power import PowerFailed
from harness.errors import HarnessError
from harness.firmware.build import Build
from harness.report.record import Scenario, Verdict
from harness.validation.changed_images import crashing, damaged, version_after, with_version
from harness.validation.observing import NotBack, Observation

OLDEST = "0.0.0"
"""Of the version that the board begins with: older than whatever it is offered."""
UPDATES = 300.0
"""Seconds for an update: 4 MiB at 30 KiB/s, and a start."""
_VERSION = re.compile(r"App version: +(\S+)")
_NAME = re.compile(r"\bSKU=(\S+)")
_KEEPS = re.compile(r"Marking firmware as valid")
_WRITES = "Writing to partition"
_IN_THE_MIDDLE = 4096 + 16  # bytes: one sector erased, and a first piece of the image in it


class _Failed(HarnessError):
    """What had to hold does not."""


Tell = Callable[[Scenario], None]


class Updating:
    """Updates one board.

    Args:
        held: the board, online.
        observation: of it.
        images: the directory from which its gateway serves.
        tell: is told each scenario that is over.
    """

    def __init__(self, held: HeldBoard, observation: Observation, images: Path, tell: Tell) -> None:
        self._held = held
        self._seen = observation
        self._images = images
        self._tell = tell
        self._since = 0
        self._began = 0.0

    def run(self, build: Build) -> str:
        """Run all scenarios; the first that fails is the last. Return why there are none; empty: there are.

        Raises:
            PowerFailed, PortFailed, FlashFailed: of the rig.
        """
        version = build.descriptor.version if build.descriptor else ""
        if numeric_version(version) is None:
            return f"its version {version!r} is not numbers parted by dots: no gateway may offer it"
        if len(build.table.ota_slots) < 2 or build.table.otadata is None:
            return "its partition table has no second slot"
        if self._held.power.kind == "none":
            return "its power cannot be cut"
        image = build.application.data
        older = _with_application(build, with_version(image, OLDEST), OLDEST)
        newer = [version_after(version, steps) for steps in range(1, 5)]
        self._images.mkdir(exist_ok=True)
        try:
            self._held.have(older)
            name = self._board_name()
            steps: tuple[tuple[str, str, Callable[[], None]], ...] = (
                (
                    "update",
                    "It loads the build, starts it, announces it, and keeps it over a reset.",
                    lambda: self._updates(name, image, version),
                ),
                (
                    "power_cut_in_the_update",
                    "Power that goes in mid-update leaves the version before, and costs a retry.",
                    lambda: self._cut_in_the_update(name, with_version(image, newer[0]), version, newer[0]),
                ),
                (
                    "power_cut_on_first_boot",
                    "Power that goes before it has come online takes it back to the version before.",
                    lambda: self._cut_on_first_boot(name, with_version(image, newer[1]), newer[0], newer[1]),
                ),
                (
                    "damaged_image",
                    "An image that was damaged is not started.",
                    lambda: self._refuses(name, damaged(with_version(image, newer[2])), newer[1], newer[2]),
                ),
                (
                    "crashing_image",
                    "A version that crashes at its start is given up for the version before.",
                    lambda: self._rolls_back(name, crashing(image, build.chip, newer[3]), newer[1], newer[3]),
                ),
            )
            for step, doc, work in steps:
                if not self._scenario(f"ota::{step}", doc, work):
                    break
        finally:
            self._clear()
            self._restore(build)
        return ""

    # --- scenarios ----------------------------------------------------------------------------------------------

    def _updates(self, name: str, image: bytes, version: str) -> None:
        with self._offered(name, image, version):
            self._reset()
            self._online()
            self._expect_running(version, "after the update")
        self._reset()
        self._online()
        self._expect_running(version, "after one more reset: it was not kept, nobody has marked it as valid")

    def _cut_in_the_update(self, name: str, image: bytes, before: str, version: str) -> None:
        with self._offered(name, image, version):
            control = RigControl(self._held.config) if self._held.config.control else None
            if control is not None:
                control.cut_power_after(_IN_THE_MIDDLE)
            self._reset()
            self._held.console.expect(_WRITES, UPDATES, since=self._since)
            if control is not None:
                _until(lambda: not control.powered(), "its power to be cut in the middle of the update")
            self._power_cycle()
            first = self._version(0)
            if first != before:
                raise _Failed(f"expected {before} to run after the power cut, it is {first}")
            self._online()
            self._expect_running(version, "after the update was tried again")

    def _cut_on_first_boot(self, name: str, image: bytes, before: str, version: str) -> None:
        with self._offered(name, image, version):
            self._reset()
            self._held.console.expect(_starts(version), UPDATES, since=self._since)
        self._lose()
        self._held.board.power_off()
        kept = any(_KEEPS.search(line.text) for line in self._held.console.lines(self._since))
        self._power_cycle()
        self._online()
        # where it was quicker than the switch, it has called itself good before, and stays
        self._expect_running(version if kept else before, "after a power cut on its first boot")
        with self._offered(name, image, version):
            self._reset()
            self._online()
            self._expect_running(version, "after the update was tried again")

    def _refuses(self, name: str, image: bytes, before: str, version: str) -> None:
        with self._offered(name, image, version):
            self._reset()
            self._held.console.expect(_WRITES, UPDATES, since=self._since)
            self._online()
        self._expect_running(before, "after it was offered a damaged image")

    def _rolls_back(self, name: str, image: bytes, before: str, version: str) -> None:
        with self._held.may_crash():
            with self._offered(name, image, version):
                self._reset()
                self._held.console.expect(_starts(version), UPDATES, since=self._since)
            self._online()
        self._expect_running(before, "after a version that crashes")

    # --- parts --------------------------------------------------------------------------------------------------

    def _scenario(self, name: str, doc: str, work: Callable[[], None]) -> bool:
        """Run one, and tell what came of it; whether it passed."""
        began, first = time.monotonic(), self._held.console.position
        blames: Verdict | None = None
        message = ""
        try:
            work()
        except PowerFailed:
            raise
        except (_Failed, LineMissing, NotBack, BoardCrashed, BringUpFailed) as error:
            message, blames = str(error), getattr(error, "verdict", "firmware")
        ended = time.monotonic()
        rows = tuple(_row(line, began, self._held.id) for line in self._held.console.lines(first))
        self._tell(
            Scenario(
                name,
                doc,
                "failed" if message else "passed",
                ended - began,
                message,
                blames,
                "updates",
                rows,
                failed_at=ended - began if message else None,
            )
        )
        return not message

    def _reset(self) -> None:
        """Reset it, without waiting for anything."""
        self._lose()
        self._since = self._held.board.reset()

    def _power_cycle(self) -> None:
        self._lose()
        self._held.board.power_off()
        self._since = self._held.board.power_on()

    def _lose(self) -> None:
        self._held.lose_connection()
        self._began = time.monotonic()

    def _online(self) -> None:
        """Wait for it to be at the gateway in the life of which it has told last."""
        self._seen.await_greeted(self._began, UPDATES, "it to come to the gateway")

    def _version(self, place: int) -> str:
        """Return the version that was started, by its place among the starts since the reset."""
        if place == 0:
            return _version_in(self._held.console.expect("App version: ", UPDATES, since=self._since))
        found = [match[1] for line in self._held.console.lines(self._since) if (match := _VERSION.search(line.text))]
        return found[place] if found else ""

    def _expect_running(self, version: str, when: str) -> None:
        running = self._version(-1)
        if running != version:
            raise _Failed(f"expected {version} to run, {running or 'nothing'} does {when}")

    def _board_name(self) -> str:
        """Return the name that its images go by, as its console tells."""
        line = self._held.console.expect(_NAME, UPDATES, since=self._held.board.reset_at)
        found = _NAME.search(line.text)
        assert found is not None, "it was waited for"
        return found[1]

    @contextmanager
    def _offered(self, name: str, image: bytes, version: str) -> Iterator[None]:
        """Have the gateway offer an image in here, and none afterwards."""
        part = self._images / "being-written"
        part.write_bytes(image)
        part.rename(self._images / f"{name}_{version}.bin")
        try:
            yield
        finally:
            self._clear()

    def _clear(self) -> None:
        for file in self._images.glob("*.bin"):
            file.unlink()

    def _restore(self, build: Build) -> None:
        """Have the build on it again; what updates have left is not what was written last."""
        self._held.board.bring_up.fell_back(STAGES[0])
        self._held.have(build, fresh="flash")


def _version_in(line: Line) -> str:
    found = _VERSION.search(line.text)
    return found[1] if found else ""


def _starts(version: str) -> re.Pattern[str]:
    return re.compile(rf"App version: +{re.escape(version)}")


def _until(holds: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise _Failed(f"expected {what}, not after {seconds:g} s")
        time.sleep(0.05)


def _with_application(build: Build, image: bytes, version: str) -> Build:
    """Return a build with another application in it."""
    parts = tuple(
        msgspec.structs.replace(part, data=image, path=None) if part.role == "application" else part
        for part in build.parts
    )
    about = msgspec.structs.replace(build.descriptor, version=version) if build.descriptor else None
    return msgspec.structs.replace(build, parts=parts, descriptor=about)


def _row(line: Line, began: float, board: str) -> dict[str, Any]:
    at = round(max(0.0, line.at - began), 6)
    if line.kind == "said":
        return {"at": at, "kind": "console", "source": board, "target": "", "line": line.text}
    return {"at": at, "kind": "lifecycle", "source": board, "target": "", "what": line.text}
