"""The two transistors and two buttons between the modem lines of a board's serial port and the pins EN and IO0.

====  ====  =====  =====
DTR   RTS   EN     IO0
====  ====  =====  =====
off   off   high   high
on    off   high   low
off   on    low    high
on    on    high   high
====  ====  =====  =====

(ESP32-DevKitC schematic, "auto program".) A button pulls its pin low, whatever the lines are.
"""

from __future__ import annotations

HOLD = 0.6
"""Seconds that EN stays low after the lines went from a reset to "both on".

Hosts set one line after the other. On their way from "RTS" (reset) to "DTR" (download mode) both are on for a moment,
and EN would rise while IO0 is still high. On a board the capacitor at EN bridges that moment, which is short there;
over RFC 2217 each change of a line takes a round trip, 50 ms with pyserial, and more on a busy machine. The next
change decides; a host that leaves both on gets a chip that runs.
"""


class ResetCircuit:
    """The levels of both pins. Time is handed in, in seconds of any clock.

    Attributes:
        dtr, rts: the modem lines, true where asserted.
        reset_pressed, boot_pressed: the buttons.
        in_reset: EN is low, or still held low.
        held_until: when EN rises by itself; None: it is not held.
    """

    def __init__(self) -> None:
        self.dtr = False
        self.rts = False
        self.reset_pressed = False
        self.boot_pressed = False
        self.in_reset = False
        self.held_until: float | None = None

    @property
    def io0_low(self) -> bool:
        """IO0 is pulled low: where EN rises now, the chip goes to download mode; where it runs, it sees its button."""
        return self.boot_pressed or (self.dtr and not self.rts)

    def change(
        self,
        now: float,
        *,
        dtr: bool | None = None,
        rts: bool | None = None,
        reset_pressed: bool | None = None,
        boot_pressed: bool | None = None,
    ) -> None:
        """Change some of the lines and buttons, all at once; None: as it is. `in_reset` says what came of it."""
        self.dtr = self.dtr if dtr is None else dtr
        self.rts = self.rts if rts is None else rts
        self.reset_pressed = self.reset_pressed if reset_pressed is None else reset_pressed
        self.boot_pressed = self.boot_pressed if boot_pressed is None else boot_pressed
        if self.reset_pressed or (self.rts and not self.dtr):
            self.in_reset, self.held_until = True, None
        elif self.in_reset and self.dtr and self.rts:
            self.held_until = now + HOLD if self.held_until is None else self.held_until
        else:
            self.in_reset, self.held_until = False, None

    def pass_time(self, now: float) -> None:
        """Let EN rise if its time has come."""
        if self.held_until is not None and now >= self.held_until:
            self.in_reset, self.held_until = False, None
