"""Each kind of supply of a bench file is made."""

from __future__ import annotations

import pytest

from harness.bench.bench_file import BoardConfig, PowerConfig
from harness.board.supplies import supply_of
from harness.errors import Misuse


def board(kind, **others):
    """Make a board with a supply."""
    return BoardConfig(id="b", chip="esp32", mac="24:6f:28:aa:bb:cc", power=PowerConfig(kind=kind), **others)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("none", "NoSupply"),
        ("en", "EnLine"),
        ("uhubctl", "Uhubctl"),
        ("shell", "ShellCommand"),
        ("person", "Person"),
        ("virtual", "VirtualSupply"),
    ],
)
def test_kinds(kind, made):
    """By its kind; and it knows it."""
    supply = supply_of(board(kind, control="127.0.0.1:1"), hold_en=lambda held: None)

    assert (type(supply).__name__, supply.kind) == (made, kind)


def test_listens():
    """The console is listened to by any that can lie."""
    supply = supply_of(board("en"), hold_en=lambda held: None, is_silent=lambda: False)

    with pytest.raises(Exception, match="goes on talking"):
        supply.off()


@pytest.mark.parametrize(("kind", "why"), [("en", "expected the reset lines of b"), ("virtual", "b takes no orders")])
def test_missing(kind, why):
    """What it is switched by has to be there."""
    with pytest.raises(Misuse, match=why):
        supply_of(board(kind))
