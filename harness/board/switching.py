"""Supplies that are switched by a program: uhubctl, or commands of the user's own."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence

from gateway.identity import printable
from harness.board.power import Supply
from harness.board.sessions import end_session

SHOWN_CHARACTERS = 200
"""Of what a program said, in an error: its end, where programs say why they failed."""
READ_BYTES = 65536
"""Of what a program says; uhubctl says about 80 bytes a port."""


class CommandFailed(Exception):
    """A program could not be run, took too long, or said that it failed; its text says which."""


def run(command: Sequence[str], seconds: float) -> str:
    """Run a program without input, and return what it said; it and its children are killed when it takes too long.

    Raises:
        CommandFailed: it is not there, took too long, or ended with another code than 0.
    """
    shown = printable(" ".join(command), SHOWN_CHARACTERS)
    # a file, not a pipe: a child that outlives the program would keep a pipe open
    with tempfile.TemporaryFile() as said:
        try:
            running = subprocess.Popen(  # noqa: S603 - the user's own command
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        except OSError as error:
            raise CommandFailed(f"'{shown}' cannot be run: {error.strerror or error}") from error
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"'{shown}' took more than {seconds:g} s, and was killed") from None
        finally:
            end_session(running)
        said.seek(0)
        text = said.read(READ_BYTES).decode("utf-8", "replace")
    if code:
        raise CommandFailed(f"'{shown}' ended with {code}: {printable(text.strip()[-SHOWN_CHARACTERS:])}")
    return text


class ShellCommand(Supply):
    """A supply that is switched by commands of the user's own: of a relay, or of a socket in a network."""

    def switch(self, *, on: bool) -> None:
        """Run the command that switches it on, or off."""
        try:
            run(self.config.on if on else self.config.off, self.config.seconds)
        except CommandFailed as error:
            raise self.failed(on=on, why=str(error)) from error

    def is_on(self) -> bool | None:
        """Run the status command, if there is one: its last word is ``on`` or ``off``."""
        if not self.config.status:
            return None
        try:
            words = run(self.config.status, self.config.seconds).lower().split()
        except CommandFailed as error:
            raise self.failed(on=False, why=f"asking for its state failed: {error}") from error
        if words and words[-1] in {"on", "off"}:
            return words[-1] == "on"
        raise self.failed(on=False, why=f"expected 'on' or 'off' of {self.config.status[0]}, got {' '.join(words)!r}")


# --- uhubctl --------------------------------------------------------------------------------------------------

_HUB = re.compile(r"(?:Current|New) status for hub (\S+)")
_PORT = re.compile(r"\s+Port (\d+): [0-9a-f]{4}([^\[]*)")
_REFUSALS = {
    "No compatible": 'no hub that can be switched is there; is `hub` right? Some need options = ["-f"]',
    "Permission": "this user may not open USB devices; uhubctl's README has the udev rule",
}


def port_states(text: str, port: int) -> dict[str, bool]:
    """Read from what uhubctl says whether a port has power: by hub, the last word of each.

    A USB 3 hub is two hubs with one socket, and both say it. uhubctl 2.1 to 2.6 write it alike.
    """
    states: dict[str, bool] = {}
    hub = ""
    for line in text.splitlines():
        if found := _HUB.match(line):
            hub = found[1]
        elif (found := _PORT.match(line)) and int(found[1]) == port:
            states[hub] = "power" in found[2].split()
    return states


class Uhubctl(Supply):
    """A port of a USB hub that can be switched, by the program uhubctl."""

    def switch(self, *, on: bool) -> None:
        """Have uhubctl switch the port."""
        self._ask("-a", "on" if on else "off", on=on)

    def is_on(self) -> bool:
        """Ask uhubctl; on is a port that has power by any of its hub's two halves."""
        return any(self._ask(on=False).values())

    def _ask(self, *action: str, on: bool) -> dict[str, bool]:
        config = self.config
        command = [config.program, "-l", config.hub, "-p", str(config.port), *config.options, *action]
        try:
            said = run(command, config.seconds)
        except CommandFailed as error:
            advice = next((f"; {advice}" for sign, advice in _REFUSALS.items() if sign in str(error)), "")
            raise self.failed(on=on, why=f"{error}{advice}") from error
        states = port_states(said, config.port)
        if not states:
            raise self.failed(
                on=on, why=f"uhubctl says nothing of port {config.port} of hub {config.hub}: {printable(said.strip())}"
            )
        return states
