"""What is left of writes after a kill, and after a loss of power."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulation.writes import SYNC, Image, Op, WriteLog


def chances() -> list[random.Random]:
    """Enough of them for every way to lose things."""
    return [random.Random(seed) for seed in range(40)]


class TestImage:
    """One file."""

    def test_content(self):
        """Writes beyond the end, over each other, and truncations; what a reader sees has all of them."""
        image = Image(b"abc")
        for op in (Op("f", 5, b"xy"), Op("f", 0, b"A"), Op("f", 6, None)):
            image.do(op)

        assert image.content() == b"Abc\0\0x"

    def test_synced(self):
        """What was synced is there whatever happens."""
        image = Image()
        image.do(Op("f", 0, b"kept"))
        image.do(Op("f", SYNC, None))

        assert {image.after_power_cut(chance) for chance in chances()} == {b"kept"}

    def test_not_synced(self):
        """What was not is there, or in part, or not."""
        image = Image(b"....")
        image.do(Op("f", 0, b"a"))
        image.do(Op("f", 3, b"b"))

        left = {image.after_power_cut(chance) for chance in chances()}
        assert left == {b"....", b"a...", b"...b", b"a..b"}
        assert image.content() == b"a..b"

    def test_torn(self):
        """A long write may be there in part, cut where sectors begin."""
        image = Image(bytes(1200))
        image.do(Op("f", 500, b"x" * 600))

        left = {image.after_power_cut(chance) for chance in chances()}
        borders = {at for one in left for at in range(1, 1200) if one[at] != one[at - 1]}
        assert borders == {500, 512, 1024, 1100}

    @given(st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=1500)), max_size=8), st.integers())
    def test_no_byte_from_nowhere(self, writes: list[tuple[int, bytes]], seed: int):
        """Each byte that is left was there before, or is one that was written there, or fills a gap."""
        image = Image(b"old" * 10)
        for at, data in writes:
            image.do(Op("f", at, data))

        left = image.after_power_cut(random.Random(seed))
        for at, byte in enumerate(left):
            written = {data[at - begin] for begin, data in writes if begin <= at < begin + len(data)}
            assert byte in written | {(b"old" * 10)[at] if at < 30 else 0}


class TestWriteLog:
    """All files, and calls that are under way."""

    def log(self) -> WriteLog:
        """One file, empty."""
        log = WriteLog()
        log.opened("f", b"")
        return log

    def test_between_calls(self):
        """Nothing is under way: all that was written is there after a kill."""
        log = self.log()
        call = log.began()
        log.wrote("f", 0, b"ab")
        log.had_its_effect()
        log.told(call)

        assert {log.after_kill(chance)["f"] for chance in chances()} == {b"ab"}

    def test_in_a_call(self):
        """Nobody knows of the end of a call: it may have come to its end, to none, or to its middle."""
        left = set()
        for chance in chances():
            log = self.log()
            log.began()
            log.wrote("f", 0, b"a")
            log.wrote("f", 1, b"b")
            log.synced("f")
            left.add(log.after_power_cut(chance)["f"])

        assert left == {b"", b"a", b"ab"} | ({b"\0b"} & left)

    def test_call_that_ended_before_another(self):
        """What is known to be done is done, whatever else is under way."""
        for chance in chances():
            log = self.log()
            log.opened("g", b"")
            slow = log.began()
            log.wrote("g", 0, b"slow")
            log.had_its_effect()
            quick = log.began()
            log.wrote("f", 0, b"quick")
            log.synced("f")
            log.had_its_effect()
            log.told(quick)

            left = log.after_power_cut(chance)
            assert left["f"] == b"quick"
            assert left["g"] in {b"", b"slow"}
            log.told(slow)

    def test_outside_of_calls(self):
        """What the loop's own thread writes, while a call is under way, is in its place in the order."""
        log = self.log()
        call = log.began()
        log.wrote("f", 0, b"call")
        log.had_its_effect()
        log.wrote("f", 0, b"L")
        log.told(call)

        assert log.after_kill(random.Random(1))["f"] == b"Lall"

    def test_removed(self):
        """A file that is gone stays gone; one that nobody opened is none."""
        log = self.log()
        log.began()
        log.wrote("f", 0, b"x")
        log.removed("f")
        log.wrote("other", 0, b"x")

        assert log.after_kill(random.Random(1)) == {}


@pytest.mark.parametrize("content", [b"", b"there"])
def test_opened_twice(content: bytes):
    """A second connection to a file does not make unsynced writes safe."""
    log = WriteLog()
    log.opened("f", content)
    log.wrote("f", 0, b"X")
    log.opened("f", b"X" + content[1:])

    assert content in {log.after_power_cut(random.Random(seed))["f"] for seed in range(20)} or not content
