"""What a device needs of its board beside the console, and what it can be asked for with that."""

from __future__ import annotations

from typing import Protocol

from harness.device import Capability

_ORDERED: dict[Capability, str] = {  # what can be asked for, and the order that it takes
    "send": "send",
    "audio": "audio",
    "frames": "frame",
    "close": "close",
    "cut": "cut",
    "vanish": "vanish",
    "provision": "provision",
}


def able(rig: frozenset[Capability], verbs: frozenset[str]) -> frozenset[Capability]:
    """Return what a board can be asked for, by what its rig can do and the orders its firmware takes."""
    return rig | {asked for asked, verb in _ORDERED.items() if verb in verbs}


class BoardHandle(Protocol):
    """One board; the calls may take long, and are awaited.

    Attributes:
        capabilities: ``power``, ``reset``, as far as the rig has them.
    """

    capabilities: frozenset[Capability]

    async def power_off(self) -> None:
        """Take its power, so that nobody is told."""

    async def power_on(self) -> None:
        """Give it power, and wait until its firmware takes orders, or is online, if it takes none."""

    async def reset(self) -> None:
        """Press its reset button, and wait likewise."""

    async def wake(self) -> None:
        """Have firmware that takes no orders connect anew: xiaozhi firmware does when its BOOT button is clicked.

        Raises:
            Misuse: the rig cannot.
        """

    def distrust(self) -> None:
        """Have it reset before another test gets it."""
