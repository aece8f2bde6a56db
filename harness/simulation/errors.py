"""What ends a simulation.

::

    SimulationStopped
    ├── Deadlock        nothing can ever happen again, and the main task is not done
    ├── Livelock        things happen without end, and the clock stands still
    ├── LimitPassed     it took longer than it was given, in virtual or in real time
    └── Escape          the code under test reached for the real world

None of them is an `Exception`: what runs in the simulation must not be able to catch them and go on.
"""

from __future__ import annotations


class SimulationStopped(BaseException):
    """The simulation cannot go on."""


class Deadlock(SimulationStopped):
    """Every task waits and no timer is set; the text says who waits for what.

    Attributes:
        waiting: one line for each task.
    """

    def __init__(self, waiting: tuple[str, ...]) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return "\n  ".join(("every task waits and no timer is set, so nothing can ever happen again:", *self.waiting))


class Livelock(SimulationStopped):
    """The loop turns without end and the clock does not move; the text says what keeps it turning.

    Attributes:
        turns: of the loop, at this moment of virtual time.
        now: that moment.
        ready: what would have run next.
        waiting: one line for each task, those that would have run included.
    """

    def __init__(self, turns: int, now: float, ready: tuple[str, ...], waiting: tuple[str, ...]) -> None:
        super().__init__(turns, now, ready, waiting)
        self.turns = turns
        self.now = now
        self.ready = ready
        self.waiting = waiting

    def __str__(self) -> str:
        head = f"{self.turns} turns of the loop at {self.now:.6f} s, and the clock does not move; ready is:"
        return "\n  ".join((head, *self.ready, "the tasks are:", *self.waiting))


class LimitPassed(SimulationStopped):
    """The simulation took longer than it was given; the text says who waits for what.

    Attributes:
        limit: which one, and how much it is.
        now: the virtual time.
        waiting: one line for each task.
    """

    def __init__(self, limit: str, now: float, waiting: tuple[str, ...]) -> None:
        super().__init__(limit, now, waiting)
        self.limit = limit
        self.now = now
        self.waiting = waiting

    def __str__(self) -> str:
        head = f"the simulation passed its limit of {self.limit}; it is {self.now:.3f} s, and these wait:"
        return "\n  ".join((head, *self.waiting))


class Escape(SimulationStopped):
    """The code under test reached for a thread, a socket, a process: things that do not wait for virtual time.

    Attributes:
        reached: what for.
        advice: what to do instead.
    """

    def __init__(self, reached: str, advice: str) -> None:
        super().__init__(reached, advice)
        self.reached = reached
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.reached} would leave the simulation: {self.advice}"
