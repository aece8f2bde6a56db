"""The errors of the faults."""

from __future__ import annotations

from harness.errors import HarnessError, Misuse, WorldError
from harness.faults.errors import BadFault, Died, Lacks


def test_tree():
    """What a test does wrong is misuse; a gateway that dies is the world's doing."""
    assert issubclass(Lacks, Misuse)
    assert issubclass(BadFault, Misuse)
    assert issubclass(Died, WorldError)
    assert issubclass(Died, HarnessError)


def test_lacks_says_what_it_takes():
    """Who asks for what is not there is told where, what, and what it would take."""
    assert str(Lacks("paper", "loss", "ink")) == "paper cannot do loss: ink"
