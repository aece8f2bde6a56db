"""What a board can be asked for."""

from __future__ import annotations

from harness.board.handle import able


def test_what_a_board_can_be_asked_for():
    """What the rig can do, and what the firmware takes orders for."""
    assert able(frozenset({"reset"}), frozenset({"frame", "hello", "cut"})) == {"reset", "frames", "cut"}
    assert able(frozenset(), frozenset()) == frozenset()
