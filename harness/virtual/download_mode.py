"""Download mode, from the reset that enters it to the one that leaves it: frames in, answers and effects out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.virtual import slip
from harness.virtual.loader import Chipset, Effect, LeaveStub, Output, StartStub
from harness.virtual.rom_loader import RomLoader
from harness.virtual.serial_protocol import OHAI, Command, parse
from harness.virtual.slip import SlipDecoder
from harness.virtual.stub_loader import StubLoader


def _unchanged(command: Command) -> Command:
    return command


class DownloadMode:
    """The ROM loader, then a stub, then perhaps the ROM loader again.

    Args:
        chipset: what they work on.
        hears: is given each command before it is done, and returns what arrives of it; None: nothing.
    """

    def __init__(self, chipset: Chipset, hears: Callable[[Command], Command | None] = _unchanged) -> None:
        self._chipset = chipset
        self._hears = hears
        self._decoder = SlipDecoder()
        self._loader: RomLoader | StubLoader = RomLoader(chipset)

    @property
    def is_rom(self) -> bool:
        """The ROM answers, which finds the host's baud rate by itself; a stub does not."""
        return isinstance(self._loader, RomLoader)

    def feed(self, data: bytes) -> Iterator[Output]:
        """Take bytes as they come in, in pieces of any size; yield what is to happen.

        Take what is yielded one by one, and no more after an effect that leaves download mode.

        Raises:
            PowerCut: the supply went off in the middle of a write.
        """
        for frame in self._decoder.feed(data):
            for output in self._answers(frame):
                yield output
                if not isinstance(output, bytes):
                    yield from self._changed_by(output)

    def _answers(self, frame: bytes) -> Iterator[Output]:
        command = parse(frame)
        if command is None:
            return self._loader.acknowledged(frame) if isinstance(self._loader, StubLoader) else iter(())
        heard = self._hears(command)
        return iter(()) if heard is None else self._loader.handle(heard)

    def _changed_by(self, effect: Effect) -> Iterator[Output]:
        if isinstance(effect, StartStub):
            # also on a stub that runs already, as esptool does it after --before no-reset-no-sync
            self._chipset.spi.attach(0)
            self._loader = StubLoader(self._chipset)
            yield slip.encode(OHAI)
        elif isinstance(effect, LeaveStub):
            self._loader = RomLoader(self._chipset)
