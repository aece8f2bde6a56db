"""A schedule: what goes wrong, and when. It can be printed, written as JSON, read, and played again.

After its faults everything is made good, and a quiet phase begins, in which whatever was promised has to come true.
"""

from __future__ import annotations

import msgspec

from harness.errors import Misuse
from harness.faults.vocabulary import GATEWAY, AnyFault, Fault, Heal, PowerOn, StartGateway, WifiOn

QUIET = 30.0
"""Seconds in which all must be well again: one give-up of a device (10 s), one pause before it connects again (a few),
one retry of a message (8 s at most)."""
CALM: tuple[Fault, ...] = (Heal(), WifiOn(), PowerOn(), PowerOn(on=GATEWAY), StartGateway())
"""What makes everything good again, as far as a ground can do it; connections that are dead stay dead."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault, and when.

    Attributes:
        at: seconds from the beginning; with ``after``, from that moment.
        fault: what.
        after: a moment (`harness.faults.moments`); empty: the beginning.
        nth: the how-manieth of these moments, from 1.
        since: seconds from the beginning; moments before that are not counted.
    """

    at: float
    fault: AnyFault
    after: str = ""
    nth: int = 1
    since: float = 0.0

    def __str__(self) -> str:
        if not self.after:
            return f"{self.at:9.4f} s  {self.fault}"
        since = f" since {self.since:.4f} s" if self.since else ""
        return f"{self.at:+9.4f} s  {self.fault}  (after {self.after}, number {self.nth}{since})"


class Schedule(msgspec.Struct, frozen=True):
    """What goes wrong, and when.

    Attributes:
        name: of the kind of schedule.
        seed: what it was drawn from.
        steps: in the order in which they come, those that wait for a moment last.
        seconds: after which everything is made good, whatever has happened by then.
        quiet: seconds after that in which everything must be well again.
    """

    name: str
    seed: int
    steps: tuple[Step, ...]
    seconds: float
    quiet: float = QUIET

    def __str__(self) -> str:
        head = f"{self.name}, seed {self.seed}: {self.seconds:g} s of faults, then {self.quiet:g} s without"
        return "\n".join([head, *map(str, self.steps)])

    def to_json(self) -> bytes:
        """Write it."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Schedule:
        """Read what `to_json` has written.

        Raises:
            Misuse: it is not that.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise Misuse(f"expected a schedule as JSON, got something else: {error}") from None
